"""Mutations of what JSON and YAML say: their structure, what a run says of itself, names of code."""

import json
import random
from pathlib import Path
from typing import Any

from fuzzing.sealed import everywhere, steps
from fuzzing.values import CALLED, DEEP, NAMES, NUMBERS, YAML, laughs, upset
from fuzzing.world import World
from launchbay.models.checkpoints import seal

MODELS = (
    "resnet9", "timm/resnet18", "timm/vit_giant_patch14_clip_224", "timm/vit_7b_patch16_dinov3", "timm/nothing",
    "timm/resnet18.a1_in1k", "timm/hf-hub:someone/something", "timm/local-dir:../outside",
)  # fmt: skip
"""Networks of classify that it was not trained with, some of them larger than the memory."""
PROGRESS = (
    "step", "steps", "samples", "format", "progress", "progress/step", "progress/epoch", "progress/best",
    "progress/best/step", "progress/final", "progress/baseline", "progress/samples_per_s", "progress/seconds", "config",
    "config/task", "config/steps", "config/batch_size", "config/seed", "data", "data/training", "scaler", "world_size",
    "threads", "versions", "owes_validation", "initial", "extra_state", "optimizers", "optimizers/*",
    "optimizers/*/class", "optimizers/*/groups", "optimizers/*/values", "optimizers/*/values/model.0.weight.step",
)  # fmt: skip
"""What state.json says of a training, where * is whatever comes first."""


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


def sizes(world: World, chance: random.Random) -> str:
    """Say that the network, or what it is tried on, is far larger than it was."""
    network = ("width", "blocks", "classes", "size", "channels", "model")
    name = chance.choice((*network, *network, "batch_size", "workers", "samples", "ema"))
    large = chance.choice((17, 300, 5_000, 100_000, 10**6, 10**8, 10**9, 2**31, 2**63, 10**12))
    new = chance.choice(MODELS) if name == "model" else large
    file = world.run / "config.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}:")]
    file.write_text("\n".join([*lines, f"{name}: {new}", ""]))

    def change(file: Path) -> str:
        content = json.loads(file.read_bytes())
        content["config"][name] = new
        file.write_text(json.dumps(content))
        return f"and {name}"

    return f"config.yaml: {name}: {new}; {everywhere(world, 'state.json', change)}"


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
