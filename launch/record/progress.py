"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere; then a table of results."""

import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from launchbay import number_of, printable
from launchbay.launch.config.options import HELD_OUT
from launchbay.launch.files import Json
from launchbay.launch.record.figures import NO_FIGURE, NO_LOSS, Figures
from launchbay.launch.record.tracking import Line, Observer

SECONDS_BETWEEN_LINES = 10
MOST_SECONDS = 1e9
"""That are shown as left."""
PHASES = {
    "evaluate": "validating", "summarize": "figures of all samples", "preview": "drawing samples",
    "gallery": "drawing the gallery",
}  # fmt: skip
"""What goes on in a validation, by the names of a task's methods."""
FIELDS: dict[str, Any] = {"train": "", "val": "", "speed": "", "left": "", "at": ""}
"""What a bar shows beside itself."""


class Clock(Observer):
    """Of a run that goes on from `step` to `steps`, or to `end` (of time.monotonic), whichever comes first."""

    def __init__(self, step: int, steps: int, end: float):
        self.first, self.steps, self.end = step, steps, end
        self.start = time.monotonic()

    def left(self, step: int) -> str:
        """Return what to say of how long it will take from here."""
        if not self.first + 1 < step < self.steps:  # the first step tells little
            return ""
        now = time.monotonic()
        seconds = (now - self.start) / (step - self.first) * (self.steps - step)
        most = max(0, self.end - now)
        shown = timedelta(seconds=round(min(seconds, most, MOST_SECONDS)))
        return f"{shown} {'left' if seconds <= most else 'until --max-time'}"


class Bar(Clock):
    """For a terminal."""

    def __init__(self, step: int, steps: int, end: float, console: Console):
        super().__init__(step, steps, end)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[at]}"),
            TextColumn("{task.fields[train]}"),
            TextColumn("[green]{task.fields[val]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            refresh_per_second=4,
        )
        self.task = self.bar.add_task("training", completed=step, total=steps, **FIELDS)
        self.bar.update(self.task, at=f"{step}/{steps}")
        self.doing, self.validation = "", TaskID(0)
        self.bar.start()

    def step(self, step: int) -> None:
        self.bar.update(self.task, completed=step, left=self.left(step), at=f"{step}/{self.steps}")

    def phase(self, name: str, share: float | None) -> None:
        if name != self.doing:
            self.end_phase()
            self.validation = self.bar.add_task(PHASES[name], total=None if share is None else 1.0, **FIELDS)
            self.doing = name
        if share is not None:
            self.bar.update(self.validation, completed=share)

    def end_phase(self) -> None:
        if self.doing:
            self.bar.remove_task(self.validation)
            self.doing = ""

    def line(self, line: Line) -> None:
        if line["split"] == "val":
            self.bar.update(self.task, val=first_figures(line, 2))
        else:
            self.bar.update(self.task, train=first_figures(line, 1), speed=f"{line['samples_per_s']:.0f} samples/s")

    def summary(self, summary: Json) -> None:
        self.end_phase()
        if summary["best_by"]:
            self.bar.update(self.task, val=beside(summary))

    def close(self) -> None:
        self.bar.stop()


class Lines(Clock):
    """For a pipe or a file: every validation, and the training loss now and then."""

    def __init__(self, step: int, steps: int, end: float, console: Console):
        super().__init__(step, steps, end)
        self.console, self.last, self.at = console, self.start, step

    def line(self, line: Line) -> None:
        now, step = time.monotonic(), line["step"]
        if line["split"] == "train" and now - self.last < SECONDS_BETWEEN_LINES and step > self.first + 1:
            return
        self.last = now
        speed = f"  {line['samples_per_s']:.0f} samples/s" if line["split"] == "train" else ""
        text = f"step {step}/{self.steps}  {line['split']:5}  {first_figures(line, 4)}{speed}  {self.left(step)}"
        self.console.print(text.rstrip(), soft_wrap=True, highlight=False, markup=False)

    def step(self, step: int) -> None:
        self.at = step

    def phase(self, name: str, share: float | None) -> None:
        if (now := time.monotonic()) - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        done = "" if share is None else f" {share:.0%}"
        self.console.print(f"step {self.at}/{self.steps}  {PHASES[name]}{done}", highlight=False, markup=False)


