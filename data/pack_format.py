"""The files of a pack: pack.json, index.safetensors and the tars shard-00000.tar, shard-00001.tar…

pack.json says what the pack is: its splits, classes, shards (file, bytes, samples) and the SHA-256 of the index. The
index has a row for each sample, those of the first split first: its `shard`, the `offset` and the number of `bytes` of
its file in that tar, their CRC-32 (`crc`), `height`, `width` (upright), whether it is `grey`, its `label` (-1: none);
and `names`, all names in UTF-8, one after the other, with the `ends` of each. It is mapped, never unpickled.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from launchbay import UserError
from launchbay.data.words import plain_name

VERSION = 1
DESCRIPTION, INDEX = "pack.json", "index.safetensors"
COLUMNS = {
    "shard": np.int32, "offset": np.int64, "bytes": np.int64, "crc": np.int64, "height": np.int32, "width": np.int32,
    "grey": np.bool_, "label": np.int64, "ends": np.int64,
}  # fmt: skip
"""The columns of the index, and their types."""
LARGEST_DESCRIPTION = 2**24
"""Bytes that a stranger's pack.json may have."""
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shard:
    """A tar of a pack."""

    file: str
    bytes: int
    samples: int


@dataclass(frozen=True)
class Description:
    """What pack.json says."""

    name: str
    splits: dict[str, int]
    """How many samples each has, in the order of the index."""
    classes: tuple[str, ...]
    unlabelled: str
    channels: int
    shards: tuple[Shard, ...]
    index: str
    """SHA-256 of the index."""


def shard_name(number: int) -> str:
    """Return what a shard is called: who reads a pack opens no other file."""
    return f"shard-{number:05}.tar"


def read_description(content: bytes) -> Description:
    """Return what a pack.json says.

    Raises:
        ValueError: it is none, or says what cannot be.
    """
    try:
        said = json.loads(content)
        if said["version"] != VERSION:
            raise ValueError(f"it is of version {said['version']!r}, not {VERSION}")
        shards = tuple(Shard(each["file"], int(each["bytes"]), int(each["samples"])) for each in said["shards"])
        splits = {str(split): int(count) for split, count in said["splits"].items()}
        classes = tuple(map(plain_name, said["classes"]))
        name, unlabelled = plain_name(said["name"]), plain_name(said["unlabelled"])
        channels = int(said["channels"])
        found = Description(name, splits, classes, unlabelled, channels, shards, str(said["index"]))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it does not have what it should ({type(error).__name__}: {error})") from error
    if [shard.file for shard in shards] != [shard_name(number) for number in range(len(shards))]:
        raise ValueError(f"its shards are not called {shard_name(0)}, {shard_name(1)}…")
    total = sum(shard.samples for shard in shards)
    counts = [*splits.values(), *(shard.samples for shard in shards), *(shard.bytes for shard in shards)]
    if not splits.keys() <= {"train", "val"} or sum(splits.values()) != total or not is_counts(counts):
        raise ValueError("its splits and shards have not as many samples")
    if channels not in (1, 3):
        raise ValueError(f"its pictures have {channels} channels")
    return found


def is_counts(numbers: Sequence[int]) -> bool:
    """Return whether all `numbers` may be counts of bytes or samples, of which there are any."""
    return bool(numbers) and min(numbers) >= 0 and max(numbers) < 2**62


def read_columns(file: Path, description: Description) -> Columns:
    """Return the index in `file`, mapped: whatever a row says lies inside of its shard.

    Raises:
        ValueError: it is not the one that `description` means, or leads elsewhere.
    """
    with file.open("rb") as opened:
        hashed = sha256()
        while part := opened.read(2**24):
            hashed.update(part)
    if hashed.hexdigest() != description.index:
        raise ValueError(f"{INDEX} is not the one that {DESCRIPTION} was written with")
    try:
        with safe_open(file, "pt") as opened:
            columns = {name: opened.get_tensor(name).numpy() for name in ("names", *COLUMNS)}
    except (SafetensorError, TypeError, RuntimeError) as error:
        raise ValueError(f"{INDEX}: {error}") from error
    check_columns(columns, description)
    return columns


def check_columns(columns: Columns, description: Description) -> None:
    """Raise a ValueError unless all rows are of files inside of the shards."""
    count = sum(description.splits.values())
    for name, kind in COLUMNS.items():
        if columns[name].shape != (count,) or columns[name].dtype != kind:
            raise ValueError(f"{INDEX} has {name!r} in another form")
    sizes = np.array([shard.bytes for shard in description.shards], np.int64)
    samples = np.array([shard.samples for shard in description.shards], np.int64)
    shard, offset, length = columns["shard"], columns["offset"], columns["bytes"]
    if not np.array_equal(shard, np.repeat(np.arange(len(sizes)), samples)):
        raise ValueError(f"{INDEX} has samples in other shards than {DESCRIPTION}")
    inside = (offset >= 0) & (length > 0) & (length <= sizes[shard]) & (offset <= sizes[shard] - length)
    sides = (columns["height"] > 0) & (columns["width"] > 0)
    labelled = (columns["label"] >= (0 if description.classes else -1)) & (
        columns["label"] < max(1, len(description.classes))
    )
    ends = np.diff(columns["ends"], prepend=0)
    named = bool((ends >= 0).all()) and columns["names"].dtype == np.uint8
    named = named and (not count or columns["ends"][-1] == columns["names"].size)
    if not (named and inside.all() and sides.all() and labelled.all()):
        raise ValueError(f"{INDEX} has rows that lead out of the shards, or have no size, name or class")


def refused(place: object, error: Exception, remedy: str) -> UserError:
    """Return what to tell a person about a pack that cannot be read."""
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = f"{Path(str(error.filename)).name}: {error.strerror}"
    return UserError(f"{plain_name(place)} is no pack that can be read: {plain_name(reason)}", remedy)
