"""Files that are read at any place."""

import io
import os
import stat
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ONE_READER = Lock()


class Preads:
    """A regular file that is read at any place, by any number of threads and by processes forked from this one. It is
    opened when it is first read: others, to which it is sent, open it by its path.

    Raises:
        ValueError: it is no regular file, or another one than before.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path):
        self.path, self.size, self._descriptor = path, -1, -1
        self._open()

    def _open(self) -> int:
        if self._descriptor < 0:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self.path, flags)
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode) or self.size not in (-1, known.st_size):
                os.close(descriptor)
                raise ValueError("it is no regular file" if self.size == -1 else f"{self.path} has changed")
            self._descriptor, self.size = descriptor, known.st_size
        return self._descriptor

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on.

        Raises:
            ValueError: there are fewer.
        """
        parts, left = list[bytes](), size
        while left > 0 and (part := pread(self._open(), left, offset + size - left)):
            parts.append(part)
            left -= len(part)
        if left:
            raise ValueError(f"{self.path} ends {left:,} bytes too early")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_descriptor": -1}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)


def pread(descriptor: int, size: int, offset: int) -> bytes:
    """Return up to `size` bytes from `offset` on, whoever else reads there."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with ONE_READER:  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


class Stretch(io.RawIOBase):
    """The `size` bytes of `file` from `start` on, as a file of their own."""

    def __init__(self, file: Preads, start: int, size: int):
        self.file, self.start, self.size, self.place = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence])
        return self.place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self.place))
        view[:wanted] = self.file.read(self.start + self.place, wanted)
        self.place += wanted
        return wanted
