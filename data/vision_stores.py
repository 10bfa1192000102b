"""Data sets of torchvision in containers of other libraries: PCAM (HDF5) and LSUN (LMDB), read where they are."""

import io
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from launchbay import UserError, number_of
from launchbay.data.archives import Content
from launchbay.data.base import ImageSet
from launchbay.data.download import downloads
from launchbay.data.files import LabelledFiles


def library(name: str, package: str) -> Any:
    """Import and return the library `name`, which `package` needs.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"{package} is read by {name}, which is not installed", "pip install 'launchbay[vision]'"
        ) from error


class PCAM(ImageSet):
    """Squares of 96×96 pixels of tissue, with tumour in the middle or without (Veeling et al., 2018)."""

    def __init__(self, parts: Sequence[tuple[Path, Path]], classes: Sequence[str]):
        h5py, self.classes = library("h5py", "PCAM"), tuple(classes)
        self.paths, self.ends, labels = [path for path, _ in parts], list[int](), list[Tensor]()
        for pictures, targets in parts:
            with h5py.File(targets) as opened:
                labels.append(torch.from_numpy(opened["y"][:, 0, 0, 0]).long())
            with h5py.File(pictures) as opened:
                self.ends.append((self.ends or [0])[-1] + len(opened["x"]))
                self.sides = opened["x"].shape[1:3]
        self.labels = torch.cat(labels)
        if len(self.labels) != self.ends[-1]:
            raise ValueError(
                f"it has {number_of(int(self.ends[-1]), 'picture')} and {number_of(len(self.labels), 'label')}"
            )
        self.opened: dict[tuple[int, int], Any] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "opened": {}}

    def __len__(self) -> int:
        return self.ends[-1]

    def size(self, index: int) -> tuple[int, int]:
        return self.sides

    def label(self, index: int) -> int:
        return int(self.labels[index])

    def image(self, index: int) -> Tensor:
        part = next(part for part, end in enumerate(self.ends) if index < end)
        key = os.getpid(), part  # each process has a file of its own: HDF5 does not survive a fork
        if key not in self.opened:
            self.opened[key] = library("h5py", "PCAM").File(self.paths[part])["x"]
        start = self.ends[part - 1] if part else 0
        return torch.from_numpy(self.opened[key][index - start]).permute(2, 0, 1)


def open_pcam(root: Path, options: Sequence[dict[str, str]], classes: Sequence[str]) -> ImageSet:
    """Return those parts of PCAM that `options` name."""
    names = [{"val": "valid"}.get(each["split"], each["split"]) for each in options]
    files = [[root / f"pcam/camelyonpatch_level_2_split_{name}_{kind}.h5" for kind in "xy"] for name in names]
    return PCAM([(pictures, labels) for pictures, labels in files], classes)


ROOMS = (
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower",
)  # fmt: skip
"""The classes of LSUN, each in a folder CLASS_train_lmdb and another one CLASS_val_lmdb."""


class Rooms:
    """The pictures of LSUN in the databases below `root`, called FOLDER/KEY, the key in hexadecimal."""

    def __init__(self, root: Path):
        self.root = root
        self.opened: dict[tuple[int, str], Any] = {}

    def database(self, folder: str) -> Any:
        """Return a database, opened once in each process."""
        key = os.getpid(), folder
        if key not in self.opened:
            how = {"readonly": True, "lock": False, "readahead": False, "meminit": False, "max_readers": 1}
            self.opened[key] = library("lmdb", "LSUN").open(str(self.root / folder), **how)
        return self.opened[key]

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "opened": {}}

    def keys(self, folder: str) -> list[str]:
        with self.database(folder).begin() as reading:
            return [f"{folder}/{key.hex()}" for key in reading.cursor().iternext(values=False)]

    def __truediv__(self, name: str) -> "Room":
        return Room(self, name)


class Room(Content):
    """A picture in a database."""

    def __init__(self, rooms: Rooms, name: str):
        self.rooms, self.name = rooms, name

    def __str__(self) -> str:
        return f"{self.rooms.root}/{self.name}"

    def open(self) -> tuple[BinaryIO, int]:
        folder, _, key = self.name.partition("/")
        with self.rooms.database(folder).begin() as reading:
            content = reading.get(bytes.fromhex(key))
        return io.BytesIO(content), len(content)


def open_lsun(split: str, root: Path | None) -> ImageSet:
    """Return the pictures of a split of LSUN: those of its classes that are here.

    Raises:
        UserError: there are none, or a library is not installed.
    """
    root = root or downloads()
    parts = {"train": ["train"], "val": ["val"], "all": ["train", "val"]}[split]
    here = [room for room in ROOMS if all((root / f"{room}_{part}_lmdb").is_dir() for part in parts)]
    if not here:
        said = f"there is no {ROOMS[0]}_{parts[0]}_lmdb, nor another class of LSUN, in {root}"
        raise UserError(said, "unpack its databases there, or name the folder that has them with --data-root")
    rooms = Rooms(root)
    listed = [
        (name, label) for label, room in enumerate(here) for part in parts for name in rooms.keys(f"{room}_{part}_lmdb")
    ]
    return LabelledFiles(rooms, [name for name, _ in listed], [label for _, label in listed], here)
