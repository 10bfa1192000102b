"""`launchbay runs`: the runs of a folder in one table, each with its best figure, its state and what is its own."""

import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchbay import UserError, printable
from launchbay.launch.config.option_file import read_values
from launchbay.launch.config.options import flag
from launchbay.launch.files import Json, to_json
from launchbay.launch.record.lines import METRICS
from launchbay.launch.record.run_folder import PLACE_OPTIONS, SUMMARY, Summary, config_file, owner_lives, read_summary
from launchbay.models.reading import Unfit

STALLED = 600
"""Seconds without a line in the record after which a run that is running is said to have stalled."""
ABSENT = "–"


@dataclass(frozen=True)
class Row:
    """What is said of one run."""

    name: str
    status: str
    changed: float
    """When something was last written, in seconds since 1970."""
    bytes: int
    options: Json = field(default_factory=dict)
    summary: Summary | None = None
    """What it had come to at its last validation, None before the first."""
    damage: str = ""
    """What cannot be read of it, and why."""

    def task(self) -> str:
        return str(self.options.get("task", ""))

    def best(self, figure: str = "") -> float | None:
        """Return the best value of `figure`, by default of that by which the best checkpoint is chosen."""
        return self.summary.best.get(figure or self.summary.best_by) if self.summary else None

    def plain(self) -> Json:
        """Return all of it as JSON has it."""
        summary = self.summary
        return {
            "run": self.name,
            "task": self.task(),
            "data": summary.data if summary else self.options.get("data"),
            "status": self.status,
            "damage": self.damage,
            "step": summary.step if summary else None,
            "steps": summary.steps if summary else None,
            "best_by": summary.best_by if summary else "",
            "best": dict(summary.best) if summary else {},
            "baseline": dict(summary.baseline) if summary else {},
            "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.changed)),
            "bytes": self.bytes,
            "options": {name: value for name, value in self.options.items() if name not in PLACE_OPTIONS},
        }


def show_runs(folder: Path, sort: str, task: str, form: str, console: Console) -> bool:
    """Print the runs in `folder`, the last one that was written to first, or by the figure `sort`, the best one first.
    Return whether all could be read.

    Args:
        task: the only one whose runs are shown; empty for all.
        form: "table", "json" or "csv".

    Raises:
        UserError: there is no run, or none has that figure.
    """
    names = sorted(path.name for path in folder.iterdir() if (path / "config.yaml").exists()) if folder.is_dir() else []
    rows = [row for row in (read_row(folder / name) for name in names) if task in ("", row.task())]
    if not rows:
        what = f"of task {task} " * bool(task)
        raise UserError(f"there is no run {what}in {folder}", "name the folder of your runs: launchbay runs DIR")
    rows.sort(key=lambda row: -row.changed)
    if sort:
        rows = sorted_by(rows, sort)
    if form == "json":
        print(to_json([row.plain() for row in rows], indent=2))
    elif form == "csv":
        write_csv(rows)
    else:
        console.print(table_of(rows, sort), highlight=False)
        special = differing(rows)
        for row in rows:
            for said in filter(None, (special[row.name], row.damage)):
                console.print(Text(printable(f"{row.name}: {said}")))
    return not any(row.damage for row in rows)


def read_row(run: Path) -> Row:
    """Return what there is to say of the run in the folder `run`, also where it is damaged."""
    size = sum(path.lstat().st_size for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    changed = max(path.stat().st_mtime for path in (run, run / METRICS, run / SUMMARY) if path.exists())
    options: Json = {}
    try:
        options, _ = read_values(config_file(run))
        summary = read_summary(run) if (run / SUMMARY).exists() else None
    except (UserError, Unfit) as error:
        what = "" if isinstance(error, UserError) else f"{run / SUMMARY} "
        return Row(run.name, "damaged", changed, size, options, damage=printable(f"{what}{error}"))
    return Row(run.name, status_of(run, summary, changed), changed, size, options, summary)


def status_of(run: Path, summary: Summary | None, changed: float) -> str:
    """Return how it stands with a run: what its summary says, if its process is there to say otherwise."""
    if summary is not None and summary.status != "running":
        return summary.status
    if owner_lives(run) is False:
        return "killed"
    if (silent := time.time() - changed) > STALLED:
        return f"stalled for {ago(silent)}"
    return "running" if summary else "starting"


def sorted_by(rows: Sequence[Row], figure: str) -> list[Row]:
    """Return those of `rows` that have `figure`, the best first, and then the others.

    Raises:
        UserError: none has it.
    """
    known = sorted({name for row in rows if row.summary for name in row.summary.best if name != "step"})
    if figure not in known:
        raise UserError(f"no run has the figure {figure!r}", f"they have {', '.join(known) or 'none yet'}")
    lower = any(row.summary.lower_is_better for row in rows if row.summary and row.summary.best_by == figure)
    with_it = [row for row in rows if row.best(figure) is not None]
    with_it.sort(key=lambda row: (row.best(figure) or 0) * (1 if lower else -1))
    return with_it + [row for row in rows if row not in with_it]


def table_of(rows: Sequence[Row], figure: str) -> Table:
    """Return a table of what is not the same in all rows: 80 columns are few."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns: dict[str, list[str]] = {}
    for row in rows:
        summary, name = row.summary, figure or (row.summary.best_by if row.summary else "")
        cells = {"run": row.name, "task": row.task(), "data": str(row.plain()["data"] or ABSENT), "status": row.status}
        cells |= {"step": f"{summary.step:,}" if summary else ABSENT, "best": f"{shown(row.best(name))} {name}"}
        cells |= {"baseline": shown(summary.baseline.get(name) if summary else None)}
        cells |= {"age": ago(time.time() - row.changed), "MiB": f"{row.bytes / 2**20:,.0f}"}
        for heading, cell in cells.items():
            columns.setdefault(heading, []).append(printable(cell))
    same = [heading for heading in ("task", "data") if len(set(columns[heading])) == 1]
    if known := " on ".join(columns[heading][0] for heading in ("task", "data") if heading in same):
        table.title, table.title_justify, table.title_style = Text(known), "left", "bold"
    columns = {heading: cells for heading, cells in columns.items() if heading not in same}
    for heading in columns:
        is_number = heading in ("step", "best", "baseline", "MiB")
        table.add_column(heading, no_wrap=True, justify="right" if is_number else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def differing(rows: Sequence[Row]) -> dict[str, str]:
    """Return for each run those options that are not the same in all runs of its task, as on a command line."""
    said: dict[str, str] = {}
    for row in rows:
        others = [other.options for other in rows if other.task() == row.task()]
        names = [
            name
            for name, value in row.options.items()
            if name not in (*PLACE_OPTIONS, "data") and any(other.get(name) != value for other in others)
        ]
        said[row.name] = " ".join(f"{flag(name)} {words(row.options[name])}" for name in names)
    return said


def words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def shown(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def ago(seconds: float) -> str:
    """Return a time span in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def write_csv(rows: Sequence[Row]) -> None:
    """Print one line for each run, with a column for each figure and option that any of them has."""
    flat: list[Json] = []
    for row in rows:
        plain = row.plain()
        nested = {f"{of}/{name}": value for of in ("best", "baseline") for name, value in plain.pop(of).items()}
        options = {flag(name): words(value) for name, value in plain.pop("options").items()}
        flat.append({**plain, **nested, **options})
    writer = csv.DictWriter(sys.stdout, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
