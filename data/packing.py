"""Data sets -> packs: each picture's file byte by byte as it was, in plain tars, and an index of them."""

import io
import json
import os
import tarfile
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from launchbay import UserError
from launchbay.data.archives import BLOCK
from launchbay.data.base import ImageSet
from launchbay.data.decode import open_regular
from launchbay.data.files import Files
from launchbay.data.pack_format import COLUMNS, DESCRIPTION, INDEX, VERSION, Columns, Description, Shard, shard_name
from launchbay.data.progress import progress

SHARD_BYTES = 2**27
"""A shard that has as many is followed by another one."""


class Writer:
    """Writes samples to shards in `folder`."""

    def __init__(self, folder: Path, shard_bytes: int):
        self.folder, self.shard_bytes = folder, shard_bytes
        self.columns = {name: array("q") for name in COLUMNS}
        self.names = bytearray()
        self.shards: list[Shard] = []
        self.file: BinaryIO | None = None
        self.samples = 0

    def add(self, name: str, content: bytes, header: Mapping[str, int]) -> None:
        """Write one sample, whose file is called `name` and has this `content`."""
        if self.file is None:
            self.file, self.samples = (self.folder / shard_name(len(self.shards))).open("wb"), 0
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self.file.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        self.names += name.encode(errors="surrogateescape")
        row = {"shard": len(self.shards), "offset": self.file.tell(), "bytes": len(content), "crc": crc32(content)}
        for column, value in {**row, **header, "ends": len(self.names)}.items():
            self.columns[column].append(value)
        self.file.write(content + bytes(-len(content) % BLOCK))
        self.samples += 1
        if self.file.tell() >= self.shard_bytes:
            self.close()

    def close(self) -> None:
        """End the shard that is being written, if any."""
        if self.file is None:
            return
        with self.file as file:
            file.write(bytes(2 * BLOCK))
            file.flush()
            os.fsync(file.fileno())
            self.shards.append(Shard(shard_name(len(self.shards)), file.tell(), self.samples))
        self.file = None

    def write_index(self) -> str:
        """Write the index, and return its SHA-256."""
        columns: Columns = {"names": np.frombuffer(bytes(self.names), np.uint8)}
        for name, kind in COLUMNS.items():
            columns[name] = np.frombuffer(self.columns[name], np.int64).astype(kind)
        save_file({name: torch.tensor(column) for name, column in columns.items()}, self.folder / INDEX)
        (self.folder / INDEX).chmod(0o666 & ~umask())  # safetensors lets nobody else read it
        return sha256((self.folder / INDEX).read_bytes()).hexdigest()


def umask() -> int:
    """Return which rights new files do not have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_pack(sets: Mapping[str, ImageSet], name: str, folder: Path, shard_bytes: int = SHARD_BYTES) -> Description:
    """Write the samples of all splits to the empty `folder`.

    Raises:
        UserError: they are no pictures with at most a class each, or one cannot be read.
    """
    for images in sets.values():
        check_kind(images)
    writer = Writer(folder, shard_bytes)
    with progress("packing pictures", sum(map(len, sets.values()))) as done:
        for images in sets.values():
            file_of = files_of(images)
            for index in range(len(images)):
                file, content = file_of(index)
                writer.add(inner_name(file, len(writer.columns["ends"])), content, header_of(images, index))
                done(len(writer.columns["ends"]))
            writer.close()  # no shard is of two splits
    first = next(iter(sets.values()))
    counts = {split: len(images) for split, images in sets.items()}
    rest = first.classes, first.unlabelled, first.channels, tuple(writer.shards), writer.write_index()
    description = Description(name, counts, *rest)
    (folder / DESCRIPTION).write_text(json.dumps({"version": VERSION, **asdict(description)}, indent=1))
    return description


def check_kind(images: ImageSet) -> None:
    """Raise a UserError unless the samples are pictures with at most a class each."""
    if beside := (*images.pictures[1:], *images.masks):
        said = f"the data set gives {', '.join(beside)} beside its pictures, which a pack does not hold"
        raise UserError(said, "train on it as it is")
    if images.channels not in (1, 3):
        raise UserError(f"the pictures have {images.channels} channels, of which a pack holds 1 or 3", "convert them")


def files_of(images: ImageSet) -> Callable[[int], tuple[str, bytes]]:
    """Return what gives the name and the file of a sample: as it is, or, where it has none, a PNG of its pixels."""
    if isinstance(images, Files):
        names = images.files.names

        def read(index: int) -> tuple[str, bytes]:
            with open_regular(images.files[index]) as (file, size):
                return names[index], file.read(size)

        return read

    def encode(index: int) -> tuple[str, bytes]:
        stream, pixels = io.BytesIO(), images.image(index).permute(1, 2, 0).numpy()
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(stream, "png")
        return "", stream.getvalue()

    return encode


def header_of(images: ImageSet, index: int) -> dict[str, int]:
    """Return what the index says of a sample beside where it is."""
    (height, width), label = images.size(index), images.label(index)
    grey = bool(images.headers.grey[index]) if isinstance(images, Files) else images.channels == 1
    return {"height": height, "width": width, "grey": grey, "label": -1 if label is None else label}


def inner_name(name: str, number: int) -> str:
    """Return what to call a file in a tar: `name`, unless that leads out of the folder that a tar is unpacked to."""
    parts = name.split("/")
    is_inside = name and not {"", ".", ".."} & {*parts} and "\\" not in name and ":" not in name
    return name if is_inside else f"{number:08}{Path(name).suffix if name else '.png'}"
