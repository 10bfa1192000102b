"""Data sets in Arrow and Parquet, through Hugging Face's library `datasets`: hf:ID[:CONFIG] of its hub, and files.

Of the library's work only the tables are used, mapped into memory: pictures are decoded by the rules of any folder.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from launchbay import UserError, number_of
from launchbay.data.archives import Content
from launchbay.data.base import ImageSet
from launchbay.data.features import Columns, Splits, find_columns, labels_of, place_in_table
from launchbay.data.files import DamagedPictures, LabelledFiles
from launchbay.data.layout import HOLD_OUT, ROLES
from launchbay.data.words import plain_name, some_of

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

Parts = list[tuple[str, Sequence[int]]]
"""Rows of some splits of theirs."""


def open_hub(name: str, split: str) -> ImageSet:
    """Return the pictures of ID[:CONFIG][@COLUMN], a data set of the hub: downloaded once, to the library's cache.

    Raises:
        UserError: there is none, it cannot be had, or has no pictures.
    """
    address, _, column = name.partition("@")
    identity, _, config = address.partition(":")
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as packaged  # these would read what lies here

    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", identity) or identity in packaged or identity.startswith("buckets/"):
        hint = "write hf:ID or hf:OWNER/ID, as the address of its page ends; for files here give the path: --data PATH"
        raise UserError(f"{identity!r} cannot be a data set of the hub", hint)
    if Path(identity).exists():
        said = f"hf:{identity} is meant to be on the hub, but there is a file or folder {identity} here, too"
        raise UserError(said, f"for that one: --data ./{identity}; for the other start in another folder")
    return pictures_of(f"hf:{address}", load_from_hub(identity, config), split, column)


@cache
def load_from_hub(identity: str, config: str) -> Splits:
    """Return the splits of a data set: asked for once, since where the hub does not answer that takes half a minute."""
    import datasets

    name = f"hf:{identity}" + f":{config}" * bool(config)
    return load(name, lambda: datasets.load_dataset(identity, config or None))


def open_parquet(split: str, path: Path, column: str = "") -> ImageSet:
    """Return the pictures in a file of Parquet, or in those of a folder, whose names say what they are for; `column` is
    that of the pictures or of the classes, if several could be meant.

    Raises:
        UserError: they cannot be read.
    """
    import datasets

    place = str(path.resolve())
    where, files = (place, None) if path.is_dir() else ("parquet", place)
    name = plain_name(path)
    return pictures_of(name, load(name, lambda: datasets.load_dataset(where, data_files=files)), split, column)


def open_saved(split: str, path: Path, column: str = "") -> ImageSet:
    """Return the pictures that `save_to_disk` has written to the folder `path`; `column` as for Parquet.

    Raises:
        UserError: they cannot be read.
    """
    import datasets

    name = plain_name(path)
    return pictures_of(name, load(name, lambda: datasets.load_from_disk(str(path))), split, column)


def load(name: str, open: Callable[[], object]) -> Splits:
    """Return what `open` loads, by the names of its splits.

    Raises:
        UserError: it cannot.
    """
    try:
        found = open()
    except Exception as error:  # whatever network, disk and the contents of files come to
        said = " ".join(f"{error or type(error).__name__}".split())
        raise UserError(f"cannot load {name}: {said}", remedy_for(error, of_hub=name.startswith("hf:"))) from error
    return dict(cast(Splits, found)) if isinstance(found, Mapping) else {"train": cast("Dataset", found)}


def remedy_for(error: BaseException | None, *, of_hub: bool) -> str:
    """Return what to do about an `error` of the library, by what has caused it."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError):
            return "without a network only what Hugging Face's cache has is found (HF_HOME says where that is)"
        if isinstance(error, OSError) and error.errno:
            return "give the library another folder for its cache (HF_HOME), or more room"
        error = error.__cause__ or error.__context__
    return "name it as its page does, hf:ID or hf:ID:CONFIG" if of_hub else "write it again, or name one that is whole"


def pictures_of(name: str, found: Splits, split: str, column: str = "") -> ImageSet:
    """Return the pictures of a split of ours.

    Raises:
        UserError: there are none, or it is not clear which.
    """
    columns = find_columns(name, found, column)
    parts, note = parts_of(name, found, columns)
    note += f"; columns not used: {some_of(columns.unused)}" * bool(columns.unused)
    rows = Rows(name, found, columns.picture)
    chosen = parts[split]
    names = [f"{part}/{row}" for part, places in chosen for row in places]
    labels = [label for part, places in chosen for label in labels_of(found[part], columns, places)]
    missing = next((place for place, label in enumerate(labels) if label < 0), None)
    if missing is not None:
        raise UserError(
            f"{rows / names[missing]} has no class", "leave such rows out, or name another column of labels"
        )
    try:
        images = LabelledFiles(rows, names, labels, columns.classes, columns.unlabelled)
    except DamagedPictures as error:
        if error.rest is not None:
            error.rest.note = said_of(name, error.rest, note)
        raise
    images.note = said_of(name, images, note)
    return images