class Outcome(Observer):
    """The last word: the table of results, and where everything is."""

    def __init__(self, folder: str, console: Console):
        self.folder, self.console = folder, console
        self.last: Json = {}

    def summary(self, summary: Json) -> None:
        self.last = summary

    def close(self) -> None:
        if self.last.get("status") != "done":
            return
        if self.last["final"]:
            self.console.print(
                results(
                    self.last["task"],
                    Figures(self.last["final"], self.last["baseline"]),
                    self.last["baseline_name"],
                    self.last["data"],
                )
            )
        best, waited, by = self.last["best"], self.last["waited"], self.last["best_by"]
        by += " of the pictures in the table" * (not by.startswith(f"{HELD_OUT}/"))
        if self.last["step"] < self.last["steps"]:
            said = f"ended early: {number_of(waited, 'validation')} in a row no better by {by}"
            self.console.print(said, highlight=False)
        if best and best["step"] != self.last["step"]:
            self.console.print(f"the best checkpoint, by {by}, is that of step {best['step']}", highlight=False)
        seconds, speed = self.last["seconds"], self.last["samples_per_s"]
        step = self.last["step"]
        self.console.print(
            f"{number_of(step, 'step')} in {seconds:.0f} s, {speed:.0f} samples/s while training", highlight=False
        )
        self.console.print(f"everything is in {self.folder}", highlight=False, soft_wrap=True)


def progress_observers(step: int, steps: int, end: float, folder: str) -> list[Observer]:
    from launchbay.launch.record.notebook import NotebookBar, in_notebook

    console = Console()
    if in_notebook():
        return [NotebookBar(step, steps, end), Outcome(folder, console)]
    return [(Bar if console.is_terminal else Lines)(step, steps, end, console), Outcome(folder, console)]


def results(task: str, figures: Figures[float], baseline_name: str, data: str) -> Table:
    """Return a table of each figure of the network beside that of the baseline."""
    title = Text(printable(f"{task}: validation on {data}", 300), style="table.title")
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for heading in ("network", baseline_name, "difference") if figures.baseline else ("network",):
        table.add_column(Text(printable(heading, 100)), justify="right")
    for name, value in figures.own.items():
        row: list[str | Text] = [Text(printable(name, 200)), f"{value:z.4f}"]  # z: no -0.0000
        if name in figures.baseline:
            row += [f"{figures.baseline[name]:z.4f}", f"{value - figures.baseline[name]:+z.4f}"]
        table.add_row(*row)
    return table


def beside(summary: Json) -> str:
    """Return the figure that chooses the best checkpoint, the baseline's, and the best one so far."""
    name = summary["best_by"]
    said = f"{name} {summary['final'][name]:z.4g}"
    if name in summary["baseline"]:
        said += f"  {summary['baseline_name']} {summary['baseline'][name]:z.4g}"
    return printable(f"{said}  best {summary['best'][name]:z.4g} at {summary['best']['step']}")


def first_figures(line: Line, count: int) -> str:
    """Return the first `count` figures of a line, leaving out baselines and what stands beside losses; of several
    validation sets the first of each, then the second."""
    own = Figures.from_named(line).own
    names = [name for name in own if name not in NO_FIGURE and not name.endswith(NO_LOSS)]
    if line["split"] == "val":
        sets = [name.rpartition("/")[0] for name in names]
        turns = {name: sets[:place].count(sets[place]) for place, name in enumerate(names)}
        names.sort(key=turns.__getitem__)
    return "  ".join(f"{name} {own[name]:z.4g}" for name in names[:count])
