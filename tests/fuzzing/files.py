"""Mutations of files as such: bits, lengths, links, pipes and folders in their place, names, pickles."""

import io
import os
import random
import shutil
import socket
from pathlib import Path

import torch

from fuzzing.sealed import detach, files, sealed_or_not, steps
from fuzzing.torch_files import Leaves
from fuzzing.values import NAMES, value
from fuzzing.world import World

WRITTEN = (
    ".lock", "config.yaml", "metrics.jsonl", "summary.json", "report.html", "curves.png", "wandb_id", "logs",
    "checkpoints/last", "checkpoints/best", "samples", "checkpoints",
    ".tmp-config.yaml", ".tmp-metrics.jsonl", ".tmp-summary.json",
    "checkpoints/.tmp-last", "checkpoints/.tmp-x", "checkpoints/.tmp-step-00000002-old", "logs/process-0.log",
    "samples/step-00000002.png", "samples/.tmp-step-00000003.png", "checkpoints/step-00000003", "curves", "wandb",
)  # fmt: skip
"""What a run writes, or may be thought to."""


def bits(world: World, chance: random.Random) -> str:
    file = detach(chance.choice(files(world)))
    content = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 1, 8, 200))):
        if content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return sealed_or_not(world, file, chance, "bits flipped")


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
        outside / "moved", outside / "moved",
        outside / "secret.txt", outside / "model.safetensors", outside / path.name, outside / "pipe", outside, path,
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
        shutil.rmtree(world.run / "checkpoints/step-00000001")
    return f"checkpoints/{name!r:.60} beside the others"


def pickles(world: World, chance: random.Random) -> str:
    """Put a pickle that leaves the mark when it is read in the place of a file."""
    file = chance.choice([path for path in files(world) if path.suffix != ".png"])
    file.unlink()
    content = io.BytesIO()
    torch.save({"model": Leaves(str(world.mark))}, content)
    file.write_bytes(content.getvalue())
    return sealed_or_not(world, file, chance, "a pickle")


def many(world: World, chance: random.Random) -> str:
    """Put very many files, folders or lines where some are looked for."""
    match chance.choice(("steps", "files", "lines", "best")):
        case "steps":
            for number in range(3, 2000):
                (world.run / f"checkpoints/step-{number:08d}").mkdir()
            return "2,000 empty checkpoints"
        case "files":
            where = chance.choice(("", "samples", "logs", "checkpoints", "checkpoints/step-00000001"))
            for number in range(2000):
                (world.run / where / f"{number}.png").touch()
            return f"2,000 files in {where!r}"
        case "lines":
            file = world.run / "metrics.jsonl"
            file.write_bytes(file.read_bytes() * 50_000)
            return "200,000 lines in metrics.jsonl"
        case _:
            step = world.run / "checkpoints/step-00000001"
            (step / "metrics.jsonl").write_bytes(b"\n" * 50_000_000)
            return "an empty record of 50 MB in a checkpoint"
