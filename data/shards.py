"""The tars of a pack: in a folder here, or at an address from where they are fetched, once for all processes."""

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import fsspec

from launchbay import UserError
from launchbay.data.archives import Unreachable
from launchbay.data.download import alone, downloads, own_name
from launchbay.data.pack_format import DESCRIPTION, INDEX, LARGEST_DESCRIPTION, Description, Shard, read_description
from launchbay.data.preads import Preads
from launchbay.data.words import plain_name

MOST_OPEN = 64
"""Shards that a process holds open."""
QUIET = 120
"""Seconds in which nothing has come, after which nothing is waited for."""
TICK = 0.05
PAUSES = (2, 10, 30)
"""Seconds after which a download that has failed is tried again."""
LIMIT = "LAUNCHBAY_CACHE_GB"
"""Environment variable: how many GB of shards are kept on this machine."""
USUAL = 50
SPARE = 2**30
"""Bytes that are left free on the disk of the cache."""


class Shards(ABC):
    """Shards that are read at any place, by any thread and by processes forked from this one."""

    def __init__(self, shards: Sequence[Shard]):
        self.shards, self._opened = tuple(shards), dict[int, Preads]()

    def __len__(self) -> int:
        return len(self.shards)

    @abstractmethod
    def path(self, number: int) -> Path:
        """Return where a shard lies here.

        Raises:
            Unreachable: it cannot be brought here.
        """
        ...

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Return bytes of a shard.

        Raises:
            ValueError: it does not have them.
        """
        if (opened := self._opened.get(number)) is None:
            opened, shard = Preads(self.path(number)), self.shards[number]
            if opened.size != shard.bytes:
                raise ValueError(f"{shard.file} has {opened.size:,} bytes, not {shard.bytes:,}")
            if len(self._opened) >= MOST_OPEN:
                with suppress(StopIteration, KeyError, RuntimeError):  # other threads do the same
                    self._opened.pop(next(iter(self._opened)))  # is closed when nobody reads it any more
            self._opened[number] = opened
        return opened.read(offset, size)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_opened": {}}


class Here(Shards):
    """Those in the folder `root`.

    Raises:
        ValueError: one is of another size.
    """

    def __init__(self, shards: Sequence[Shard], root: Path):
        super().__init__(shards)
        self.root = root
        for shard in shards:
            if (size := (root / shard.file).stat().st_size) != shard.bytes:
                raise ValueError(f"{shard.file} has {size:,} bytes, not {shard.bytes:,}")

    def path(self, number: int) -> Path:
        return self.root / self.shards[number].file


class Away(Shards):
    """Those at `address`, kept in `folder` for a while: what was not used for the longest time makes room."""

    def __init__(self, shards: Sequence[Shard], address: str, folder: Path):
        super().__init__(shards)
        self.address, self.folder = address, folder

    def path(self, number: int) -> Path:
        shard = self.shards[number]
        try:
            return fetch_once(f"{self.address}/{shard.file}", self.folder / shard.file, shard.bytes)
        except OSError as error:
            raise Unreachable(str(error)) from error


def fetch_once(address: str, target: Path, size: int | None = None) -> Path:
    """Return `target`, brought from `address` if it is not there: by one process, while the others wait.

    Raises:
        OSError: it cannot be brought here, or has not `size` bytes.
    """
    if is_there(target, size):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_suffix(".lock")
    with alone(lock, target.name):
        if not is_there(target, size):
            make_room(size or 0, target.parent.parent)
            with TemporaryDirectory(dir=target.parent, prefix=f"{own_name()}-") as temporary:
                part = Path(temporary) / target.name
                fetch_patiently(address, part)
                if size is not None and part.stat().st_size != size:
                    raise OSError(f"{address} has {part.stat().st_size:,} bytes, not {size:,}")
                part.replace(target)
    return target


def is_there(target: Path, size: int | None) -> bool:
    """Return whether a file was brought here before; if so, note that it is used."""
    try:
        known = target.stat()
        os.utime(target)
    except OSError:
        return False
    return size in (None, known.st_size)


def fetch_patiently(address: str, target: Path) -> None:
    """Copy what is at `address` to the file `target`, after some pauses where the network fails.

    Raises:
        OSError: it cannot be, also after these; or it is not there at all.
    """
    for pause in PAUSES:
        try:
            return fetch(address, target)
        except OSError as error:
            if isinstance(error.__cause__, FileNotFoundError | PermissionError | NotADirectoryError) or is_full(error):
                raise
            print(f"{plain_name(error)}: tried again in {pause} s", flush=True)
            time.sleep(pause)
    return fetch(address, target)


def is_full(error: BaseException) -> bool:
    """Return whether `error` says that this machine has no room."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (ENOSPC, EDQUOT)


