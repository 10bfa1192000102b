"""Trackers show a run in another program, such as TensorBoard. Whoever writes one needs to read nothing else.

A package registers a subclass of `Tracker` under the entry-point group `launchbay.trackers`; `--track NAME` uses it:

    class Pager(Tracker):
        def begin(self) -> int:
            self.page = (self.run.folder / "pager.txt").open("w")
            return 0

        def write(self, row: Row) -> None:
            print(row.step, *row.figures.items(), file=self.page)

        def end(self, status: str) -> None:
            self.page.close()

It lives in a process of its own, which reads the run's metrics.jsonl as that grows. Training neither waits for it nor
ends with it: it may hang, fail and be killed. What it lacks then is sent when the run goes on, or by `launchbay sync`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

__all__ = ["Row", "Run", "Tracker"]


@dataclass(frozen=True)
class Run:
    """The run that a tracker shows."""

    folder: Path
    """Its folder, of the same name as the run. What a tracker keeps of a run is best in a folder of its own there."""
    task: str
    """What it learns, as --task has it."""
    data: str
    """What it is trained on, as --data has it."""
    group: str
    """The name of the sweep that it belongs to; without one, its task."""
    options: Mapping[str, Any]
    """The value of each option, as config.yaml has them."""

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of the run at the moment; empty as long as it says nothing."""
        with suppress(OSError, ValueError):
            return json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return {}

    def best_checkpoint(self) -> Path | None:
        """Return the folder of the best checkpoint so far, if there is one."""
        with suppress(OSError):
            name = (self.folder / "checkpoints/best").read_text(encoding="utf-8").strip()
            if Path(name).name == name and (self.folder / "checkpoints" / name).is_dir():
                return self.folder / "checkpoints" / name
        return None


@dataclass(frozen=True)
class Row:
    """A line of metrics.jsonl, with the pictures of its validation."""

    number: int
    """Of the line, from 0."""
    step: int
    """Optimizer steps taken."""
    figures: Mapping[str, float]
    """By name: "train/model/l1", "val/psnr", "val/baseline/psnr"."""
    pictures: Mapping[str, Path]
    """PNG files by name: "samples", "walk"; of several validation sets "set5/samples"."""
    caption: str
    """Of the pictures: the step, and its first figures beside their baselines."""


class Tracker(ABC):
    """What shows a run. Its methods are called one after the other, in a process of their own."""

    def __init__(self, run: Run):
        self.run = run

    @abstractmethod
    def begin(self) -> int:
        """Begin, or go on with what there is of the run. Return how many rows are there: they are not written again.
        One that returns 0 writes all anew, and drops what was there.
        """

    @abstractmethod
    def write(self, row: Row) -> None:
        """Take one more row."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Be done: wait until all is kept. `status` is "done", "stopped", "interrupted" or "failed"."""

    def kept(self) -> tuple[int, bool] | None:
        """Return how many rows are really there, found out anew, and whether they came to the end of a run that is
        done; None if that cannot be told. Asked before the first and after the last, which says what is missing.
        """
        return None

    def trouble(self) -> str:
        """Return why rows are missing, as far as that is known."""
        return "the reason is not known"

    @final
    def say(self, text: str) -> None:
        """Have the run print `text`, as its own line."""
        print(json.dumps({"said": text}), flush=True)
