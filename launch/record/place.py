"""Where a run folder is: it may be moved, removed or replaced while the run goes on."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from launchbay import UserError
from launchbay.launch.record.lock import LOCK


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


@contextmanager
def staying(folder: Path) -> Generator[None]:
    """Say of what fails within the block whether it does since the run `folder`, which is locked, is where it was no
    longer.

    Raises:
        UserError: it is not.
    """
    place = Place(folder)
    try:
        yield
    except (OSError, UserError) as error:
        if (gone := place.gone()) and gone not in str(error):
            raise UserError(gone, "start it again, and leave the folder where it is") from error
        raise


def make_beside(folder: Path, what: str) -> Path:
    """Make a new folder beside `folder`, with its name and `what`; with a number where that is there already."""
    for number in count(1):
        beside = folder.with_name(f"{folder.name}-{what}{f'-{number}' * (number > 1)}")
        with suppress(FileExistsError):
            beside.mkdir()
            (beside / "checkpoints").mkdir()
            return beside
    raise AssertionError("numbers do not end")
