"""logs/process-N.log in the run's folder: the log of each process. Figures are in metrics.jsonl, not here."""

import logging
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from launchbay import UserError
from launchbay.launch.errors import Gone, Signalled, Stopped
from launchbay.launch.files import writing

LOGGER = logging.getLogger("launchbay")


def say(message: str) -> None:
    """Print a `message` in the course of a run, and keep it in the log."""
    LOGGER.info("%s", message)
    with suppress(OSError):  # nobody reads it
        print(message, flush=True)


@contextmanager
def log(folder: Path, rank: int, opening: str) -> Generator[None]:
    """Keep the log of process `rank` in the run's `folder`: the `opening`, what is sent to LOGGER, and the traceback of
    the error that ends the run, if one does."""
    file = path(folder, rank)
    with writing(folder, "choose a folder that all machines of the run see: --output-dir"):
        file.parent.mkdir(exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handler.handleError = lambda record: None  # a full disk has been reported by those who write what matters
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        LOGGER.info("%s, process %d (pid %d on %s)", opening, rank, os.getpid(), platform.node())
        yield
        LOGGER.info("done")
    except (Stopped, Signalled, KeyboardInterrupt) as stop:
        LOGGER.info("%s", stop or "Ctrl-C")
        raise
    except BaseException as error:
        LOGGER.exception("failed")
        if isinstance(error, Gone) or not isinstance(error, UserError):
            error.add_note(f"the whole traceback is in {file}")
        raise
    finally:
        LOGGER.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def path(folder: Path, rank: int) -> Path:
    return folder / "logs" / f"process-{rank}.log"
