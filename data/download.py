"""Data sets that are downloaded: once, by one process of a machine, checked, and whole or not there at all."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP
from hashlib import md5, sha256
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from launchbay import UserError
from launchbay.data import transfer
from launchbay.data.words import plain_name

T = TypeVar("T")
Find = Callable[[Path], Path | None]
"""Says where below a root the files of a data set are, if they are there."""

NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP, EINVAL)
"""What a file system without locks answers."""
WAIT = 1.0
"""Seconds between two looks at what another process downloads."""


def downloads() -> Path:
    """Return where data sets are kept that were given no --data-root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launchbay"


def fetch(name: str, tops: Sequence[str], find: Find, open: Callable[[str], object] | None, root: Path | None) -> Path:
    """Return where `find` finds the files of a data set, after downloading them if need be.

    Args:
        tops: what a download puts into the root: files or folders.
        open: torchvision's class, which downloads to the folder that it is given. None: it cannot.

    Raises:
        UserError: they are not there and cannot be downloaded.
    """
    root = root or downloads()
    files = name if name in tops else f"{name} ({' and '.join(tops)})"
    place = f"{files} is not in {plain_name(root)}"
    elsewhere = "name the folder that has it with --data-root (of a finished run: data_root in its config.yaml)"
    try:
        if found := find(root):
            return found
        if open is None:
            raise UserError(place, f"put it there as torchvision has it, or {elsewhere}: it is not downloaded unasked")
        return download(name, tops, find, open, root)
    except (ConnectionError, TimeoutError, RuntimeError) as error:  # the last: torchvision's
        raise UserError(
            f"{place} and cannot be downloaded: {error}",
            f"on a machine with a network train with the same --data, and copy {' and '.join(tops)} into "
            f"{plain_name(root)}, or {elsewhere}; without either, --data glyphs and --data photos are here",
        ) from error
    except OSError as error:
        raise UserError(
            f"{place} and cannot be put there: {error}",
            f"{elsewhere}, or one to download it to",
        ) from error


def find_files(root: Path, folder: str, known: Sequence[str]) -> Path | None:
    """Return the folder of the first file that is there, of the patterns `known`; with none, that of a download to
    `folder` that has lost it.
    """
    found = next((file.parent for pattern in known for file in sorted(root.glob(pattern))), None)
    return (root / known[0]).parent if found is None and (root / folder).is_dir() else found


def download(name: str, tops: Sequence[str], find: Find, open: Callable[[str], object], root: Path) -> Path:
    """Download a data set: see `fetch`."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    lock = root / f".{tops[0]}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone(lock, name):  # the other processes of this machine wait here, then find it done
            if not find(root):
                print(f"downloading {name} to {root}", flush=True)
                with tempfile.TemporaryDirectory(dir=root, prefix=f"{own_name()}-") as temporary:
                    with transfer.for_torchvision():
                        open(temporary)
                    for top in tops:
                        put_in_place(Path(temporary) / top, root / top)
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
            for path in missing:  # was made for nothing, or is not empty now
                path.rmdir()
    found = find(root)
    if found is None:
        raise RuntimeError("what torchvision has downloaded is not what was expected")
    return found


def own_name() -> str:
    """Return how a download of this process begins: who waits for it can tell whose it is."""
    return f".download-{platform.node()}-{os.getpid()}"


def put_in_place(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():  # without locks, another process may have been faster
            raise


@contextmanager
def alone(lock: Path, name: str, does: str = "downloads") -> Generator[None]:
    """Keep other processes out of the block; wait for one that is in it, as long as what it `does` goes on: as its
    temporary folder, called by `own_name`, grows.

    Raises:
        TimeoutError: it does not.
    """
    file, size, quiet = FileLock(lock), -1, 0.0
    while True:
        try:
            file.acquire(blocking=False)
            break
        except Timeout:
            at_work = sorted(lock.parent.glob(".download-*"))
            if size == -1:
                print(f"waiting for another process, which {does} {name}: {described(at_work)}", flush=True)
            before, size = size, size_of(at_work)
            quiet = 0 if size != before else quiet + WAIT
            if quiet > transfer.TICK * transfer.MOST_SLOW_TICKS * 2:
                said = f"another process {does} it ({described(at_work)}), and nothing comes of it"
                raise TimeoutError(f"{said}; it holds {lock}") from None
            time.sleep(WAIT)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            print(f"{lock.parent} is on a disk without locks ({error}): others may download {name} too", flush=True)
            break
    try:
        yield
    finally:
        file.release()


def described(downloads: Sequence[Path]) -> str:
    """Return whose the `downloads` at work are."""
    return ", ".join(path.name.removeprefix(".download-").rpartition("-")[0] for path in downloads) or "it begins"


def size_of(folders: Sequence[Path]) -> int:
    """Return how many bytes are in `folders`, which may go meanwhile."""
    total = 0
    for file in [file for folder in folders for file in folder.rglob("*")]:
        with suppress(OSError):
            total += file.stat().st_size
    return total


def read_or_explain(name: str, folder: str, files: Path, open: Callable[[], T]) -> T:
    """Return what `open` makes of the files in `files`.

    Raises:
        UserError: they are damaged, not all there, or those of another data set.
    """
    try:
        return open()
    except UserError:
        raise
    except OtherData as error:
        raise UserError(
            f"{name} is not in {plain_name(files)}: {error}",
            f"these are {error.name}: --data torchvision:{error.name}; for {name} name the folder that has it with "
            "--data-root, or another one, which it will be downloaded to",
        ) from error
    except Exception as error:
        # Nobody is told to remove what may have come from elsewhere, and be the only copy of it.
        downloaded = next((path for path in (files, files.parent) if path.name == folder), None)
        reason = str(error).partition(" You can ")[0]  # torchvision goes on: use download=True
        raise UserError(
            f"{name} in {plain_name(files)} is damaged, incomplete or other data: {reason}",
            f"move {plain_name(downloaded)} away, and it will be downloaded again"
            if downloaded
            else "put the original files there, or name another --data-root; for pictures of your own: --data DIR",
        ) from error


class OtherData(Exception):
    """A `file` that is that of another data set of torchvision, `name`."""

    def __init__(self, file: Path, name: str):
        super().__init__(f"{file.name} is that of {name}")
        self.name = name


def original(file: Path, content: bytes, digest: str, others: Mapping[str, str]) -> bytes:
    """Return `content`, that of `file`.

    Args:
        digest: its SHA-256; empty if that is not known.
        others: names of other data sets, by the MD5 or the SHA-256 of their files.

    Raises:
        OtherData: it is that of another data set.
        ValueError: it is not that whose SHA-256 is known.
    """
    found = (sha256(content).hexdigest(), md5(content, usedforsecurity=False).hexdigest())
    if other := next((others[known] for known in found if known in others), None):
        raise OtherData(file, other)
    if digest not in ("", found[0]):
        raise ValueError(f"{file.name} is not the original")
    return content
