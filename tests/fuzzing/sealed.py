"""What mutations have in common: the files of a run folder, and seals that are made anew."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from fuzzing.world import World
from launchbay.models.checkpoints import fingerprint, seal


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


def sealed_or_not(world: World, file: Path, chance: random.Random, done: str) -> str:
    sealed = file.name != "manifest.json" and chance.random() < 0.7
    if sealed:
        reseal(file.parent)
    return f"{file.relative_to(world.run)}: {done}{', sealed' * sealed}"
