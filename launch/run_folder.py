"""Where a run is kept: runs/NAME. A folder is never written into twice."""

from pathlib import Path

from launchbay import UserError


def create(output_dir: Path, run: str | None, task: str) -> Path:
    """Make the folder of a new run: `run`, or the task's name and the next free number.

    Raises:
        UserError: there is a run of that name, or the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if run is not None:
            (output_dir / run).mkdir()
            return output_dir / run
        number = 1
        while True:
            try:
                folder = output_dir / f"{task.rsplit(':', maxsplit=1)[-1].lower()}-{number}"
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except FileExistsError as error:
        raise UserError(
            f"{error.filename} exists already", "choose another --run, or leave it out for the next number"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot make a run folder in {output_dir}: {error.strerror}", "say where with --output-dir"
        ) from error
