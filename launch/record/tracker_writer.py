"""The process that brings what a tracker keeps of a run to what metrics.jsonl says, and keeps it there as that grows.

It is told by its standard input, as JSON: first what to do, later that the run is over. It prints how many rows the
tracker has taken and what a person has to know. A tracker may hang, or lose rows: so the process that started it
(trackers.py) waits with a limit, and what was kept is counted in the end. When that process is gone it ends at once;
what the tracker lacks then is sent when the run goes on.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Event, Thread
from typing import cast

# Nothing that brings in torch: this process then needs little memory, and begins at once.
from launchbay.launch.config.plugins import TRACKERS, find_plugin, load_plugin
from launchbay.launch.files import Json, to_json
from launchbay.launch.record.drawing import SAMPLES, picture_name
from launchbay.trackers import Row, Run, Tracker

SECONDS_BETWEEN_LOOKS = 0.5
CAPTIONED = 3
"""Figures in a caption."""
NO_FIGURES = ("step", "split")
COMPLETE, INCOMPLETE = 0, 3
"""Exit codes. What is missing has been said."""
LABELS = {"wandb": "W&B", "tensorboard": "TensorBoard", "trackio": "Trackio", "mlflow": "MLflow"}


def label(name: str) -> str:
    """Return what the program is called that the tracker `name` keeps a run in."""
    return LABELS.get(name, name)


@dataclass(frozen=True)
class Work:
    """What the process that starts this one asks for: to keep the `run` in `folder` in the tracker `name`."""

    name: str
    folder: str
    record: str
    """metrics.jsonl, as a person knows it."""
    task: str
    data: str
    group: str
    options: Json
    argv: list[str]
    """The command of the run."""
    is_over: bool
    """Whether it was over before."""


class Parent:
    """The process that started this one, at the other end of the pipes."""

    def __init__(self) -> None:
        self.pipe = FileIO(0, closefd=False)  # not sys.stdin, whose lock a thread that waits would hold to the end
        self.work = Work(**json.loads(self.pipe.readline()))
        self.is_over = Event()
        self.status = "done" if self.work.is_over else "running"
        if self.work.is_over:
            self.is_over.set()
        self.rows, self.told = 0, 0.0
        Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        for text in self.pipe:
            self.status = json.loads(text)["status"]
            self.is_over.set()
        os._exit(1)  # it is gone

    def tell(self, said: str = "") -> None:
        """Say how many rows the tracker has taken, and what else there is to say."""
        self.told = time.monotonic()
        print(to_json({"rows": self.rows, "said": said}), flush=True)

    def tell_rows(self, rows: int) -> None:
        """Say how many rows the tracker has taken, now and then."""
        self.rows = rows
        if time.monotonic() - self.told > 1:
            self.tell()


def main() -> int:
    """Keep the tracker up to date until the run is over. Return whether it has all, as far as that can be told."""
    for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP, signal.SIGUSR1] if os.name == "posix" else [])):
        signal.signal(number, signal.SIG_IGN)  # they are for the training, which then says that it is over
    parent = Parent()
    work, folder, has_all = parent.work, Path(parent.work.folder), f"{parent.work.record} has all"
    sys.argv = work.argv  # what a tracker shows as the command
    try:
        tracker = open_tracker(work)
        before = tracker.kept()
        parent.rows = before[0] if before else 0
        parent.tell()
        if work.is_over and before and before[1] and before[0] >= count(folder, parent):
            return COMPLETE
        sent = tracker.begin()
    except Exception as error:
        parent.tell(f"{label(work.name)} does not start: {said_by(error)}. {has_all}")
        return INCOMPLETE
    reason = send(tracker, sent, folder, parent)
    after, wanted = tracker.kept(), count(folder, parent)
    if after:
        parent.rows = after[0]
    if not reason and (after is None or after[0] >= wanted):
        parent.tell()
        return COMPLETE
    said = f"{label(work.name)} has {parent.rows} of {wanted} rows: {reason or tracker.trouble()}. {has_all}"
    parent.tell(f"{said}. Once that is mended, the same command sends what is missing")
    return INCOMPLETE


def open_tracker(work: Work) -> Tracker:
    """Return the tracker that is asked for.

    Raises:
        UserError: it cannot be loaded.
    """
    kind = cast(type[Tracker], load_plugin(find_plugin(TRACKERS, work.name)))
    return kind(Run(Path(work.folder), work.task, work.data, work.group, work.options))


def send(tracker: Tracker, sent: int, folder: Path, parent: Parent) -> str:
    """Write the rows from number `sent` on until the run is over. Return what has gone wrong; empty if nothing has."""
    try:
        for number, line in enumerate(record(folder, parent.is_over)):
            if number >= sent:
                tracker.write(to_row(number, line, folder))
            parent.tell_rows(number + 1)
        parent.tell()
        tracker.end(parent.status)
    except Exception as error:
        return said_by(error)
    return ""


def said_by(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def record(folder: Path, is_over: Event) -> Iterator[Json]:
    """Yield the lines of metrics.jsonl, and wait for more until the run is over."""
    begun = b""
    with (folder / "metrics.jsonl").open("rb") as file:
        while True:
            last_look = is_over.is_set()
            for text in file:
                begun += text
                if begun.endswith(b"\n"):
                    line, begun = read_line(begun), b""
                    if line is not None:
                        yield line
            if last_look:
                return
            is_over.wait(SECONDS_BETWEEN_LOOKS)


def read_line(text: bytes) -> Json | None:
    """Return the line of the record in `text`; None if it is none, which whoever reads the record leaves out."""
    try:
        line = json.loads(text)
        return line if isinstance(line["step"], int) and isinstance(line["split"], str) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def count(folder: Path, parent: Parent) -> int:
    """Return the number of lines of metrics.jsonl, when the run is over."""
    return sum(1 for _ in record(folder, parent.is_over))


def to_row(number: int, line: Json, folder: Path) -> Row:
    """Return `line` number `number` of the record of the run in `folder` with its pictures: those of its validation;
    with the first one those from before the first step. Figures that are no numbers are not there.
    """
    own = {name: value for name, value in line.items() if name not in NO_FIGURES and isinstance(value, int | float)}
    figures = {f"{line['split']}/{name}": value for name, value in own.items()}
    if line["split"] == "val":
        return Row(number, line["step"], figures, pictures_of(line["step"], folder), caption(line["step"], own))
    before = pictures_of(0, folder) if number == 0 else {}
    return Row(number, line["step"], figures, before, "before the first step")


def pictures_of(step: int, folder: Path) -> dict[str, Path]:
    """Return the pictures of `step` of the run in `folder`, by name."""
    found: dict[str, Path] = {}
    for picture in sorted((folder / "samples").rglob(f"{picture_name(step)}*.png")):
        name = picture.stem.partition("-")[2].partition("-")[2] or SAMPLES
        where = picture.parent.relative_to(folder / "samples")  # "." for the only validation set
        found[(where / name).as_posix()] = picture
    return found


def caption(step: int, figures: Mapping[str, float]) -> str:
    """Return what to write below the pictures of a step: some figures, beside their baselines."""
    baselines = {name.replace("baseline/", ""): value for name, value in figures.items() if "baseline/" in name}
    names = [name for name in figures if name not in ("epoch", "samples_per_s") and "baseline/" not in name]
    beside = {name: f" (baseline {baselines[name]:.4g})" if name in baselines else "" for name in names}
    return f"step {step}: " + ", ".join(f"{name} {figures[name]:.4g}{beside[name]}" for name in names[:CAPTIONED])


if __name__ == "__main__":
    sys.exit(main())
