"""The tables of the report: figures, options, and how fast on what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, stdev

from launchbay.launch.config.options import flag
from launchbay.launch.record.beside import ABSENT, common_baseline, differing_options, repeated
from launchbay.launch.record.reader import RunFolder
from launchbay.launch.record.report.words import better, chosen_by, number, span

MIB = 2**20
MOST_FIGURES = 200
"""Rows of figures; 10,000 classes may have some each."""
LEAST_PARTS = 4
"""Figures of parts that make a table of their own."""


@dataclass(frozen=True)
class Cell:
    """What a table has in a place."""

    text: str = ABSENT
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Head:
    """What a row or a column is of."""

    text: str
    run: int | None = None
    """The number of the run, which has a colour."""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows by columns."""

    corner: str
    columns: Sequence[Head]
    rows: Sequence[tuple[Head, Sequence[Cell]]] = field(default_factory=list)

    def transposed(self) -> "Table":
        cells = list(zip(*(cells for _, cells in self.rows), strict=True))
        return Table("run", [head for head, _ in self.rows], list(zip(self.columns, cells, strict=True)))


def figures_table(runs: Sequence[RunFolder], names: Sequence[str]) -> Table | None:
    """Return the figures of `runs` at their best steps: the baseline first, as far as it is the same for all, then each
    run, then those of repeats as mean ± standard deviation. The best are marked. None if there are none.
    """
    figures = figures_of(runs)[:MOST_FIGURES]
    if not figures:
        return None
    columns: list[tuple[Head, Mapping[str, Cell]]] = []
    baseline = common_baseline(runs)
    if baseline:
        heading = next(run.baseline_name for run in runs if run.figures().baseline)
        columns.append((Head(heading, note="baseline"), {name: Cell(number(v)) for name, v in baseline.items()}))
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        columns.append((Head(name, place, note_on(run)), cells_of(run, {} if len(runs) == 1 else baseline)))
    if len(runs) == 1 and runs[0].figures("last").own != runs[0].figures("best").own:
        last = runs[0].figures("last").own
        columns.append((Head("last step"), {name: Cell(number(value)) for name, value in last.items()}))
    columns += [repeats_column(group, names[runs.index(group[0])]) for group in repeated(runs)]
    table = Table(
        "figure",
        [head for head, _ in columns],
        [(Head(name), marked(name, runs, [cells.get(name, Cell()) for _, cells in columns])) for name in figures],
    )
    return table.transposed() if len(columns) > max(4, len(figures)) else table


def figures_of(runs: Sequence[RunFolder]) -> list[str]:
    """Return the names of the figures in their table: the one that runs are judged by first. What several parts have
    each, as `parts_table` shows it, is not among them.
    """
    names = dict.fromkeys(name for run in runs for name in (chosen_by(run), *run.figures().own) if name)
    apart = in_parts(runs[0]) if len(runs) == 1 else {}
    return [name for name in names if name not in apart or name == chosen_by(runs[0])]


def in_parts(run: RunFolder) -> dict[str, tuple[str, str]]:
    """Return those figures that several parts have each, "recall/cat" and "recall/dog", "set5/psnr" and "set14/psnr":
    what stands before and after the last slash.
    """
    split = {name: name.rpartition("/") for name in run.figures().own if "/" in name}
    found = {name: (before, after) for name, (before, _, after) in split.items()}
    return found if len(found) >= LEAST_PARTS else {}


def parts_table(run: RunFolder) -> Table | None:
    """Return the figures that several parts have each, beside those of the baseline; None if there are none."""
    found, figures = in_parts(run), run.figures()
    before, after = (list(dict.fromkeys(pair[side] for pair in found.values())) for side in (0, 1))
    cells = {}
    for name, pair in found.items():
        beside = figures.baseline.get(name)
        note = "" if beside is None else f"{run.baseline_name} {number(beside)}"
        cells[pair] = Cell(number(figures.own[name]), note)
    rows = [(Head(one), [cells.get((one, other), Cell()) for other in after]) for one in before]
    if not rows:
        return None
    table = Table("", list(map(Head, after)), rows)
    table = table.transposed() if len(after) > len(before) else table
    return replace(table, rows=table.rows[:MOST_FIGURES])


