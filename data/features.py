"""Which columns of a table have pictures and their classes: by the kinds that its features say, and by usual names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from launchbay import UserError
from launchbay.data.columns import NAMES
from launchbay.data.words import plain_name

if TYPE_CHECKING:
    from datasets import Dataset

Splits = dict[str, "Dataset"]
"""Theirs, by name."""
PICTURES = ("image", "img", "picture", "photo", "jpg", "png", "webp")
LABELS = NAMES["label"]
"""What columns are called, if several could be meant or their kind does not say it."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set have what."""

    picture: str
    label: str
    """Empty if there is none."""
    classes: tuple[str, ...]
    values: Mapping[object, int]
    """The numbers of the classes by what stands in the column, if these are no numbers of classes themselves."""
    unlabelled: str
    unused: tuple[str, ...]
    """Those that are neither."""


def find_columns(name: str, found: Splits, wanted: str) -> Columns:
    """Return the columns that pictures and classes are in: by their kinds, and where several could be meant by names.

    Args:
        wanted: the name of a column that is to be used, whichever of the two it is; empty for none.

    Raises:
        UserError: there are no pictures, or it is not clear which column to use.
    """
    features: Mapping[str, object] = next(iter(found.values())).features
    if wanted and wanted not in features:
        raise UserError(f"{name} has no column {wanted!r}", f"it has {', '.join(features)}")
    raw = [each for each, kind in features.items() if getattr(kind, "dtype", "") in ("binary", "large_binary")]
    usual = [each for each in raw if each.lower() in PICTURES]
    pictures = [each for each, kind in features.items() if has_pictures(kind)] or usual or raw
    picture = only(name, "pictures", [wanted] if wanted in raw else pictures, PICTURES, wanted)
    if not picture:
        said = ", ".join(f"{each} ({describe(kind)})" for each, kind in features.items())
        raise UserError(
            f"{name} has no column of pictures: {said}",
            "give a table whose features say Image, or that has the bytes of pictures in a column",
        )
    kinds = {each: type(kind).__name__ for each, kind in features.items()}
    classes = [each for each, kind in kinds.items() if kind == "ClassLabel"]
    plain = [each for each, kind in features.items() if is_plain(kind)]
    named = [each for each in plain if each.lower() in LABELS]
    label = only(name, "classes", [wanted] if wanted in plain else classes or named, LABELS, wanted)
    unused = tuple(plain_name(each) for each in features if each not in (picture, label))
    if not label:
        return Columns(picture, "", (), {}, f"{name} has no column of classes: {', '.join(features)}", unused)
    if kinds[label] == "ClassLabel":
        return Columns(picture, label, tuple(features[label].names), {}, "", unused)
    values = sorted({value for part in found.values() for value in part.unique(label) if value is not None})
    numbers = {value: number for number, value in enumerate(values)}
    return Columns(picture, label, tuple(map(str, values)), numbers, "", unused)


def only(name: str, what: str, columns: Sequence[str], usual: Sequence[str], wanted: str) -> str:
    """Return the one of `columns` that is meant: the `wanted` one, the only one, or the only one with a usual name.

    Raises:
        UserError: several could be.
    """
    if wanted in columns:
        return wanted
    named = [each for each in columns if each.lower() in usual[:1]] or [
        each for each in columns if each.lower() in usual
    ]
    if len(columns) > 1 and len(named) != 1:
        said = f"{name} has {what} in several columns: {', '.join(columns)}"
        raise UserError(said, f"name one: --data {name}@COLUMN")
    return named[0] if named else columns[0] if columns else ""


def has_pictures(kind: object) -> bool:
    """Return whether a column holds files of pictures: its feature says so, or it is as Parquet keeps them."""
    return type(kind).__name__ == "Image" or (isinstance(kind, Mapping) and set(kind) == {"bytes", "path"})


def is_plain(kind: object) -> bool:
    """Return whether a column holds whole numbers or words."""
    dtype = getattr(kind, "dtype", "")
    return type(kind).__name__ == "Value" and bool(re.fullmatch(r"u?int\d+|(large_)?string|bool", str(dtype)))


def describe(kind: object) -> str:
    return str(getattr(kind, "dtype", "")) if type(kind).__name__ == "Value" else type(kind).__name__


def labels_of(part: "Dataset", columns: Columns, places: Sequence[int]) -> list[int]:
    """Return the numbers of the classes of some rows, -1 where there is none; 0 where no column has any."""
    if not columns.label:
        return [0] * len(places)
    values = part.data.column(columns.label).take(place_in_table(part)[places]).to_pylist()
    if columns.values:
        return [columns.values.get(value, -1) for value in values]
    return [-1 if value is None else int(value) for value in values]


def place_in_table(part: "Dataset") -> NDArray[np.int64]:
    """Return which row of the table each row of a split is: others, where it was shuffled or filtered."""
    if part._indices is None:
        return np.arange(len(part))
    return part._indices.column(0).to_numpy().astype(np.int64)
