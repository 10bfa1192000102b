"""Where a run is kept: runs/NAME. A folder is never written into twice."""

from itertools import count
from pathlib import Path

from launchbay import UserError


def create(output_dir: Path, run: str | None, task: str) -> Path:
    """Make the folder of a new run: `run`, or the task's name and the next free number.

    Raises:
        UserError: there is a run of that name, or the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        return make_named(output_dir / run) if run is not None else make_numbered(output_dir, task)
    except OSError as error:
        raise UserError(
            f"cannot make a run folder in {output_dir}: {error.strerror}", "say where with --output-dir"
        ) from error


def make_named(folder: Path) -> Path:
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise UserError(f"{folder} exists already", "choose another --run, or leave it out") from error
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
