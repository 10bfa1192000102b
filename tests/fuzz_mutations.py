"""What a stranger may have done to a run folder: one function for each kind of mutation of tests/fuzz.py.

Each takes the world and a source of chance, changes the run folder, and returns what it did, in words. Where the
checkpoint is to be believed its manifest and seal are made anew.
"""

import io
import json
import os
import random
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzz_values import CALLED, DEEP, DTYPES, NAMES, NUMBERS, YAML, laughs, upset, value
from fuzz_world import World
from safetensors.torch import load_file, save_file
from torch import Tensor

from launchbay.models.checkpoints import fingerprint, seal

PROGRESS = (
    "step", "steps", "samples", "format", "progress", "progress/step", "progress/epoch", "progress/best",
    "progress/best/step", "progress/final", "progress/baseline", "progress/samples_per_s", "progress/seconds", "config",
    "config/task", "config/steps", "config/batch_size", "config/seed", "data", "data/training", "scaler", "world_size",
    "threads", "versions", "owes_validation", "initial", "extra_state", "optimizers", "optimizers/*",
    "optimizers/*/class", "optimizers/*/groups", "optimizers/*/values", "optimizers/*/values/model.0.weight.step",
)  # fmt: skip
"""What state.json says of a training, where * is whatever comes first."""
Mutation = Callable[[World, random.Random], str]
WRITTEN = (
    ".lock", "config.yaml", "metrics.jsonl", "summary.json", "curves.png", "wandb_id", "checkpoints/last", "logs",
    "checkpoints/best", "samples", "checkpoints", ".tmp-config.yaml", ".tmp-metrics.jsonl", ".tmp-summary.json",
    "checkpoints/.tmp-last", "checkpoints/.tmp-x", "checkpoints/.tmp-step-00000002-old", "logs/process-0.log",
    "samples/step-00000002.png", "samples/.tmp-step-00000003.png", "checkpoints/step-00000003", "curves", "wandb",
)  # fmt: skip
"""What a run writes, or may be thought to."""


def files(world: World) -> list[Path]:
    return sorted(path for path in world.run.rglob("*") if path.is_file() and path.name != "stranger.py")


def steps(world: World) -> list[Path]:
    return sorted((world.run / "checkpoints").glob("step-*"))


def reseal(checkpoint: Path) -> None:
    """Make the manifest say what is there."""
    if (checkpoint / "manifest.json").is_file() and "step-" in checkpoint.name:
        there = sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != "manifest.json")
        found = {path.name: fingerprint(path) for path in there}
        (checkpoint / "manifest.json").write_text(json.dumps({"files": found, "seal": seal(found)}))


def everywhere(world: World, name: str, change: Callable[[Path], str]) -> str:
    """Do `change` to the file `name` of each checkpoint, so that none is left to fall back on, and seal them."""
    done = ""
    for checkpoint in steps(world):
        if (checkpoint / name).is_file():
            done = change(checkpoint / name)
            reseal(checkpoint)
    return f"{name}: {done}"


