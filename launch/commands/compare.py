"""`launchbay compare RUN RUN...`: figures of runs, what they were made with, and where two of them first differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from launchbay import UserError, number_of, printable
from launchbay.data.words import some_of
from launchbay.launch.commands.figures import figures_of
from launchbay.launch.commands.runs import differing
from launchbay.launch.config.options import flag
from launchbay.launch.files import Json
from launchbay.launch.record.beside import ABSENT
from launchbay.launch.record.lines import Line, read_record
from launchbay.launch.record.reader import FLATTERED, RunFolder, read_run_folder
from launchbay.launch.record.run_folder import SUMMARY, config_file
from launchbay.models import checkpoints
from launchbay.models.saved import State

V = TypeVar("V")
PLACE = {"run", "output_dir"}
"""Options that only say where a run is kept."""
TIMINGS = {"samples_per_s"}
"""Figures that are another each time."""
MOST_OF_VALUE = 300
"""Characters of a value that a table shows."""


@dataclass(frozen=True)
class Run:
    """The facts about a run that are compared: `made_with` are options, processes, hardware and versions; `data` the
    fingerprints of its pictures; checkpoints are by their folders' names, and `damaged` says what is wrong with which
    file or checkpoint.
    """

    name: str
    made_with: Json
    data: dict[str, str]
    lines: list[Line]
    checkpoints: dict[str, Path]
    damaged: dict[str, str]
    newest: str
    """Name of the newest checkpoint, intact or not; empty if there is none."""


def compare(folders: Sequence[Path], console: Console) -> bool:
    """Print the figures of the runs in `folders` beside each other; then of two where they part bit by bit, of more
    what options differ. Return False if two runs part.

    Raises:
        UserError: one of them is no run, or cannot be read.
    """
    for folder in folders:
        config_file(folder)
    rows = [read_run_folder(folder, str(folder)) for folder in folders]
    console.print(figures_of(rows), highlight=False)
    if any(row.flatters for row in rows):
        print_line(FLATTERED, console)
    if len(rows) == 2:
        return compare_runs(rows[0], rows[1], console)
    for row in rows:
        if row.damage:
            raise UserError(row.damage, "compare the others, or put back what it had")
    for name, options in differing(rows).items():
        if options:
            print_line(f"{name}: {options}", console)
    return True


def compare_runs(first: RunFolder, second: RunFolder, console: Console) -> bool:
    """Print where the runs first differ. Return whether their records and tensors are the same, whatever they were
    made with.

    Raises:
        UserError: one of them is no run, or they do not part but not all could be compared.
    """
    runs = read_run(first), read_run(second)
    causes, gaps = made_otherwise(*runs), not_compared(*runs)
    (in_record, lines), (in_tensors, tensors) = compare_records(*runs), compare_checkpoints(*runs)
    with_data = "data, " * bool(runs[0].data and runs[1].data)
    for line in causes or [f"options, {with_data}versions, hardware and number of processes are the same"]:
        print_line(line, console)
    if not in_record and not in_tensors:
        if gaps:
            damaged = sorted({name for run in runs for name in run.damaged})
            needed = "tensors are compared in intact checkpoints of a step that both runs have saved"
            hint = f"put back {some_of(damaged)} as the run wrote it" if damaged else needed
            raise UserError("\n".join(["no difference was found, but not all could be compared:", *gaps]), hint)
        what = "what they learned is" if causes else "the runs are"
        print_line(f"{what} the same: {number_of(lines, 'line')}, {number_of(tensors, 'tensor')}", console)
        return True
    for line in in_record or [f"the records are the same: {number_of(lines, 'line')}"]:
        print_line(line, console)
    for line in in_tensors or ([f"the checkpoints are the same: {number_of(tensors, 'tensor')}"] if tensors else []):
        print_line(line, console)
    for gap in gaps:
        print_line(f"not compared: {gap}", console)
    return False


def read_run(row: RunFolder) -> Run:
    """Return what there is to compare of a run.

    Raises:
        UserError: it is not known what it was made with.
    """
    if not row.options:
        raise UserError(row.damage, "put back its config.yaml as it was trained with")
    folder = row.folder
    states: dict[str, State] = {}
    damaged: dict[str, str] = {}
    saved = checkpoints.list_checkpoints(folder / "checkpoints")
    for step in saved:
        try:
            states[step.name] = checkpoints.verify(step)
        except checkpoints.DamagedCheckpoint as error:
            damaged[step.name] = str(error)
    newest = list(states.values())[-1] if states else None
    last = row.summary or newest
    if row.damage:
        damaged[SUMMARY] = row.damage
    rubbish: list[str] = []
    lines = [without(TIMINGS, line) for line in read_record(folder, tell=rubbish.append)]
    if rubbish:
        damaged["metrics.jsonl"] = rubbish[-1]
    return Run(
        name=row.name,
        made_with={flag(name): value for name, value in row.options.items() if name not in PLACE}
        | {"processes": getattr(last, "world_size", None), "device": getattr(last, "device", None)}
        | {"threads": getattr(last, "threads", None), **getattr(last, "versions", {})},
        data=newest.data if newest else {},
        lines=lines,
        checkpoints={name: folder / "checkpoints" / name for name in states},
        damaged=damaged,
        newest=saved[-1].name if saved else "",
    )


def made_otherwise(first: Run, second: Run) -> list[RenderableType]:
    """In what options, versions, hardware and data they differ."""
    rows = [
        (name, *values) for name, values in pairs(first.made_with, second.made_with).items() if values[0] != values[1]
    ]
    said: list[RenderableType] = []
    if rows:
        said.append(side_by_side("made with", first, second, rows))
    both = pairs(first.data, second.data) if first.data and second.data else {}
    changed = [split for split, (mine, other) in both.items() if mine != other]
    return [*said, f"the {' and '.join(changed)} pictures are not the same"] if changed else said


def compare_records(first: Run, second: Run) -> tuple[list[RenderableType], int]:
    """Return what differs in metrics.jsonl, the first line that does before the rest; and how many lines both have."""
    mine, other = ({(line["step"], line["split"]): line for line in run.lines} for run in (first, second))
    both = [place for place in mine if place in other]
    said: list[RenderableType] = []
    parted = [(place, rows) for place in both if (rows := changed_figures(mine[place], other[place]))]
    if parted:
        ((step, split), rows), count = parted[0], len(parted)
        of = number_of(len(both), "line")
        said.append(f"the records first differ at step {step} ({split}); of {of} in both, {count} differ:")
        said.append(side_by_side("figure", first, second, rows, "relatively"))
    for run, own, others in ((first, mine, other), (second, other, mine)):
        alone = [place for place in own if place not in others]
        if alone:
            count = f"{len(alone)} of its {number_of(len(own), 'line')}"
            said.append(f"only {run.name} has {count}, first at step {alone[0][0]}, last at step {alone[-1][0]}")
        names = {f"{name} ({split})" for step, split in both for name in own[step, split].keys() - others[step, split]}
        if names:
            said.append(f"only {run.name} has {', '.join(sorted(names))}")
    if not said and first.lines != second.lines:
        said.append("the records have the same lines in another order, or more than once")
    return said, len(both)


def changed_figures(mine: Line, other: Line) -> list[tuple[object, ...]]:
    """Return (name, value, value, relative difference) of each figure that both lines have and that is not the same."""
    return [
        (name, value, other[name], relative(value, other[name]))
        for name, value in mine.items()
        if name in other and value != other[name]
    ]


def relative(value: object, other: object) -> str:
    """Their difference as a part of the larger one; nothing where one is no number (null stands for those)."""
    if not isinstance(value, int | float) or not isinstance(other, int | float):
        return ABSENT
    return f"{abs(value - other) / max(abs(value), abs(other)):.2g}"


def compare_checkpoints(first: Run, second: Run) -> tuple[list[RenderableType], int]:
    """Return what differs in the first checkpoint in which anything does; and how many tensors were compared up to
    there.
    """
    said: list[RenderableType] = []
    if first.newest and second.newest and first.newest != second.newest:
        said.append(f"the newest checkpoints are {first.newest} in {first.name}, {second.newest} in {second.name}")
    count = 0
    for name in (name for name in first.checkpoints if name in second.checkpoints):
        mine, other = tensors(first.checkpoints[name]), tensors(second.checkpoints[name])
        both = pairs(mine, other)
        changed = [
            where
            for where in sorted(both)
            if where not in mine or where not in other or not same(mine[where], other[where])
        ]
        count += len(both)
        if changed:
            where = changed[0]
            only = first.name if where not in other else second.name if where not in mine else ""
            how = f"which only {only} has" if only else distance(mine[where], other[where])
            said.append(
                f"the checkpoints first differ at {name}: "
                f"{len(changed)} of {number_of(len(both), 'tensor')} differ, by name first"
            )
            said.append(f"  {where}, {how}")
            break
    return said, count


def tensors(where: Path) -> dict[str, Tensor]:
    """Return all tensors of a verified checkpoint, by file and name."""
    files = sorted(file for file in checkpoints.read_manifest(where).files if file.endswith(".safetensors"))
    return {
        f"{file}: {name}": tensor for file in files for name, tensor in checkpoints.read_tensors(where / file).items()
    }


def same(mine: Tensor, other: Tensor) -> bool:
    """Bit for bit: -0 is not 0, and what is no number is itself."""
    alike = mine.shape == other.shape and mine.dtype == other.dtype
    return alike and mine.flatten().view(torch.uint8).equal(other.flatten().view(torch.uint8))


def distance(mine: Tensor, other: Tensor) -> str:
    if mine.shape != other.shape or mine.dtype != other.dtype:
        return " against ".join(f"{tuple(tensor.shape)} of {tensor.dtype}" for tensor in (mine, other))
    exact = torch.complex128 if mine.is_complex() else torch.float64
    return f"by at most {(mine.to(exact) - other.to(exact)).abs().max():.2g}"


def not_compared(first: Run, second: Run) -> list[str]:
    """Return what stands in the way of comparing all."""
    gaps = [said for run in (first, second) for said in run.damaged.values()]
    gaps += [f"{run.name} has no checkpoint" for run in (first, second) if not run.checkpoints and not run.damaged]
    if not gaps and not first.checkpoints.keys() & second.checkpoints.keys():
        gaps.append("tensors, since no step has a checkpoint in both")
    return gaps


def pairs(first: Mapping[str, V], second: Mapping[str, V]) -> dict[str, tuple[V | str, V | str]]:
    """Return the two values of each key, in order."""
    return {key: (first.get(key, ABSENT), second.get(key, ABSENT)) for key in {**first, **second}}


def without(names: set[str], line: Line) -> Line:
    return {name: value for name, value in line.items() if name not in names}


def side_by_side(heading: str, first: Run, second: Run, rows: Sequence[tuple[object, ...]], *more: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (heading, first.name, second.name, *more):
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value, MOST_OF_VALUE)) for value in row))
    return table


def print_line(line: RenderableType, console: Console) -> None:
    console.print(printable(line) if isinstance(line, str) else line, highlight=False, markup=False)