def fetch(address: str, target: Path) -> None:
    """Copy what is at `address` to the file `target`.

    Raises:
        OSError: it cannot be, or nothing comes.
    """
    errors, size, since = list[Exception](), -1, time.monotonic()

    def copy() -> None:
        try:
            system, path = fsspec.core.url_to_fs(address)
            system.get_file(path, str(target))
        except Exception as error:  # each kind of address has its own
            errors.append(error)

    thread = Thread(target=copy, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(TICK)
        before, size = size, target.stat().st_size if target.exists() else 0
        if size != before:
            since = time.monotonic()
        elif time.monotonic() > since + QUIET:
            raise TimeoutError(f"nothing has come from {address} for {QUIET} s")
    if errors:
        raise OSError(f"cannot get {address}: {reason_of_failure(errors[0])}") from errors[0]


def reason_of_failure(error: Exception) -> str:
    """Return in words why something far away cannot be had: libraries often say no more than its address."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is nothing of that name"
    if isinstance(error, PermissionError):
        return f"access is denied ({error})"
    return str(error) or type(error).__name__


def limit() -> int:
    """Return how many bytes of shards may be kept on this machine.

    Raises:
        UserError: the environment says what is no number.
    """
    said = os.environ.get(LIMIT, str(USUAL))
    try:
        if (number := float(said)) > 0:
            return int(number * 10**9)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{LIMIT} is {said!r}, not a number of GB", f"leave it out for {USUAL}, or set another number")


def make_room(size: int, cache: Path) -> None:
    """Remove shards from the `cache` that were not used for the longest time, until `size` bytes more may be there.

    Raises:
        OSError: there is no room for them at all.
    """
    files = {file: file.stat() for file in cache.glob("*/*.tar")}
    kept, free = sum(known.st_size for known in files.values()), shutil.disk_usage(cache).free
    for file, known in sorted(files.items(), key=lambda item: item[1].st_mtime):
        if kept + size <= limit() and free >= size + SPARE:
            break
        file.unlink(missing_ok=True)
        kept, free = kept - known.st_size, free + known.st_size
    if kept + size > limit():
        raise OSError(f"one shard has {size:,} bytes, more than the {limit():,} that {LIMIT} allows")
    if free < size + SPARE:
        raise OSError(f"{plain_name(cache)} has no room for {size:,} bytes, with {SPARE:,} left free")


def bring(address: str) -> tuple[Path, Description]:
    """Return where the index of the pack at `address` was brought to, and what that pack is.

    Raises:
        OSError: it cannot be brought here.
        ValueError: it is no pack.
    """
    cache = downloads() / "packs"
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix=".tmp-") as temporary:
        part = Path(temporary) / DESCRIPTION
        fetch(f"{address}/{DESCRIPTION}", part)
        with part.open("rb") as file:
            content = file.read(LARGEST_DESCRIPTION)
    folder = cache / sha256(address.encode(errors="surrogateescape") + content).hexdigest()[:32]
    description = read_description(content)
    fetch_once(f"{address}/{INDEX}", folder / INDEX)
    return folder, description
