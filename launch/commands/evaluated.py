"""What `launchbay evaluate` has found out: a table, JSON, CSV or LaTeX; and a file of the figures of each picture."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchbay import number_of, printable
from launchbay.data import ImageSet
from launchbay.data.transforms import Transformed
from launchbay.launch.engine.evaluation import Evaluation
from launchbay.launch.files import replacing, to_json
from launchbay.launch.record.figures import Figures

Form = Literal["table", "json", "csv", "latex"]
LATEX = {char: rf"\{char}" for char in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


@dataclass(frozen=True)
class Part:
    """The figures of one validation set, and how many samples it has."""

    name: str
    samples: int
    figures: Figures[float]


@dataclass(frozen=True)
class Outcome:
    """The figures of a run on all sets: those of its "best" or "last" `checkpoint`, which is of `step`."""

    run: str
    task: str
    checkpoint: str
    step: int
    baseline_name: str
    parts: Sequence[Part]
    note: str = ""
    """What a reader of the figures has to know."""

    def has_baseline(self) -> bool:
        return any(part.figures.baseline for part in self.parts)

    def rows(self) -> Iterator[tuple[Part, str, float, float | None]]:
        """Yield each figure: its set, its name, its value and that of the baseline."""
        for part in self.parts:
            for name, value in part.figures.own.items():
                yield part, name, value, part.figures.baseline.get(name)


def show(outcome: Outcome, form: Form, console: Console) -> None:
    """Print `outcome`."""
    match form:
        case "table":
            console.print(table_of(outcome))
        case "json":
            print(to_json(plain(outcome), indent=2))
        case "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(
                ["run", "task", "checkpoint", "step", "set", "samples", "figure", "network", "baseline", "note"]
            )
            about = outcome.run, outcome.task, outcome.checkpoint, outcome.step
            for part, name, value, baseline in outcome.rows():
                known = "" if baseline is None else baseline
                writer.writerow([*about, part.name, part.samples, name, value, known, outcome.note])
        case "latex":
            print(latex(outcome))


def table_of(outcome: Outcome) -> Table:
    """Return a table of each figure beside that of the baseline, with a section for each set."""
    several = len(outcome.parts) > 1
    names = ", ".join(part.name for part in outcome.parts)
    title = Text(printable(f"{outcome.task}: validation on {names}", 300), style="table.title")
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    heads = ("network", outcome.baseline_name, "difference") if outcome.has_baseline() else ("network",)
    for heading in heads:
        table.add_column(Text(printable(heading, 100)), justify="right")
    last = None
    for part, name, value, baseline in outcome.rows():
        if last not in (None, part):
            table.add_section()
        cells = [f"{value:z.4f}"]  # z: no -0.0000
        if baseline is not None:
            cells += [f"{baseline:z.4f}", f"{value - baseline:+z.4f}"]
        table.add_row(Text(printable(f"{part.name}/{name}" if several else name, 200)), *cells)
        last = part
    return table


def plain(outcome: Outcome) -> dict[str, object]:
    """Return `outcome` as JSON has it."""
    sets = {
        part.name: {"samples": part.samples, "figures": part.figures.own, "baseline": part.figures.baseline}
        for part in outcome.parts
    }
    about = {name: getattr(outcome, name) for name in ("run", "task", "checkpoint", "step", "baseline_name")}
    return {**about, "note": outcome.note, "sets": sets}


def latex(outcome: Outcome) -> str:
    """Return a table for a paper (it needs the package booktabs): a row for the baseline and one for the network, and a
    column for each figure of each set. The better one is bold where both are known.
    """
    cells = [(part, name, value, baseline) for part, name, value, baseline in outcome.rows()]
    spans = [rf"\multicolumn{{{len(part.figures.own)}}}{{c}}{{{escaped(part.name)}}}" for part in outcome.parts]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(cells)}}}", r"\toprule", " & ".join(["", *spans]) + r" \\"]
    lines += [" & ".join(["", *(escaped(name) for _, name, _, _ in cells)]) + r" \\", r"\midrule"]
    if outcome.has_baseline():
        values = ["--" if baseline is None else f"{baseline:z.4f}" for *_, baseline in cells]
        lines.append(" & ".join([escaped(outcome.baseline_name), *values]) + r" \\")
    lines.append(" & ".join([escaped(outcome.run), *(f"{value:z.4f}" for _, _, value, _ in cells)]) + r" \\")
    note = [f"% {outcome.note}"] if outcome.note else []
    return "\n".join([*note, *lines, r"\bottomrule", r"\end{tabular}"])


def escaped(text: str) -> str:
    """Return text as LaTeX shows it."""
    return "".join(LATEX.get(char, char) for char in printable(text, 200))


def write_each(
    path: Path,
    sets: Mapping[str, ImageSet],
    found: Mapping[str, Evaluation],
    parts: Sequence[Part],
    console: Console,
) -> None:
    """Write a line for each picture of each set to the CSV file `path`: its set, its place there, what it is called,
    and its figures, those of the baseline with "baseline/" before them.
    """
    names = list(dict.fromkeys(name for each in found.values() for name in each.each.named()))
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "index", "picture", *names])
        for part, (name, images) in zip(parts, sets.items(), strict=True):
            values = {key: figures.tolist() for key, figures in found[name].each.named().items()}
            for place in range(len(images)):
                own = [values[key][place] if key in values else "" for key in names]
                writer.writerow([part.name, place, picture_name(images, place), *own])
                count += 1
    console.print(f"{path}: figures of {number_of(count, 'picture')}", highlight=False, markup=False, soft_wrap=True)


def picture_name(images: ImageSet, place: int) -> str:
    """Return what the picture at a place of a set is called."""
    source = images.source if isinstance(images, Transformed) else images
    return source.name(place)
