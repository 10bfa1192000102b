"""Who may write to a run folder: one process at a time, which its file .lock names."""

import os
import platform
import re
from contextlib import AbstractContextManager, suppress
from errno import EACCES, EAGAIN
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from launchbay import UserError
from launchbay.launch.files import writing
from launchbay.models.reading import refuse_link

LOCK = ".lock"
OWNER = re.compile(r"(?P<pid>\d{1,9}) on (?P<host>[\w.-]{1,255}) since (?P<start>\d{0,15})", re.ASCII)
"""What is in it."""
MOST_OF_OWNER = 300
BEYOND = 2**30
"""The byte that is locked on Windows, which lets nobody read what is: far behind the text."""
HELD: set[tuple[int, int]] = set()
"""The lock files that this process holds, by device and number. It must not open them again: closing any file of them
would give up the lock."""


def is_held(folder: Path) -> bool:
    """Return whether this process has the lock of `folder`."""
    with suppress(OSError):
        found = (folder / LOCK).stat()
        return (found.st_dev, found.st_ino) in HELD
    return False


class Lock(AbstractContextManager["Lock"]):
    """What keeps others out of a run folder, until it is closed or this process ends."""

    def __init__(self, file: IO[str]):
        self.file, found = file, os.fstat(file.fileno())
        self.place = found.st_dev, found.st_ino
        HELD.add(self.place)

    def write(self, text: str) -> None:
        """Replace the content of the file, unless it is a file of others, too."""
        if os.fstat(self.file.fileno()).st_nlink == 1:
            self.file.seek(0)
            self.file.truncate(0)
            self.file.write(text)
            self.file.flush()

    def __exit__(self, *_: object) -> None:
        HELD.discard(self.place)
        with suppress(OSError), self.file:
            self.write("")


def lock(folder: Path) -> Lock:
    """Keep other runs out of `folder`. Where its file system has no locks, its lock file says by whom it is used: this
    keeps out all but those that begin in the same moment.

    Raises:
        UserError: another process is in it, or may be, or it cannot be written to.
    """
    refuse_link(folder / LOCK)
    if is_held(folder):
        raise in_use(folder, f"{os.getpid()} on {platform.node()} since 0")
    with writing(folder, "choose another folder with --output-dir"):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(folder / LOCK, flags, 0o666), "r+", encoding="utf-8", errors="replace")
        owner = file.read(MOST_OF_OWNER)
    try:
        take(file.fileno())
    except OSError as error:
        is_taken = error.errno in (EACCES, EAGAIN)
        if refusal := in_use(folder, owner) if is_taken else without_locks(folder, owner):
            file.close()
            raise refusal from error
        print(f"{folder} is on a disk without locks ({error.strerror}): begin no other run in it", flush=True)
    held = Lock(file)
    with writing(folder, "free some disk space, or choose another folder with --output-dir"):
        held.write(f"{os.getpid()} on {platform.node()} since {start_of(os.getpid())}")
    return held


def take(descriptor: int) -> None:
    """Lock an open file for this process.

    Raises:
        OSError: another has it (EACCES, EAGAIN), or its disk has no locks.
    """
    if fcntl is not None:
        # Not flock, which loader workers inherit: the run would stay locked after its process was killed.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    os.lseek(descriptor, BEYOND, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore
    os.lseek(descriptor, 0, os.SEEK_SET)


def in_use(folder: Path, owner: str) -> UserError:
    known = OWNER.fullmatch(owner)
    who = f"process {known['pid']} on {known['host']}" if known else "another process"
    return UserError(f"{folder} is in use by {who}", "wait for it, or choose another --run")


def without_locks(folder: Path, owner: str) -> UserError | None:
    """Return what there is to say if the `owner` that the lock file of `folder` names may still be there."""
    if not (known := OWNER.fullmatch(owner)):
        return None
    if known["host"] != platform.node():
        return UserError(
            f"{folder} is in use by process {known['pid']} on {known['host']}, or was when that was killed; its file "
            "system has no locks that would tell",
            f"if that process is not there any more, empty the file {folder / LOCK}",
        )
    return in_use(folder, owner) if start_of(int(known["pid"])) == known["start"] else None


def owner_lives(folder: Path) -> bool | None:
    """Return whether the process that its lock file names is there; None if it is on another machine."""
    if is_held(folder):
        return True
    try:
        with (folder / LOCK).open(encoding="utf-8", errors="replace") as file:
            known = OWNER.fullmatch(file.read(MOST_OF_OWNER))
    except OSError:
        known = None
    if known is None:
        return False
    return None if known["host"] != platform.node() else start_of(int(known["pid"])) == known["start"]


def start_of(pid: int) -> str:
    """Return when process `pid` of this machine began; empty if there is none."""
    import psutil

    with suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.0f}"
    return ""
