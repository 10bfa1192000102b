"""Where the cases of tests/fuzz.py happen: runs that were trained, pictures, and around them what nothing may touch."""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from fuzzing.toys import ENTRY_POINTS

STRANGER = """import pathlib
pathlib.Path({mark!r}).write_text("imported")
from fuzzing.toys import Noise as Set, Twins as Task
def call(*arguments, **options):
    pathlib.Path({mark!r}).write_text("called")
"""
"""A module of the stranger's in the current folder and in the run's: to be imported by nobody."""
RUNS = ("twins", "draws", "judge")
VALUES = {"twins": "fuzz-twins", "draws": "fuzz-draws", "judge": "classify"}
"""The task of each run."""
COMMON = ("--log-every", "1", "--eval-every", "1")
TRAINING = {
    "twins": ("--task", "fuzz-twins", "--ema", "0.9", *COMMON),
    "draws": ("--task", "fuzz-draws", "--judge", "runs/judge", *COMMON),
    "judge": (
        "--task",
        "classify",
        "--data",
        "fuzz-noise",
        "--steps",
        "2",
        "--batch-size",
        "8",
        "--epochs",
        "None",
        *COMMON,
    ),
}
"""The command that trains each, but for --run."""
BESIDE = ("--wandb", "off")
Place = tuple[str, str]
"""Kind and content of what lies somewhere."""


@dataclass(frozen=True)
class Verb:
    """A command about the run runs/it: its arguments, and what it may write to, seen from the working folder."""

    name: str
    arguments: tuple[str, ...]
    writes: tuple[str, ...] = ()
    unfinished: bool = False
    """Of a run that was killed after its first step."""


def verbs(run: str) -> list[Verb]:
    """Return all that can be done with a run like `run`, which lies in runs/it."""
    found = [
        Verb("evaluate", ("evaluate", "runs/it")),
        Verb("evaluate-last", ("evaluate", "runs/it", "--checkpoint", "last", "--val-data", "fuzz-noise")),
        Verb("export", ("export", "runs/it", "out.safetensors"), ("out.safetensors",)),
        Verb("export-into", ("export", "runs/it", "--checkpoint", "last"), ("it.safetensors",)),
        Verb("report", ("report", "runs/it", "-o", "out.html"), ("out.html",)),
        Verb("report-beside", ("report", f"runs/{run}", "runs/it", "-o", "out.html"), ("out.html",)),
        Verb("compare", ("compare", "runs/it", f"runs/{run}")),
        Verb("compare-other", ("compare", f"runs/{run}", "runs/it")),
        Verb("train-on", ("train", *TRAINING[run], "--run", "it", *BESIDE), ("runs/it",), unfinished=True),
        Verb("train-again", ("train", *TRAINING[run], "--run", "it", *BESIDE), ("runs/it",)),
        Verb("train-further", ("train", *TRAINING[run], "--run", "it", *BESIDE, "--steps", "3"), ("runs/it",)),
        starts("resume", run, "--resume", "runs/it", "--steps", "4"),
        starts("weights", run, "--weights", "runs/it", "--steps", "1"),
        starts("weights-file", run, "--weights", "model=runs/it/checkpoints/step-00000001/model.safetensors"),
        starts("weights-torch", run, "--weights", "model=runs/it/weights.pth"),
        starts("config", run, "--config", "runs/it/config.yaml"),
    ]
    if run == "twins":
        found.append(Verb("train-wandb", ("train", *TRAINING[run], "--run", "it"), ("runs/it",), unfinished=True))
        found.append(Verb("apply", ("apply", "runs/it", "pictures", "out"), ("out",)))
    if run == "judge":
        found.append(starts("judge", "draws", "--judge", "runs/it"))
    return found


