"""Files in a zip or a tar, read where they are: none is written anywhere, and no name leads out of its archive."""

import bz2
import io
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from struct import unpack
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from launchbay import UserError
from launchbay.data.preads import Preads, Stretch
from launchbay.data.unpacking import opener_of, unpack_once
from launchbay.data.words import listed, plain_name

LARGEST_MEMBER = 2**29
"""Bytes of a member that is unpacked: an archive of a few kilobytes may promise more than a machine has."""
STORED, DEFLATED, BZIPPED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2
LINK, OUTSIDE, SPECIAL, AGAIN = "links", "names that lead out of it", "no regular files", "replaced by later ones"
"""Kinds of what an archive has that is left out."""
BLOCK = 512
"""Bytes of which a tar is made."""


class Unreachable(OSError):
    """A file that lies far away cannot be brought here: the picture in it may be as good as any."""


class Content(ABC):
    """A picture that is no file of its own; `str` is what a person calls it."""

    remedy = "repair it, or take it out of the archive"
    """What a person can do if it is damaged."""

    @abstractmethod
    def open(self) -> tuple[BinaryIO, int]:
        """Return it as a file, and how many bytes it has.

        Raises:
            ValueError: it is damaged.
            Unreachable: it cannot be brought here.
        """
        ...


class Member(Content):
    """A file in an archive."""

    def __init__(self, archive: "Archive", name: str):
        self.archive, self.name = archive, name

    def __str__(self) -> str:
        return f"{self.archive}/{self.archive.top}{self.name}"

    def open(self) -> tuple[BinaryIO, int]:
        """Return the file, and how many bytes it has.

        Raises:
            ValueError: it is damaged, or larger than what is unpacked.
        """
        offset, stored, size, method, checksum = self.archive.find(self.name)
        file = self.archive.file
        if self.archive.is_zip:
            signature, names, extra = unpack("<4s22xHH", file.read(offset, 30))
            if signature != b"PK\3\4":
                raise ValueError("the archive is damaged where it should begin")
            offset += 30 + names + extra
        if method == STORED:
            return io.BufferedReader(Stretch(file, offset, size)), size
        return io.BytesIO(unpacked(file.read(offset, stored), size, method, checksum)), size


class Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


UNPACK: dict[int, Callable[[], Decompressor]] = {
    DEFLATED: lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    BZIPPED: bz2.BZ2Decompressor,
}
"""What unpacks a member of a zip, by the number of its method."""


