"""`launchbay runs`: the runs of a folder in one table, each with its best figure, its state and what is its own."""

import csv
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchbay import UserError, printable
from launchbay.launch.config.options import flag
from launchbay.launch.config.typed import typed
from launchbay.launch.files import Json, to_json
from launchbay.launch.record.beside import ABSENT, differing_options
from launchbay.launch.record.reader import FLATTERED, RunFolder, ago, read_run_folder
from launchbay.launch.record.report.words import better


def show_runs(folder: Path, sort: str, task: str, form: str, console: Console) -> bool:
    """Print the runs in `folder`, the last one that was written to first, or by the figure `sort`, the best one first.
    Return whether all could be read.

    Args:
        task: the only one whose runs are shown; empty for all.
        form: "table", "json" or "csv".

    Raises:
        UserError: there is no run, or none has that figure.
    """
    rows = [
        row for row in (read_run_folder(folder / name, name) for name in names_in(folder)) if task in ("", row.task)
    ]
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
        if any(row.flatters for row in rows):
            console.print(FLATTERED, highlight=False, soft_wrap=True)
    return not any(row.damage for row in rows)


def names_in(folder: Path) -> list[str]:
    """Return the names of the runs in `folder`, and of those in sweeps and other folders of runs: "rates/lr=1"."""
    found = [*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")]
    runs = sorted(file.parent.relative_to(folder) for file in found)
    return [run.as_posix() for run in runs if run.parent not in runs]


def sorted_by(rows: Sequence[RunFolder], figure: str) -> list[RunFolder]:
    """Return those of `rows` that have `figure`, the best first, and then the others. Where it is not known what is
    better, the highest is first.

    Raises:
        UserError: none has it.
    """
    known = sorted({name for row in rows if row.summary for name in row.summary.best if name != "step"})
    if figure not in known:
        raise UserError(f"no run has the figure {figure!r}", f"they have {', '.join(known) or 'none yet'}")
    judged = [row for row in rows if row.summary and figure in (row.summary.best_by, row.reported)]
    sign = better((judged or rows)[0], figure) or 1
    with_it = [row for row in rows if row.best(figure) is not None]
    with_it.sort(key=lambda row: -sign * (row.best(figure) or 0))
    return with_it + [row for row in rows if row not in with_it]


LEAST = {"run": 12, "task": 8, "data": 6, "best": 14}
"""Characters that columns keep which may be folded where the terminal is narrow. The others are shown whole."""


def table_of(rows: Sequence[RunFolder], figure: str) -> Table:
    """Return a table of what is not the same in all rows: 80 columns are few."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns: dict[str, list[str]] = {}
    for row in rows:
        summary, name = row.summary, figure or row.reported
        cells = {"run": row.name, "task": row.task, "data": str(row.data or ABSENT), "status": row.status}
        cells |= {"step": f"{row.step:,}" if summary else ABSENT, "best": f"{shown(row.best(name))} {name}"}
        cells |= {"baseline": shown(summary.baseline.get(name) if summary else None)}
        cells |= {"age": ago(time.time() - row.changed), "MiB": f"{row.bytes() / 2**20:,.0f}"}
        for heading, cell in cells.items():
            columns.setdefault(heading, []).append(printable(cell))
    same = [heading for heading in ("task", "data") if len(set(columns[heading])) == 1]
    if known := " on ".join(columns[heading][0] for heading in ("task", "data") if heading in same):
        table.title, table.title_justify, table.title_style = Text(known), "left", "bold"
    columns = {heading: cells for heading, cells in columns.items() if heading not in same}
    for heading in columns:
        is_number = heading in ("step", "best", "baseline", "MiB")
        widest = max(map(len, columns[heading]))
        least = min(widest, LEAST.get(heading, widest))
        justify = "right" if is_number else "left"
        table.add_column(heading, no_wrap=heading not in LEAST, overflow="fold", min_width=least, justify=justify)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def differing(rows: Sequence[RunFolder]) -> dict[str, str]:
    """Return for each run those options that are not the same in all runs of its task, as on a command line."""
    said: dict[str, str] = {}
    for row in rows:
        names = [
            name for name in differing_options([other for other in rows if other.task == row.task]) if name != "data"
        ]
        said[row.name] = shlex.join(
            word for name in names if name in row.options for word in typed(name, row.options[name])
        )
    return said


def words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def shown(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def write_csv(rows: Sequence[RunFolder]) -> None:
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
