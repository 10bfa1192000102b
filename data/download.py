"""Data sets that are downloaded: once, by one process of a machine, checked, and whole or not there at all."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import md5, sha256
from http.client import HTTPException
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.error import URLError

from filelock import FileLock

from launchbay import UserError
from launchbay.data.words import printable

T = TypeVar("T")


class Opener(Protocol):
    """A data set class of torchvision."""

    def __call__(self, root: str, *, download: bool) -> object: ...


Downloader = Callable[[], tuple[Opener, list[str], str]]


def downloads() -> Path:
    """Return where data sets are kept that were given no --data-root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launchbay"


def fetch(name: str, folder: str, known: Sequence[str], downloader: Downloader, root: Path | None) -> Path:
    """Return where the files of a data set are, after downloading them if need be. A download gives `folder`; `known`
    are the patterns below the root by which one of the files is found, its place in `folder` first. `downloader` gives
    torchvision's data set class, which verifies checksums and shows its progress, the addresses of the files, and where
    under the root they go when they are unpacked by hand.

    Raises:
        UserError: they are not there and cannot be downloaded.
    """
    root = root or downloads()
    try:
        return find_files(root, folder, known) or download(name, folder, known, downloader, root)
    except (URLError, HTTPException, ConnectionError, TimeoutError, RuntimeError) as error:  # the last: a checksum
        _, addresses, by_hand = downloader()
        raise UserError(
            f"{name} is not in {root / folder} and cannot be downloaded: {error}",
            f"on a machine with a network fetch {' '.join(addresses)} and unpack what they hold into {root / by_hand}, "
            "or name the folder above it with --data-root; without either, --data glyphs and --data photos are here",
        ) from error
    except OSError as error:
        raise UserError(
            f"{name} is not in {root / folder} and cannot be put there: {error}",
            f"name the folder that {folder} is in with --data-root, or one to download it to",
        ) from error


def find_files(root: Path, folder: str, known: Sequence[str]) -> Path | None:
    """Return the folder of the first file that is there; with none, that of a download that has lost it."""
    found = next((file.parent for pattern in known for file in sorted(root.glob(pattern))), None)
    return (root / known[0]).parent if found is None and (root / folder).is_dir() else found


def download(name: str, folder: str, known: Sequence[str], downloader: Downloader, root: Path) -> Path:
    missing = [path for path in (root, *root.parents) if not path.exists()]
    open, *_ = downloader()
    lock = root / f".{folder}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # the other processes of this machine wait here, then find it done
            if not find_files(root, folder, known):
                print(f"downloading {name} to {root}", flush=True)
                with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
                    open(temporary, download=True)
                    (Path(temporary) / folder).rename(root / folder)
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
            for path in missing:  # was made for nothing, or is not empty now
                path.rmdir()
    return (root / known[0]).parent


def read_or_explain(name: str, folder: str, files: Path, open: Callable[[], T]) -> T:
    """Return what `open` makes of the files in `files`.

    Raises:
        UserError: they are damaged, not all there, or those of another data set.
    """
    try:
        return open()
    except OtherData as error:
        raise UserError(
            f"{name} is not in {printable(files)}: {error}",
            f"name the folder that has {name} with --data-root, or another one, which it will be downloaded to",
        ) from error
    except Exception as error:
        # Nobody is told to remove what may have come from elsewhere, and be the only copy of it.
        downloaded = next((path for path in (files, files.parent) if path.name == folder), None)
        raise UserError(
            f"{name} in {printable(files)} is damaged or not complete: {error}",
            f"move {printable(downloaded)} away, and it will be downloaded again"
            if downloaded
            else "put the original files there, or name another --data-root",
        ) from error


class OtherData(Exception):
    """Files that are those of another data set: says of which."""


def original(file: Path, content: bytes, digest: str, others: Mapping[str, str]) -> bytes:
    """Return `content`, that of `file`.

    Raises:
        OtherData: it is that of another data set: one whose name `others` has by the MD5 of the file.
        ValueError: it is not that whose SHA-256 is `digest`.
    """
    if sha256(content).hexdigest() == digest:
        return content
    if other := others.get(md5(content, usedforsecurity=False).hexdigest()):
        raise OtherData(f"{file.name} is that of {other}")
    raise ValueError(f"{file.name} is not the original")