def unpacked(packed: bytes, size: int, method: int, checksum: int) -> bytes:
    """Return the `size` bytes that `packed` holds.

    Raises:
        ValueError: it holds others, more, or too many.
    """
    if size > LARGEST_MEMBER:
        raise ValueError(f"it would have {size:,} bytes unpacked, of which {LARGEST_MEMBER:,} are the most")
    try:
        content = UNPACK[method]().decompress(packed, size + 1)
    except (zlib.error, OSError, EOFError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if len(content) != size or zlib.crc32(content) != checksum:
        raise ValueError("the archive says another size or checksum than it has")
    return content


@dataclass
class Contents:
    """What is in an archive: its regular files and folders, as they are called in it, and what is left out, by kind."""

    names: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """Of each file: where it begins (in a zip, its header), its bytes as they lie and unpacked, method, checksum."""
    folders: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    locked: list[str] = field(default_factory=list)
    """Why some files cannot be unpacked."""

    def add(self, name: str, *, is_folder: bool, row: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)) -> None:
        """Note a file or a folder, unless its name leads out of the archive."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if name.startswith(("/", "\\")) or ".." in parts or (parts and parts[0][1:2] == ":"):
            self.left_out[OUTSIDE] += 1
        elif is_folder:
            self.folders.add("/".join(parts))
        elif parts:
            self.names.append("/".join(parts))
            self.rows.append(row)


class Archive:
    """The files in the archive `path`: `archive / name` is one of them. Names begin in its folder `top`. A compressed
    tar is unpacked once, into the cache.

    Raises:
        UserError: it is no zip or tar, damaged, or has files that cannot be unpacked.
    """

    def __init__(self, path: Path):
        self.path, self.top = path, ""
        try:
            self.file = Preads(path)
            head = self.file.read(0, min(8, self.file.size))
            if opener := opener_of(head):
                self.file = Preads(unpack_once(path, opener))
            self.is_zip = zipfile.is_zipfile(self.content())
            if head.startswith(b"PK") and not self.is_zip:
                raise ValueError("it begins as a zip does, but lacks the end of one: it is cut short")
            found = zip_contents(self.content()) if self.is_zip else tar_contents(self.content(), self.file.size)
        except Exception as error:  # whatever bytes make of zipfile and tarfile
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            said = f"{plain_name(path)} is not a folder, and cannot be read as an archive: {plain_name(reason)}"
            raise UserError(said, "give an existing folder, or a whole zip or tar") from error
        if found.locked:
            said = f"cannot use the archive {plain_name(path)}:\n{listed(found.locked)}"
            raise UserError(said, "unpack it with the program that made it, and name the folder")
        self.left_out, self.folders = found.left_out, found.folders
        last = {name: place for place, name in enumerate(found.names)}
        if again := len(found.names) - len(last):
            self.left_out[AGAIN] += again
        self.names = sorted(last)
        rows = [found.rows[last[name]] for name in self.names]
        self.rows: NDArray[np.int64] = np.array(rows, np.int64).reshape(-1, 5)

    def content(self) -> BinaryIO:
        return io.BufferedReader(Stretch(self.file, 0, self.file.size))

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Member:
        return Member(self, name)

    def inside(self, top: str) -> "Archive":
        """Return the archive as its folder `top` has it."""
        other = copy(self)
        other.top += f"{top}/"
        return other

    @property
    def sizes(self) -> list[int]:
        """The bytes of each file, in the order of `names`."""
        return self.rows[:, 2].tolist()

    def find(self, name: str) -> list[int]:
        """Return what is known of a file: see `Contents.rows`."""
        return self.rows[bisect_left(self.names, self.top + name)].tolist()


def zip_contents(file: BinaryIO) -> Contents:
    """Return what is in a zip.

    Raises:
        zipfile.BadZipFile: it is damaged.
    """
    found = Contents()
    with zipfile.ZipFile(file) as opened:
        for each in opened.infolist():
            mode = each.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                found.left_out[LINK if stat.S_ISLNK(mode) else SPECIAL] += 1
                continue
            if each.flag_bits & 1:
                found.locked.append(f"{plain_name(each.filename)} needs a password")
            elif each.compress_type not in (STORED, *UNPACK) and not each.filename.endswith("/"):
                found.locked.append(f"{plain_name(each.filename)} is packed in an unknown way ({each.compress_type})")
            row = each.header_offset, each.compress_size, each.file_size, each.compress_type, each.CRC
            found.add(each.filename, is_folder=each.filename.endswith("/"), row=row)
    return found


def tar_contents(file: BinaryIO, size: int) -> Contents:
    """Return what is in a tar of `size` bytes.

    Raises:
        ValueError: it is packed, or damaged.
        tarfile.TarError: it is damaged, or no tar.
    """
    found = Contents()
    if not size:
        raise ValueError("it is empty")
    if not tarfile.is_tarfile(file):
        raise ValueError("it begins as neither a zip nor a tar does")
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for each in opened:
            if each.issym() or each.islnk():
                found.left_out[LINK] += 1
            elif each.isdir() or (each.isreg() and not each.issparse()):
                row = each.offset_data, each.size, each.size, STORED, 0
                found.add(each.name, is_folder=each.isdir(), row=row)
            else:
                found.left_out[SPECIAL] += 1
            opened.members = []  # pyright: ignore[reportAttributeAccessIssue] -- all seen so far, a kilobyte each
        end = opened.offset
    file.seek(end)
    if (mark := file.read(BLOCK)) != bytes(BLOCK):
        what = "is cut short" if len(mark) < BLOCK else "is damaged"
        raise ValueError(f"it {what} at byte {end:,} of {size:,}")
    while part := file.read(2**20):
        if part.strip(b"\0"):
            raise ValueError(f"it has something behind its end, at byte {end:,} of {size:,}; several may be in one")
    return found


Item = Path | Content
"""One of the files of pictures at a place."""


class Place(Protocol):
    """Where files of pictures lie: `place / name` is one of them."""

    def __truediv__(self, name: str, /) -> Item: ...