def note_on(run: RunFolder) -> str:
    step = run.summary.best.get("step") if run.summary else None
    return "" if step is None else f"step {step:,.0f}"


def cells_of(run: RunFolder, beside: Mapping[str, float]) -> dict[str, Cell]:
    """Return the cells of a run, with what each differs from its baseline, unless that stands `beside` it."""
    figures = run.figures()
    gaps = {
        name: f"{value - figures.baseline[name]:+z.4f}"
        for name, value in figures.own.items()
        if name in figures.baseline and name not in beside
    }
    return {name: Cell(number(value), gaps.get(name, "")) for name, value in figures.own.items()}


def marked(name: str, runs: Sequence[RunFolder], cells: list[Cell]) -> list[Cell]:
    """Return the `cells` of a figure, the best one among those of several runs of a task marked."""
    known = [(value, number(value)) for run in runs if (value := run.figures().own.get(name)) is not None]
    sign = better(runs[0], name)
    if len(known) < 2 or not sign or len({run.task for run in runs}) > 1:
        return cells
    best = max(known, key=lambda one: sign * one[0])[1]
    return [replace(cell, best=cell.text == best) for cell in cells]


def repeats_column(group: Sequence[RunFolder], name: str) -> tuple[Head, dict[str, Cell]]:
    figures = [run.figures().own for run in group]
    spread = {
        figure: [own[figure] for own in figures if figure in own]
        for figure in dict.fromkeys(n for own in figures for n in own)
    }
    cells = {figure: Cell(f"{mean(of):z.4f} ± {stdev(of):.4f}") for figure, of in spread.items() if len(of) > 1}
    return Head(f"{len(group)} seeds of {name}", note="mean ± sd"), cells


def options_table(runs: Sequence[RunFolder], names: Sequence[str], *, differing: bool) -> Table | None:
    """Return the options of `runs`, those alone that are not the same in all of them, or those that are."""
    own = differing_options(runs)
    chosen = own if differing else [name for name in runs[0].own_options if name not in own]
    if not chosen:
        return None
    shown = range(len(runs)) if differing else range(1)
    heads = [Head(names[place], place) for place in shown] if differing else [Head("value")]
    rows = [(Head(flag(name)), [Cell(words(runs[place].options.get(name))) for place in shown]) for name in chosen]
    table = Table("option", heads, rows)
    return table.transposed() if len(heads) > max(4, len(rows)) else table


def words(value: object) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(words, value)) if isinstance(value, list) else str(value)


def facts_table(runs: Sequence[RunFolder], names: Sequence[str]) -> Table:
    """Return how fast each run was, on what, with which versions; what is the same in all of them once."""
    facts: dict[str, Callable[[RunFolder], str]] = {
        "speed": lambda run: f"{run.summary.samples_per_s:,.0f} samples/s" if run.summary else ABSENT,
        "time": lambda run: span(run.summary.seconds) if run.summary else ABSENT,
        "steps": lambda run: f"{run.summary.step:,} of {run.summary.steps:,}" if run.summary else ABSENT,
        "epochs": lambda run: f"{run.summary.epoch:,.2f}" if run.summary else ABSENT,
        "memory, at most": lambda run: memory(run.summary.memory if run.summary else None),
        "memory of the GPU": lambda run: memory(run.summary.gpu_memory if run.summary else None),
        "device": lambda run: (run.summary.device if run.summary else None) or ABSENT,
        "processes": lambda run: words(run.summary.world_size if run.summary else None),
        "threads": lambda run: words(run.summary.threads if run.summary else None),
    }
    versions = dict.fromkeys(name for run in runs if run.summary for name in run.summary.versions)
    rows = [(name, [fact(run) for run in runs]) for name, fact in facts.items()]
    rows += [
        (name, [run.summary.versions.get(name, ABSENT) if run.summary else ABSENT for run in runs]) for name in versions
    ]
    kept = [(Head(name), [Cell(text) for text in texts]) for name, texts in rows if set(texts) != {ABSENT}]
    table = Table("", [Head(name, place) for place, name in enumerate(names)], kept)
    return table.transposed() if len(runs) > 5 else table


def memory(size: int | None) -> str:
    return ABSENT if size is None else f"{size / MIB:,.0f} MiB"
