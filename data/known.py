"""What start-up finds out about a folder, kept in the cache: one process of a machine looks, the others take that.

A later start looks only at files that are new, or whose size, times or place on the disk have changed.
"""

import os
import platform
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from launchbay import __version__
from launchbay.data.download import downloads
from launchbay.data.formats import FORMATS, missing
from launchbay.data.headers import Headers
from launchbay.data.progress import SOON
from launchbay.data.words import plain_name

FEW = 2000
"""Files that are looked at again at each start: faster than it is to keep an index."""
MOST = 32
"""Indices that are kept; those that were used last."""
WAIT = 600
"""Seconds to wait for another process that looks at the same folder."""
FRESH = 2 * 10**9
"""A file that was written so many nanoseconds ago, or later, may still change without its times' saying so."""
STAMPS = 4
"""Numbers that change with a file: its size, when it was written, when it was changed, and its inode."""
Stamps = NDArray[np.int64]
Problems = dict[str, str]
"""Why files cannot be read, by their names."""
Look = Callable[[Path, Sequence[str], NDArray[np.int64], Headers], Problems]
"""Looks at the files at some places, and writes down their headers."""


@dataclass(frozen=True)
class Known:
    """What is known of files: their names, one after the other and parted by zeros, their stamps N×4, and headers."""

    names: bytes
    stamps: Stamps
    headers: Headers


def packed(names: Sequence[str]) -> bytes:
    """Return `names` as bytes, with a zero, which no name has, between two."""
    return "\0".join(names).encode(errors="surrogateescape")


def index_file(root: Path, first: str, found_by: str) -> Path:
    """Return where the index of files in `root`, of which `first` comes first, is kept: on this machine, for what reads
    pictures here, and for how they were looked at.
    """
    reads = (__version__, PIL.__version__, *FORMATS, *sorted(missing()))
    parts = "\n".join((platform.node(), str(root.resolve()), first, found_by, *reads))
    return downloads() / "index" / f"{sha256(parts.encode(errors='surrogateescape')).hexdigest()[:32]}.safetensors"


def read_index(file: Path) -> Known | None:
    """Return the index in `file`, mapped, not read; None if there is none. One that is no index is ignored, aloud."""
    if not file.exists():
        return None
    try:
        with safe_open(file, "pt") as opened:
            names = opened.get_tensor("names").numpy().tobytes()
            stamps: Stamps = opened.get_tensor("stamps").numpy()
            columns = {name: opened.get_tensor(name).numpy() for name in Headers.COLUMNS}
        headers = Headers(**columns)
        count = names.count(b"\0") + 1
        if stamps.shape != (count, STAMPS) or stamps.dtype != np.int64 or not headers.are_sound(count):
            raise ValueError("it does not have what it should")
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"the index {plain_name(file)} cannot be used ({error}): it is made anew", flush=True)
        return None
    return Known(names, stamps, headers)


def write_index(file: Path, index: Known) -> None:
    """Replace the index in `file` at once. A disk that takes nothing is no harm."""
    columns = {"names": np.frombuffer(index.names, np.uint8), "stamps": index.stamps, **index.headers.columns()}
    with suppress(OSError, SafetensorError), TemporaryDirectory(dir=file.parent, prefix=".tmp-") as temporary:
        written = Path(temporary) / file.name
        save_file({name: torch.tensor(column) for name, column in columns.items()}, written)
        written.replace(file)
        for old in sorted(file.parent.glob("*.safetensors"), key=lambda each: each.stat().st_mtime)[:-MOST]:
            old.unlink()


def stamps_of(root: Path, names: Sequence[str]) -> Stamps:
    """Return the stamps of files, N×4; zeros where there is none."""
    above, part = f"{root}/", 4096  # joined as text: a Path takes a multiple

    def look(name: str) -> tuple[int, ...]:
        try:
            known = os.stat(above + name)  # noqa: PTH116
        except OSError:
            return (0,) * STAMPS
        return known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino

    def look_at_part(begin: int) -> Stamps:
        return np.array([look(name) for name in names[begin : begin + part]], np.int64)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(look_at_part, range(0, len(names), part))))


def still_known(index: Known | None, names: Sequence[str], packed_names: bytes, stamps: Stamps) -> NDArray[np.int64]:
    """Return for each of `names` its place in the index, -1 where it has none that is true."""
    if index is None:
        return np.full(len(names), -1)
    if index.names == packed_names:
        places = np.arange(len(names))
    else:
        known = {name: place for place, name in enumerate(index.names.decode(errors="surrogateescape").split("\0"))}
        places = np.array([known.get(name, -1) for name in names], np.int64)
    same = (index.stamps[places] == stamps).all(axis=1)
    return np.where((places >= 0) & same & (stamps[:, 1:3] > 0).any(axis=1), places, -1)


@contextmanager
def alone(file: Path) -> Generator[None]:
    """Keep other processes of this machine out of the block, if that can be done, for no longer than `WAIT`."""
    lock = FileLock(file.with_suffix(".lock"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=SOON)
        except Timeout:
            print("waiting for another process, which looks at the same pictures", flush=True)
            lock.acquire(timeout=WAIT)
    except Timeout:
        print(f"another process holds {plain_name(file.with_suffix('.lock'))} for {WAIT} s: not waited for", flush=True)
    except (OSError, NotImplementedError):
        pass  # a disk that is not to be written, or without locks
    try:
        yield
    finally:
        lock.release()


def checked_since(file: Path, moment: int) -> bool:
    """Return whether another process has compared the index with the folder since `moment`, in nanoseconds."""
    try:
        return file.stat().st_mtime_ns >= moment
    except OSError:
        return False


def note_checked(file: Path) -> None:
    """Say that the index is as the folder is now."""
    with suppress(OSError):
        now = time.time_ns()
        os.utime(file, ns=(now, now))


def settled(stamps: Stamps) -> NDArray[np.bool_]:
    """Return which files may be known by their stamps from now on: those that were not changed just now."""
    return stamps[:, 1:3].max(axis=1) < time.time_ns() - FRESH


def examine_once(
    root: Path, names: Sequence[str], look: Look, found_by: str, since: int | None = None
) -> tuple[Headers, Problems]:
    """Return the headers of files, and what is wrong with some, as `look` finds them where the index does not know;
    `found_by` says how it looks. What another process has found `since` a moment (now), in nanoseconds, is taken.
    """
    file, names_now = index_file(root, names[0], found_by), packed(names)
    asked = since or time.time_ns()
    with alone(file):
        index = read_index(file)
        if index and index.names == names_now and checked_since(file, asked):
            return index.headers, {}  # by the process that this one has waited for
        stamps = stamps_of(root, names)
        places = still_known(index, names, names_now, stamps)
        new = np.flatnonzero(places < 0)
        if index and index.names == names_now and not len(new):
            note_checked(file)
            return index.headers, {}
        headers, old = Headers.empty(len(names)), np.flatnonzero(places >= 0)
        if index:
            headers.take(old, index.headers.at(places[old]))
        problems = look(root, names, new, headers)
        good = np.flatnonzero((headers.height > 0) & settled(stamps))
        kept = names_now if len(good) == len(names) else packed([names[place] for place in map(int, good)])
        if len(good):
            write_index(file, Known(kept, stamps[good], headers.at(good)))
        return headers, problems
