"""`launchbay apply` where pictures are told apart: classes and how probable they are, as a table, JSON or CSV."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from launchbay import UserError, number_of, printable
from launchbay.data.decode import decode
from launchbay.data.words import plain_name
from launchbay.launch.commands.inputs import Inputs
from launchbay.launch.commands.restoring import Use, grey, to_unit
from launchbay.tasks.answers import Classes

TOP = 5


@dataclass(frozen=True)
class Verdict:
    """The most probable classes of a picture, with their probabilities, and its own where its folder has the name of
    one.
    """

    path: Path
    best: Sequence[tuple[str, float]]
    label: str | None


def tell(
    use: Use, inputs: Inputs, classes: Sequence[str], top: int, share: tuple[int, int] = (0, 1)
) -> tuple[list[Verdict], list[str]]:
    """Return the `top` classes of each picture, and what is wrong with those that cannot be read. Of several processes
    this one does its `share`: its number, and how many there are.
    """
    verdicts, damaged = list[Verdict](), list[str]()
    for one in list(inputs.headers)[share[0] :: share[1]]:
        try:
            pixels = decode(one.path)
        except UserError as error:
            damaged.append(error.message)
            continue
        picture = to_unit(pixels.permute(1, 2, 0).numpy()).to(use.device)
        answer = use.answer(grey(picture) if use.channels == 1 else picture)
        assert isinstance(answer, Classes)
        found = answer.probabilities[0].float().cpu()
        names = classes if len(classes) == len(found) else tuple(map(str, range(len(found))))
        values, places = found.topk(min(top, len(found)))
        best = [
            (str(names[place]), float(value)) for place, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
        verdicts.append(Verdict(one.path, best, one.path.parent.name if one.path.parent.name in names else None))
    return verdicts, damaged


def show(verdicts: Sequence[Verdict], form: str, console: Console) -> None:
    """Print `verdicts` as a table with the accuracy, or as json or csv."""
    labelled = [one for one in verdicts if one.label is not None]
    right = sum(one.best[0][0] == one.label for one in labelled)
    if form == "json":
        rows = [
            {"picture": str(one.path), "classes": [{"name": n, "probability": p} for n, p in one.best]}
            | ({} if one.label is None else {"label": one.label})
            for one in verdicts
        ]
        accuracy = {"accuracy": right / len(labelled), "labelled": len(labelled)} if labelled else {}
        print(json.dumps({"pictures": rows, **accuracy}, indent=2))
        return
    most = max((len(one.best) for one in verdicts), default=0)
    heads = [word for place in range(1, most + 1) for word in (f"class {place}", f"probability {place}")]
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["picture", *["label"] * bool(labelled), *heads])
        writer.writerows(cells(one, str, bool(labelled)) for one in verdicts)
        return
    table = Table("picture", *["label"] * bool(labelled), *heads[::2])
    for one in verdicts:
        best = (f"{printable(name)} {100 * value:.1f} %" for name, value in one.best)
        table.add_row(plain_name(one.path), *[one.label or ""] * bool(labelled), *best)
    console.print(table, markup=False)
    if labelled:
        said = f"accuracy {right / len(labelled):.4f}: {right:,} of {number_of(len(labelled), 'picture')} "
        console.print(said + "are in a folder of the class that is most probable", highlight=False, soft_wrap=True)
        console.print(confusions(labelled), markup=False)


def cells(one: Verdict, text: type[str], labelled: bool) -> Iterable[str]:
    """Return the cells of a line of a table."""
    answers = [cell for name, value in one.best for cell in (name, f"{value:.6f}")]
    return [text(one.path), *[one.label or ""] * labelled, *answers]


def confusions(labelled: Sequence[Verdict]) -> Table:
    """Return a table of how often pictures of each class are taken for which."""
    names = sorted({one.label or "" for one in labelled} | {one.best[0][0] for one in labelled})
    counts = torch.zeros(len(names), len(names), dtype=torch.long)
    for one in labelled:
        counts[names.index(one.label or ""), names.index(one.best[0][0])] += 1
    table = Table("is, and taken for", *map(printable, names))
    for name, row in zip(names, counts.tolist(), strict=True):
        table.add_row(printable(name), *(str(count) if count else "" for count in row))
    return table
