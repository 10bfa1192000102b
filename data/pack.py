"""A pack, as `launchbay pack` writes it: tars with an index, read at any place."""

import io
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
from torch import Tensor

from launchbay import UserError, number_of
from launchbay.data.archives import Content, Item, Unreachable
from launchbay.data.base import digest_of
from launchbay.data.decode import unreadable
from launchbay.data.files import DamagedPictures, Files
from launchbay.data.headers import Headers
from launchbay.data.pack_format import (
    DESCRIPTION,
    INDEX,
    LARGEST_DESCRIPTION,
    Columns,
    Description,
    read_columns,
    read_description,
    refused,
)
from launchbay.data.reading import Items, decode_all
from launchbay.data.shards import Away, Here, Shards, bring
from launchbay.data.words import plain_name, some_of

AGAIN = "copy it again as a whole, or write it again with launchbay pack"


class Packed(Content):
    """A picture in a pack: the file of which `row` of the index tells."""

    remedy = AGAIN

    def __init__(self, rows: "Rows", row: int):
        self.rows, self.row = rows, row

    def __str__(self) -> str:
        return f"{self.rows.place}/{self.rows.name_of(self.row)}"

    def open(self) -> tuple[BinaryIO, int]:
        """Return the file, and how many bytes it has.

        Raises:
            ValueError: its bytes are not those that were packed.
        """
        columns = self.rows.columns
        offset, size = int(columns["offset"][self.row]), int(columns["bytes"][self.row])
        content = self.rows.shards.read(int(columns["shard"][self.row]), offset, size)
        if crc32(content) != columns["crc"][self.row]:
            raise ValueError("the pack is damaged there: its bytes have another checksum")
        return io.BytesIO(content), size


class Rows(Items):
    """The pictures of `rows` of a pack's index."""

    def __init__(self, place: object, columns: Columns, shards: Shards, rows: Sequence[int]):
        self.place, self.columns, self.shards, self.rows = place, columns, shards, rows

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, place: int) -> Item:
        return Packed(self, self.rows[place])

    def name_of(self, row: int) -> str:
        """Return what a picture is called."""
        ends = self.columns["ends"]
        start = int(ends[row - 1]) if row else 0
        return self.columns["names"][start : int(ends[row])].tobytes().decode(errors="surrogateescape")

    @property
    def names(self) -> list[str]:
        """What all are called."""
        return [self.name_of(row) for row in self.rows]


class Pack(Files):
    """The pictures of a pack in the folder `root`. Each is checked when it is read.

    Raises:
        UserError: it cannot be read, or has no such split.
    """

    def __init__(self, split: str, root: Path):
        try:
            with (root / DESCRIPTION).open("rb") as file:
                description = read_description(file.read(LARGEST_DESCRIPTION))
            columns, shards = read_columns(root / INDEX, description), Here(description.shards, root)
        except (OSError, ValueError) as error:
            raise refused(root, error, AGAIN) from error
        self._open(split, root, description, columns, shards)

    def _open(self, split: str, place: object, description: Description, columns: Columns, shards: Shards) -> None:
        """Become the pictures of a `split` of the pack at `place`.

        Raises:
            UserError: there are none.
            DamagedPictures: some cannot be decoded, as far as that is looked for.
        """
        self.description = description
        rows = Rows(place, columns, shards, rows_of(description, split))
        self._take_rows(rows)
        if not rows:
            has = ", ".join(f"{count:,} to {split}" for split, count in description.splits.items())
            raise UserError(f"{place} has no pictures for {split!r}: {has}", "name other data, or pack them together")
        if damaged := self._keep():
            good = [row for row in range(len(rows)) if row not in damaged]
            lines = [f"{self.name(row)}: {reason}" for row, reason in sorted(damaged.items())]
            self.starts = self.starts[good]
            self._take_rows(Rows(place, columns, shards, [rows.rows[row] for row in good]))
            raise DamagedPictures(lines, self if good else None, "pack", AGAIN)

    def _take_rows(self, rows: Rows) -> None:
        """Become the pictures of these `rows`."""
        part = slice(rows.rows.start, rows.rows.stop) if isinstance(rows.rows, range) else np.array(rows.rows)
        known = [rows.columns[name][part] for name in Headers.COLUMNS if name in rows.columns]
        self.headers = Headers(*known, odd=np.zeros(len(rows), np.bool_))
        self.files, self.labels = rows, rows.columns["label"][part]
        self.classes, self.unlabelled = self.description.classes, self.description.unlabelled
        self.uniform = self.headers.are_uniform()
        counts = np.bincount(rows.columns["shard"][part], minlength=len(rows.shards))
        self.shards = [count for count in counts.tolist() if count]
        classes = f": {number_of(len(self.classes), 'class')} ({some_of(self.classes, 8)})" * bool(self.classes)
        self.note = f"{rows.place}, {number_of(len(rows.shards), 'shard')} of {self.description.name}{classes}"
        if self.unlabelled:
            self.note += f": no classes ({self.unlabelled})"

    def _look_through(self) -> dict[int, str]:
        return decode_all(self.files, self.headers, None)

    def _total(self) -> int:
        return sum(self.description.splits.values())

    @property
    def channels(self) -> int:
        return self.description.channels

    def image(self, index: int) -> Tensor:
        """Return a picture, upright: uint8 C×H×W."""
        return super().image(index)[: self.channels]

    def label(self, index: int) -> int | None:
        return int(self.labels[index]) if self.classes else None

    def fingerprint(self) -> str:
        """Return what tells this set from another: as for the files that were packed."""
        known = zip(map(self.files.name_of, self.files.rows), self.headers.bytes.tolist(), strict=True)
        return digest_of(part for each in known for part in each)


class AwayPack(Pack):
    """The pictures of the pack at `address`, whose shards are brought here when they are read.

    Raises:
        UserError: it cannot be read, or has no such split.
    """

    def __init__(self, address: str, split: str):
        address = address.rstrip("/")
        try:
            folder, description = bring(address)
            columns = read_columns(folder / INDEX, description)
        except (OSError, ValueError) as error:
            raise refused(address, error, f"{AGAIN}; look at the address and the network") from error
        try:
            self._open(split, plain_name(address), description, columns, Away(description.shards, address, folder))
        except Unreachable as error:
            raise unreadable(Path(address), error) from error


def rows_of(description: Description, split: str) -> range:
    """Return the rows of the index that have the samples of a split."""
    ends = dict(zip(description.splits, accumulate(description.splits.values()), strict=True))
    if split == "all":
        return range(sum(description.splits.values()))
    end = ends.get(split, 0)
    return range(end - description.splits.get(split, 0), end)
