"""Where a run is kept: runs/NAME, which one process at a time may write to."""

import json
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from launchbay import UserError
from launchbay.launch.files import writing

LOCK = ".lock"
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


def lock(folder: Path) -> IO[str]:
    """Keep other runs out of `folder` as long as this process lives, or until what is returned is closed.

    Raises:
        UserError: another process is in it, or it cannot be written to.
    """
    with writing(folder, "choose another folder with --output-dir"):
        file = (folder / LOCK).open("a+")
    if os.name == "posix":
        import fcntl

        try:
            # Not flock, which loader workers inherit: the run would stay locked after its process was killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with file:
                file.seek(0)
                owner = file.read().strip()
            raise UserError(f"{folder} is in use by process {owner}", "wait for it, or choose another --run") from error
    with writing(folder, "free some disk space, or choose another folder with --output-dir"):
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file


class Place:
    """Where the run folder is in which this process has the lock, and whether it still is: it may be moved or removed,
    and another one be made in its place.
    """

    def __init__(self, folder: Path):
        self.folder, self.held = folder, (folder / LOCK).stat()

    def gone(self) -> str:
        """Return what has become of it; empty if it is where it was."""
        with suppress(OSError):
            if os.path.samestat(self.held, (self.folder / LOCK).stat()):
                return ""
        where = self.moved_to()
        if where is not None:
            return f"{self.folder} was moved to {where}"
        return f"{self.folder} was removed" if not self.folder.exists() else f"{self.folder} is not the same any more"

    def moved_to(self) -> Path | None:
        """Return where the lock, which this process has open, is now, if the system can tell."""
        for link in Path("/proc/self/fd").glob("*"):
            with suppress(OSError):
                if os.path.samestat(self.held, link.stat()) and (now := link.readlink()).is_file():
                    return now.parent
        return None


def make_beside(folder: Path, what: str) -> Path:
    """Make a new folder beside `folder`, with its name and `what`; with a number where that is there already."""
    for number in count(1):
        beside = folder.with_name(f"{folder.name}-{what}{f'-{number}' * (number > 1)}")
        with suppress(FileExistsError):
            beside.mkdir()
            (beside / "checkpoints").mkdir()
            return beside
    raise AssertionError("numbers do not end")
