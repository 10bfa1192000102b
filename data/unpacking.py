"""Compressed tars, which cannot be read at any place: unpacked once, into the cache, to the tar that they hold."""

import shutil
import tarfile
import tempfile
import zlib
from bz2 import BZ2File
from collections.abc import Callable
from gzip import BadGzipFile, GzipFile
from hashlib import sha256
from lzma import LZMAError, LZMAFile
from pathlib import Path

from launchbay.data.download import alone, downloads, own_name
from launchbay.data.words import plain_name

Opener = Callable[[Path], GzipFile | BZ2File | LZMAFile]
PACKED: dict[bytes, Opener] = {b"\x1f\x8b": GzipFile, b"BZh": BZ2File, b"\xfd7zXZ\0": LZMAFile}
"""What opens a compressed file, by the bytes that it begins with."""
PART = 2**24
"""Bytes that are unpacked at a time."""
SPARE = 2**30
"""Bytes that are left free on the disk of the cache."""


def opener_of(head: bytes) -> Opener | None:
    """Return what opens a compressed file that begins with `head`; None if it is none of those known."""
    return next((opener for magic, opener in PACKED.items() if head.startswith(magic)), None)


def unpack_once(path: Path, opener: Opener) -> Path:
    """Return the tar that the compressed tar `path` holds, in the cache: one process of a machine unpacks it, once.

    Raises:
        ValueError: it is damaged, holds no tar, or more than there is room for.
        OSError: it cannot be written.
    """
    known = path.stat()
    key = sha256(f"{path.resolve()}\n{known.st_size}\n{known.st_mtime_ns}".encode(errors="surrogateescape"))
    cache = downloads() / "unpacked"
    target = cache / f"{path.name.partition('.')[0]}-{key.hexdigest()[:16]}.tar"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    lock = target.with_suffix(".lock")
    with alone(lock, path.name, "unpacks"):
        if not target.exists():
            print(f"unpacking {plain_name(path)} to {plain_name(target)}, once", flush=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"{own_name()}-") as temporary:
                unpacked = Path(temporary) / target.name
                unpack(path, opener, unpacked)
                unpacked.rename(target)
        lock.unlink(missing_ok=True)
    return target


def unpack(path: Path, opener: Opener, target: Path) -> None:
    """Write what the compressed tar `path` holds to `target`.

    Raises:
        ValueError: it is damaged, holds no tar, or more than there is room for.
    """
    try:
        with opener(path) as packed, target.open("wb") as unpacked:
            while part := packed.read(PART):
                if shutil.disk_usage(target.parent).free < len(part) + SPARE:
                    raise ValueError(f"unpacked it has more than {target.parent.parent} has room for")
                unpacked.write(part)
    except (EOFError, zlib.error, LZMAError, BadGzipFile) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if not tarfile.is_tarfile(target):
        raise ValueError("it is compressed, but what it holds is no tar")
