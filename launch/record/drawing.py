"""The names of a run's pictures; and those that cannot be drawn, which is no reason to end a training."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from launchbay import UserError

SAMPLES = "samples"
"""The name of the sample grid among a run's pictures."""
WORST, BEST, TRAINING = "worst", "best", "training"
"""Those of the grids of the worst and the best samples, and of what a task trains on."""
LAYOUT = "launchbay-layout"
"""The key of the text that a grid's PNG has: its `headings`, and of its `samples` the box (left, top, width, height) of
the picture below each."""


def picture_name(step: int) -> str:
    return f"step-{step:08d}"


def picture_file(run: Path, step: int, name: str) -> Path:
    """Return where a run keeps the picture `name` of `step`. Those of several validation sets are behind the set's
    name, "set5/samples", in a folder of its own.
    """
    where, _, own = name.rpartition("/")
    return run / "samples" / where / f"{picture_name(step)}{'' if own == SAMPLES else f'-{own}'}.png"


class CannotDraw(Exception):
    """A picture cannot be made, for a reason that has to do with nothing else."""


@contextmanager
def drawing() -> Generator[None]:
    """Turn whatever fails within the block into CannotDraw, but for mistakes of authors and what the disk refuses."""
    try:
        yield
    except Exception as error:
        refused = isinstance(error, OSError) and error.errno is not None  # libraries raise others without a number
        if refused or isinstance(error, UserError):
            raise
        raise CannotDraw(f"{type(error).__name__}: {error}") from error
