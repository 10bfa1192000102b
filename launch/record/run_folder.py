"""Where a run is kept: runs/NAME, which one process at a time may write to."""

import json
import os
import platform
import re
from contextlib import AbstractContextManager, suppress
from errno import EACCES, EAGAIN
from itertools import count
from pathlib import Path
from typing import IO, NoReturn

from launchbay import UserError
from launchbay.launch.files import writing

LOCK = ".lock"
OWNER = re.compile(r"(?P<pid>\d{1,9}) on (?P<host>[\w.-]{1,255}) since (?P<start>\d{0,15})", re.ASCII)
"""What is in it."""
MOST_OF_OWNER = 300
SUMMARY = "summary.json"
FOLDERS = ("", "checkpoints", "logs", "samples")
FILES = (LOCK, SUMMARY, "config.yaml", "metrics.jsonl", "curves.png", "checkpoints/last", "checkpoints/best")
"""What a run keeps, and itself."""


def open_folder(output_dir: Path, run: str | None, task: str) -> Path:
    """Return the folder of the run called `run`, new or begun before; or a new one: the task's name and the next free
    number.

    Raises:
        UserError: there is something else of that name, or the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        return open_named_folder(output_dir / run) if run is not None else make_numbered(output_dir, task)
    except OSError as error:
        raise UserError(
            f"cannot make a run folder in {output_dir}: {error.strerror}", "choose another folder with --output-dir"
        ) from error


def open_named_folder(folder: Path) -> Path:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LOCK).exists():
        raise UserError(f"{folder} exists already, and is not a run that could be continued", "choose another --run")
    odd = [f"{folder / name} is a file, and has to be a folder" for name in FOLDERS if (folder / name).is_file()]
    odd += [f"{folder / name} is a folder, and has to be a file" for name in FILES if (folder / name).is_dir()]
    if odd:
        raise UserError(odd[0], "move it away, or choose another --run")
    folder.mkdir(exist_ok=True)
    return folder


def make_numbered(output_dir: Path, task: str) -> Path:
    name = task.rpartition(":")[2].lower()
    for number in count(1):
        folder = output_dir / f"{name}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def is_done(folder: Path) -> bool:
    """Return whether the run in `folder` has come to its end, with all that it leaves behind."""
    file = folder / SUMMARY
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["status"] == "done"


def remove_unused(folder: Path) -> None:
    """Remove the folder of a run that was refused before it began."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def config_file(run: Path) -> Path:
    """Return the configuration of the run in folder `run`.

    Raises:
        UserError: there is none, hence no run.
    """
    file = run / "config.yaml"
    if not file.is_file():
        raise UserError(
            f"{run} is not a run folder: it has no config.yaml", "name a run folder, such as runs/superres-1"
        )
    return file


class Lock(AbstractContextManager["Lock"]):
    """What keeps others out of a run folder, until it is closed or this process ends."""

    def __init__(self, file: IO[str]):
        self.file = file

    def __exit__(self, *_: object) -> None:
        with suppress(OSError), self.file:
            self.file.truncate(0)


def lock(folder: Path) -> Lock:
    """Keep other runs out of `folder`. Where its file system has no locks, its lock file says by whom it is used: this
    keeps out all but those that begin in the same moment.

    Raises:
        UserError: another process is in it, or may be, or it cannot be written to.
    """
    with writing(folder, "choose another folder with --output-dir"):
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(folder / LOCK, flags, 0o666), "r+", encoding="utf-8", errors="replace")
        owner = file.read(MOST_OF_OWNER)
    if os.name == "posix":
        import fcntl

        try:
            # Not flock, which loader workers inherit: the run would stay locked after its process was killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (EACCES, EAGAIN):
                file.close()
                refuse_used(folder, owner, error)
            check_unused(folder, owner)
            print(f"{folder} is on a disk without locks ({error.strerror}): begin no other run in it", flush=True)
    with writing(folder, "free some disk space, or choose another folder with --output-dir"):
        file.seek(0)
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()} since {start_of(os.getpid())}")
        file.flush()
    return Lock(file)


def refuse_used(folder: Path, owner: str, error: OSError | None = None) -> NoReturn:
    known = OWNER.fullmatch(owner)
    who = f"process {known['pid']} on {known['host']}" if known else "another process"
    raise UserError(f"{folder} is in use by {who}", "wait for it, or choose another --run") from error


def check_unused(folder: Path, owner: str) -> None:
    """Check that the `owner` that the lock file of `folder` names is not there any more."""
    if not (known := OWNER.fullmatch(owner)):
        return
    if known["host"] != platform.node():
        raise UserError(
            f"{folder} is in use by process {known['pid']} on {known['host']}, or was when that was killed; its file "
            "system has no locks that would tell",
            f"if that process is not there any more, empty the file {folder / LOCK}",
        )
    if start_of(int(known["pid"])) == known["start"]:
        refuse_used(folder, owner)


def start_of(pid: int) -> str:
    """Return when process `pid` of this machine began; empty if there is none."""
    import psutil

    with suppress(psutil.Error):
        return f"{psutil.Process(pid).create_time():.0f}"
    return ""