def detach(file: Path) -> Path:
    """Give `file` content of its own, where it is linked from checkpoint to checkpoint."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    return file


def bits(world: World, chance: random.Random) -> str:
    file = detach(chance.choice(files(world)))
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 1, 8, 200))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return sealed_or_not(world, file, chance, "bits flipped")


def sealed_or_not(world: World, file: Path, chance: random.Random, done: str) -> str:
    sealed = file.name != "manifest.json" and chance.random() < 0.7
    if sealed:
        reseal(file.parent)
    return f"{file.relative_to(world.run)}: {done}{', sealed' * sealed}"


def length(world: World, chance: random.Random) -> str:
    file = detach(chance.choice(files(world)))
    size = file.stat().st_size
    match chance.choice(("cut", "empty", "one", "doubled", "noise", "sparse")):
        case "cut":
            os.truncate(file, chance.randrange(size + 1))
            done = f"cut from {size} to {file.stat().st_size} bytes"
        case "empty":
            file.write_bytes(b"")
            done = "empty"
        case "one":
            os.truncate(file, max(0, size - 1))
            done = "one byte short"
        case "doubled":
            file.write_bytes(2 * file.read_bytes())
            done = "twice its content"
        case "noise":
            file.write_bytes(file.read_bytes() + chance.randbytes(chance.choice((1, 1000, 1_000_000))))
            done = "noise at its end"
        case _:
            os.truncate(file, 2**36)
            return f"{file.relative_to(world.run)}: 64 GiB of nothing at its end"
    return sealed_or_not(world, file, chance, done)


def write_json(file: Path, content: Any, chance: random.Random) -> str:
    """Write JSON in one of the ways that standard and Python allow."""
    text = json.dumps(content, indent=chance.choice((None, 1)), ensure_ascii=chance.random() < 0.5)
    kind = chance.choice(("", "", "", "", "", "", "deep", "twice", "bom", "utf-16", "digits"))
    if kind == "deep":
        text = "[" * DEEP + text + "]" * DEEP
    elif kind == "twice" and text.startswith("{"):
        text = "{" + '"step": 1, "step": 2, ' + text[1:]
    elif kind == "digits":
        text = text.replace("0", "1" * 5000, 1)
    encoding = {"bom": "utf-8-sig", "utf-16": "utf-16"}.get(kind, "utf-8")
    file.write_bytes(text.encode(encoding, errors="surrogatepass"))
    return f" ({kind})" if kind else ""


def state(world: World, chance: random.Random) -> str:
    seed = chance.random()

    def change(file: Path) -> str:
        same = random.Random(seed)
        content, done = upset(json.loads(file.read_bytes()), same)
        return done + write_json(file, content, same)

    return everywhere(world, "state.json", change)


def manifest(world: World, chance: random.Random) -> str:
    done = ""
    seed = chance.random()
    for checkpoint in steps(world):
        same = random.Random(seed)
        content = json.loads((checkpoint / "manifest.json").read_bytes())
        content["files"], done = upset(content["files"], same)
        if same.random() < 0.2:
            content["files"], done = {}, "no files"
        if isinstance(content["files"], dict) and same.random() < 0.3:
            name, size = same.choice(NAMES), same.choice(NUMBERS)
            content["files"][name] = {"bytes": size, "sha256": "0" * 64}
            done += f", and {name!r:.40} of {size!r:.30} bytes"
        try:
            content["seal"] = seal(content["files"])
        except (TypeError, ValueError):
            done += " (no seal)"
        done += write_json(checkpoint / "manifest.json", content, same)
    return f"manifest.json: {done}, sealed"


def record(world: World, chance: random.Random) -> str:
    name = chance.choice(("metrics.jsonl", "metrics.jsonl", "summary.json"))
    file = world.run / name
    texts = file.read_text().splitlines() if name == "metrics.jsonl" else [file.read_text()]
    chosen = chance.randrange(len(texts))
    content, done = upset(json.loads(texts[chosen]), chance)
    texts[chosen] = json.dumps(content, ensure_ascii=False)
    if name == "metrics.jsonl" and chance.random() < 0.3:
        odd = ("[" * DEEP, "{" * 50, "null", "[]", '"x"', "1" * 5000, '{"step": 1e999}', '{"step": "1"}', "\x1b[2J", "")
        texts.insert(chosen, chance.choice(odd))
        done += f", {texts[chosen][:20]!r} before"
    file.write_bytes("\n".join([*texts, ""]).encode(errors="surrogatepass"))
    return f"{name}: {done}"


def options(world: World, chance: random.Random) -> str:
    file = world.run / "config.yaml"
    lines = file.read_text().splitlines()
    numbers = [place for place, line in enumerate(lines) if ":" in line]
    place = chance.choice(numbers)
    name, new = lines[place].partition(":")[0], chance.choice(YAML)
    match chance.choice(("put", "put", "put", "put", "put", "add", "whole", "twice", "bytes")):
        case "put":
            lines[place] = f"{name}: {new}"
        case "add":
            name = chance.choice(("stranger", "run", "config", "blocks", "\x1b[31m", "a" * 70_000, "!!int x", "<<"))
            lines.insert(place, f"{name}: {new}")
        case "whole":
            name, lines, new = (
                "all",
                [chance.choice((laughs(), new, "\n".join(["a: &a x", "task: *a"]), "---\n---\n"))],
                "",
            )
        case "twice":
            lines.append(lines[place])
            new = "twice"
        case _:
            name, new = "bytes", chance.choice(("\ufeff", "\x00", "\x1b", "\ud800", "\u2028", "\x85"))
            lines.insert(place, f"# {new}")
    encoding = chance.choice(("utf-8", "utf-8", "utf-8", "utf-16"))
    file.write_bytes("\n".join([*lines, ""]).encode(encoding, errors="surrogatepass"))
    return f"config.yaml: {name!r:.60}: {new!r:.80} ({encoding})"


def calls(world: World, chance: random.Random) -> str:
    """Name what may not be imported or called, wherever a name stands."""
    name = chance.choice(CALLED)
    option = chance.choice(("task", "data", "val_data", "val_data", "judge", "weights", "model", "resume"))
    file = world.run / "config.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith((f"{option}:", "- "))]
    listed = chance.random() < 0.3 or option == "weights"
    file.write_text("\n".join([*lines, f"{option}: {[name] if listed else name!r}", ""]))

    def change(file: Path) -> str:
        content = json.loads(file.read_bytes())
        content["config"][option] = [name] if listed else name
        file.write_text(json.dumps(content))
        return f"and {option}"

    return f"config.yaml: {option}: {name}; {everywhere(world, 'state.json', change)}"


def progress(world: World, chance: random.Random) -> str:
    """Say something else about how far the training had come, where it is gone on from."""
    place, new = chance.choice(PROGRESS), chance.choice((*NUMBERS, "1", None, [], {}, {"step": float("inf")}, [1, 2]))

    def change(file: Path) -> str:
        content = json.loads(file.read_bytes())
        *way, last = place.split("/")
        part = content
        for name in way:
            part = part[next(iter(part)) if name == "*" else name]
        part[last] = new
        file.write_text(json.dumps(content))
        return f"{place} = {new!r:.60}"

    return f"{everywhere(world, 'state.json', change)}, sealed"


def moments(world: World, chance: random.Random) -> str:
    """Change what an optimizer keeps of one parameter, or of all."""
    seed = chance.random()

    def change(file: Path) -> str:
        same, content = random.Random(seed), load_file(file)
        key = same.choice(("step", "exp_avg", "exp_avg_sq"))
        chosen = [name for name in sorted(content) if name.endswith(f".{key}")]
        chosen = chosen if same.random() < 0.3 else [same.choice(chosen)]
        kind = same.choice(("dtype", "shape", "value", "drop", "add"))
        for name in chosen:
            old, detail = content[name], random.Random(seed)
            match kind:
                case "dtype":
                    content[name] = old.to(detail.choice(DTYPES))
                case "shape":
                    content[name] = reshaped(old, detail)
                case "value":
                    number = detail.choice((float("nan"), float("inf"), -1.0, 3e38, -3e38, 1e-45, 2.0**40))
                    content[name] = torch.full_like(old, number)
                case "drop":
                    del content[name]
                case _:
                    content[f"{name.rpartition('.')[0]}.{detail.choice(('max_exp_avg_sq', 'x', ''))}"] = old.clone()
        file.unlink()
        save_file(content, file)
        return f"{kind} of {key} of {len(chosen)} parameters"

    return f"{everywhere(world, 'optimizers.safetensors', change)}, sealed"


def tensor_file(world: World, chance: random.Random) -> str:
    """Return the name of one, those of optimizers more often."""
    names = sorted({path.name for step in steps(world) for path in step.glob("*.safetensors")})
    return chance.choice([*names, "optimizers.safetensors", "optimizers.safetensors"])


def header(world: World, chance: random.Random) -> str:
    seed, name = chance.random(), tensor_file(world, chance)

    def change(file: Path) -> str:
        same, content = random.Random(seed), detach(file).read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        inside = json.loads(content[8 : 8 + size])
        names = [name for name in inside if name != "__metadata__"]
        if not names:
            return "empty already"
        chosen = same.choice(names)
        kind = same.choice(("dtype", "shape", "offsets", "any", "length", "name", "metadata", "deep"))
        done = f"{kind} of {chosen}"
        match kind:
            case "dtype":
                inside[chosen]["dtype"] = same.choice(("F64", "F16", "BF16", "I32", "U8", "BOOL", "C64", "F4", "X", ""))
            case "shape":
                whole = torch.Size(inside[chosen]["shape"]).numel()
                shapes = ([whole], [1, whole], [whole, 1, 1], [0], [], [2**62, 4], [-1], [0, 2**62], [1] * 70, [2**40])
                inside[chosen]["shape"] = same.choice(shapes)
            case "offsets":
                inside[chosen]["data_offsets"] = same.choice(([0, 0], [4, 0], [-4, 4], [0, 2**60], [2**63, 2**64], []))
            case "any":
                inside, done = upset(inside, same)
            case "name":
                inside[same.choice(NAMES)] = inside.pop(chosen)
            case "metadata":
                inside["__metadata__"] = same.choice(({"digest": "\x1b[31m"}, {"a": 1}, [], {"a": "b" * 100_000}, None))
            case _:
                pass
        text = json.dumps(inside).encode()
        text = b'{"a":' * DEEP if kind == "deep" else text
        size = same.choice((0, 1, len(text) + 1, 2**40, 2**64 - 1)) if kind == "length" else len(text)
        file.write_bytes(struct.pack("<Q", size) + text + content[8 + struct.unpack("<Q", content[:8])[0] :])
        return done

    return f"{everywhere(world, name, change)}, sealed"


def tensors(world: World, chance: random.Random) -> str:
    seed, name = chance.random(), tensor_file(world, chance)

    def change(file: Path) -> str:
        same, content = random.Random(seed), load_file(file)
        if not content:
            return "empty already"
        chosen = same.choice(sorted(content))
        old, done = content[chosen], same.choice(("dtype", "shape", "value", "drop", "rename", "add", "all"))
        match done:
            case "dtype":
                kind = same.choice(DTYPES)
                content[chosen] = old.to(torch.float32).to(kind)
                done = str(kind)
            case "shape":
                content[chosen] = reshaped(old, same)
                done = f"shape {tuple(content[chosen].shape)}"
            case "value":
                number = same.choice((float("nan"), float("inf"), -1.0, 1e38, -1e38, 1e-45, 2.0**40))
                content[chosen] = torch.full_like(old, number) if old.is_floating_point() else old * 0 - 1
                done = str(number)
            case "drop":
                del content[chosen]
            case "rename":
                content[same.choice(NAMES[1:-1]).replace("\ud800", "")] = content.pop(chosen)
            case "add":
                content[f"{chosen}{same.choice(('.x', 'x', '.exp_avg', '/../x', '.step'))}"] = old.clone()
            case _:
                content = {key: tensor.double() for key, tensor in content.items()}
                done = "all float64"
        file.unlink()
        save_file({key: tensor.contiguous() for key, tensor in content.items()}, file)
        return f"{done} of {chosen}"

    return f"{everywhere(world, name, change)}, sealed"


def reshaped(tensor: Tensor, chance: random.Random) -> Tensor:
    match chance.choice(("one", "flat", "more", "none", "many", "short")):
        case "one":
            return tensor.new_ones(1)
        case "flat":
            return tensor.flatten().clone()
        case "more":
            return tensor.clone()[None]
        case "none":
            return tensor.new_zeros(0)
        case "many":
            return tensor.new_zeros(tuple(tensor.shape) + (1,) * 30)
        case _:
            return tensor.flatten()[:-1].clone()


def replaced(world: World, chance: random.Random) -> Path:
    """Return a path of the run, or one that it writes to, with nothing at it."""
    there = [path for path in sorted(world.run.rglob("*")) if path.name != "stranger.py"]
    path = chance.choice([*there, *(world.run / name for name in 2 * WRITTEN)])
    if path.exists():  # a link may lead to what was there
        shutil.move(path, world.outside / "moved")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def links(world: World, chance: random.Random) -> str:
    path = replaced(world, chance)
    outside = world.outside
    targets = (
        outside / "moved", outside / "moved", outside / "secret.txt", outside / "model.safetensors", outside / path.name, outside / "pipe", outside, path,
        outside / "absent", outside / "deep", world.work / "train", Path("/dev/zero"), Path("/dev/full"), path.parent,
        Path("/dev/tty"), Path("/proc/self/mem"), world.work / "runs/other", Path("/proc/self/fd/1"),
    )  # fmt: skip
    target = chance.choice(targets)
    relative = chance.random() < 0.5 and target.is_relative_to(world.root)
    path.symlink_to(os.path.relpath(target, path.parent) if relative else target)
    return f"{path.relative_to(world.run)} -> {target}"


def hard_links(world: World, chance: random.Random) -> str:
    path = replaced(world, chance)
    target = world.outside / chance.choice(("secret.txt", "metrics.jsonl", "summary.json", "config.yaml", "last"))
    os.link(target, path)
    return f"{path.relative_to(world.run)} is {target.name} of outside, linked hard"


def odd_kinds(world: World, chance: random.Random) -> str:
    path = replaced(world, chance)
    where = path.relative_to(world.run)
    match chance.choice(("fifo", "fifo", "folder", "full folder", "file", "socket", "missing")):
        case "fifo":
            os.mkfifo(path)
            return f"{where} is a pipe"
        case "folder":
            path.mkdir()
            return f"{where} is a folder"
        case "full folder":
            (path / "step-00000002/deep").mkdir(parents=True)
            return f"{where} is a folder with something in it"
        case "file":
            path.write_text("text")
            return f"{where} is a file"
        case "socket":
            bind(path)
            return f"{where} is a socket"
        case _:
            return f"{where} is missing"


def bind(path: Path) -> None:
    """Make a socket; their names may not be long, and those of links to folders are short."""
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}"[:107])
        os.close(here)


def pointers(world: World, chance: random.Random) -> str:
    name = chance.choice(("checkpoints/last", "checkpoints/best", "wandb_id", ".lock"))
    content = chance.choice((*NAMES, str(value(chance)), "step-00000009", "step-00000001\n\n", "é" * 500))
    if chance.random() < 0.2:
        (world.run / name).write_bytes(chance.randbytes(50))
        return f"{name}: noise"
    (world.run / name).write_bytes(content.encode(errors="surrogatepass"))
    return f"{name}: {content!r:.80}"


def strange_names(world: World, chance: random.Random) -> str:
    """Put a copy of a checkpoint beside the others, under a name that is none of a checkpoint's."""
    names = (
        "step-00000004.bak", "step-00000000-notes", "step-", "step-x", "step--1", "step-99999999999999999999", "step-1",
        "step-\x1b[31m", "step-00000009\n", "step-\u0661", "step-\udcff", ".tmp-step", "step-" + "1" * 200, "step-1e3",
    )  # fmt: skip
    name = chance.choice(names)
    target = world.run / "checkpoints" / name
    if chance.random() < 0.7:
        shutil.copytree(steps(world)[-1], target)
    else:
        target.write_text("notes")
    if chance.random() < 0.3:
        shutil.rmtree(steps(world)[0])
    return f"checkpoints/{name!r:.60} beside the others"


def pickles(world: World, chance: random.Random) -> str:
    """Put a pickle that leaves the mark when it is read in the place of a file."""
    file = chance.choice([path for path in files(world) if path.suffix != ".png"])
    file.unlink()
    content = io.BytesIO()
    torch.save({"model": Leaves(str(world.mark))}, content)
    file.write_bytes(content.getvalue())
    return sealed_or_not(world, file, chance, "a pickle")


class Leaves:
    """Leaves the mark when it is unpickled."""

    def __init__(self, mark: str):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.mark, "w")


KINDS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        bits, length, state, manifest, record, options, calls, header, tensors, links, hard_links, odd_kinds, pointers,
        strange_names, pickles, progress, moments,
    )
}  # fmt: skip


def mutate(kind: str, world: World, chance: random.Random) -> str:
    """Do what a stranger may to the run folder: a mutation of `kind`. Return what it was."""
    return KINDS[kind](world, chance)