def said_of(name: str, images: ImageSet, note: str) -> str:
    """Return what was understood: the name, the classes, and the `note` on what is for what."""
    classes = f"{number_of(len(images.classes), 'class')} ({some_of(images.classes, 8)}); " * bool(images.classes)
    return f"{name}: {classes}{note}"


def parts_of(name: str, found: Splits, columns: Columns) -> tuple[dict[str, Parts], str]:
    """Return which rows of which splits of theirs are for each of ours, and a note on what training and validation do.

    Raises:
        UserError: two splits are for the same, or none is to train on.
    """
    usable = [part for part in found if len(found[part]) and not is_unlabelled(found[part], columns)]
    roles: dict[str, str] = {}
    for part in usable:
        role = ROLES.get(part.lower(), "")
        if role in roles:
            raise UserError(
                f"{name} has the splits {roles[role]} and {part}, which are for the same", "name another CONFIG"
            )
        if role:
            roles[role] = part
    every: Parts = [(part, range(len(found[part]))) for part in usable]
    training = roles.get("train") or (usable[0] if len(usable) == 1 else "")
    if not training:
        said = f"{name} has the splits {some_of(list(found))}, and none of them is called train"
        raise UserError(said, "name another CONFIG, or another data set")
    rows = range(len(found[training]))
    validation = roles.get("val") or roles.get("test", "")
    if validation and validation != training:
        parts: dict[str, Parts] = {"train": [(training, rows)], "val": [(validation, range(len(found[validation])))]}
        note = f"figures are of {validation}"
    else:
        parts = {"train": [(training, [row for row in rows if row % HOLD_OUT])], "val": [(training, rows[::HOLD_OUT])]}
        note = f"figures are of every tenth picture of {training}, which is not trained on"
    unused = [f"{len(found[part]):,} in {plain_name(part)}" for part in found if part not in (training, validation)]
    return parts | {"all": every}, note + f"; not used: {', '.join(unused)}" * bool(unused)


def is_unlabelled(part: "Dataset", columns: Columns) -> bool:
    """Return whether a split has no classes, where others have: the hub marks that by -1."""
    return labels_of(part, columns, range(1))[0] < 0


class Rows:
    """The pictures in the column `picture` of each split, called SPLIT/ROW."""

    def __init__(self, name: str, splits: Splits, picture: str):
        self.name, self.splits, self.picture = name, splits, picture
        self.places = {part: place_in_table(found) for part, found in splits.items() if found._indices is not None}
        self.chunks = {part: found.data.column(picture).chunks for part, found in splits.items()}
        self.starts = {part: np.cumsum([0, *map(len, chunks)]) for part, chunks in self.chunks.items()}

    def __reduce__(self) -> tuple[type["Rows"], tuple[object, ...]]:
        return Rows, (self.name, self.splits, self.picture)  # tables in files are opened again, not copied

    def __truediv__(self, name: str) -> "Cell":
        part, _, row = name.rpartition("/")
        return Cell(self, part, int(row))

    def value(self, part: str, row: int) -> "pyarrow.Scalar":
        """Return what is in a row, as Arrow has it: nothing is copied."""
        row = int(self.places[part][row]) if part in self.places else row
        number = int(np.searchsorted(self.starts[part], row, side="right")) - 1
        return self.chunks[part][number][row - int(self.starts[part][number])]


class Cell(Content):
    """A picture in a row of a table."""

    remedy = "repair it, or take its row out of the table"

    def __init__(self, rows: Rows, part: str, row: int):
        self.rows, self.part, self.row = rows, part, row

    def __str__(self) -> str:
        return f"{self.rows.name}, row {self.row} of {self.part}"

    def open(self) -> tuple[BinaryIO, int]:
        import pyarrow

        value = self.rows.value(self.part, self.row)
        content = value.get("bytes") if isinstance(value, pyarrow.StructScalar) else value
        if content is None or not content.is_valid:
            return self.open_file(value)
        buffer = content.as_buffer()
        return io.BufferedReader(pyarrow.BufferReader(buffer)), buffer.size  # pyright: ignore

    def open_file(self, value: "pyarrow.Scalar") -> tuple[BinaryIO, int]:
        """Open the file that a row names instead of holding it."""
        path = value["path"].as_py() if value.is_valid and "path" in value else None
        if not path:
            raise ValueError("it is empty")
        if not Path(path).is_file():
            raise ValueError(f"there is no file {path}")
        return Path(path).open("rb"), Path(path).stat().st_size