def starts(name: str, run: str, *options: str) -> Verb:
    """Return the command that begins runs/new, of the task of `run`, with the stranger's runs/it."""
    common = ("--output-dir", "runs", *BESIDE)
    if name == "config":
        return Verb(name, ("train", "--task", VALUES[run], "--run", "new", *options, *common), ("runs/new",))
    return Verb(name, ("train", *TRAINING[run], "--run", "new", *options, *common), ("runs/new",))


class World:
    """A folder with `work`, the current one, and beside it `outside`, which nobody may touch; laid out anew for each
    case. `home` is what HOME and the caches are.
    """

    def __init__(self, root: Path):
        self.root, self.pattern = root, root / "pattern"
        self.work, self.outside, self.home = root / "work", root / "outside", root / "home"
        self.mark, self.run = root / "mark", root / "work/runs/it"
        self.site = root / "site"
        for folder in (self.home, self.site / "fuzz-1.dist-info", self.pattern):
            folder.mkdir(parents=True)
        (self.site / "fuzz-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fuzz\nVersion: 1\n")
        (self.site / "fuzz-1.dist-info/entry_points.txt").write_text(ENTRY_POINTS)
        self.around: dict[str, Place] | None = None

    def furnish(self) -> None:
        """Make what lies around the runs."""
        source = STRANGER.format(mark=str(self.mark))
        work, outside = self.pattern / "work", self.pattern / "outside"
        for folder in (work / "train", work / "val", outside / "step-00000001", outside / "deep/er"):
            folder.mkdir(parents=True)
            (folder / "keep.txt").write_text(f"of {folder.name}\n")
        for name in ("metrics.jsonl", "summary.json", "config.yaml", "last", "secret.txt", "model.safetensors"):
            (outside / name).write_text(f"{name} of another\n")
        (work / "stranger.py").write_text(source)
        (work / "pictures").mkdir()
        for number in range(2):
            Image.new("RGB", (12, 9), (90 * number, 40, 200)).save(work / f"pictures/{number}.png")
        (work / "runs").mkdir()

    def keep(self, run: str) -> None:
        """Take runs/`run` into the pattern."""
        kept = self.pattern / "work/runs" / run
        shutil.copytree(self.work / "runs" / run, kept)
        torch.save(load_file(kept / "checkpoints/step-00000001/model.safetensors"), kept / "weights.pth")

    def lay_out(self, run: str, *, unfinished: bool = False) -> None:
        """Bring all back to the pattern, with the run called `run`, whole or `unfinished`, as runs/it."""
        for path in ("runs/it", "runs/new", "out", "out.safetensors", "it.safetensors", "out.html"):
            remove(self.work / path)
        if self.around is None or self.seen() != self.around:
            for folder in (self.work, self.outside):
                remove(folder)
                shutil.copytree(self.pattern / folder.name, folder)
            os.mkfifo(self.outside / "pipe")
            self.around = self.seen()
        remove(self.mark)
        if run:
            shutil.copytree(self.work / "runs" / run, self.run)
            shutil.copy(self.work / "stranger.py", self.run / "stranger.py")
        if unfinished:
            shutil.rmtree(self.run / "checkpoints/step-00000002")
            for name in ("last", "best"):
                (self.run / "checkpoints" / name).write_text("step-00000001")

    def seen(self, but: tuple[str, ...] = ()) -> dict[str, Place]:
        """Return what lies in `work` and `outside`, except for the paths `but` of `work`."""
        found: dict[str, Place] = {}
        skipped = {str(self.work / path) for path in but}
        waiting = [str(self.work), str(self.outside)]
        while waiting:
            for entry in os.scandir(waiting.pop()):
                if entry.path in skipped:
                    continue
                status = entry.stat(follow_symlinks=False)
                kind = stat.filemode(status.st_mode)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    found[entry.path] = kind, ""
                elif entry.is_symlink():
                    found[entry.path] = kind, os.readlink(entry.path)  # noqa: PTH115
                else:
                    found[entry.path] = kind, f"{status.st_size} bytes of {status.st_mtime_ns}"
        return found


def remove(path: Path) -> None:
    """Remove what lies at `path`, if anything does; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
