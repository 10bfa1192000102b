"""Saving a run, and what is said where it cannot be: the folder is full, or it was moved or removed meanwhile."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from launchbay import UserError
from launchbay.launch.checkpoint.writer import Saver
from launchbay.launch.distributed.collectives import on_main_process
from launchbay.launch.engine.shared_saver import SharedSaver
from launchbay.launch.files import Json, remedy
from launchbay.launch.record.place import Place, make_beside
from launchbay.models.checkpoints import list_checkpoints

T = TypeVar("T")


class Saving:
    """The checkpoints of the run in `folder`, which `saver` writes on the main process, or on all of them. What fails
    on the main process fails on all.
    """

    def __init__(self, folder: Path, saver: Saver):
        self.folder, self.saver = folder, saver
        self.is_shared = isinstance(saver, SharedSaver)
        self.place = on_main_process(lambda: Place(folder))

    def save(self, step: int, state: Callable[[], Json], *, best: bool, wait: bool) -> None:
        """Begin to write the checkpoint of `step` with what `state` returns beside tensors; with `wait`, be done with
        it. What fails may be of this checkpoint or of the one before.

        Raises:
            UserError: it cannot be written, or holds numbers that are not finite.
        """
        self.together(lambda: self.write(step, state, best=best, wait=wait))

    def together(self, action: Callable[[], None]) -> None:
        """Do `action` on the processes that save."""
        action() if self.is_shared else on_main_process(action)

    def alone(self, action: Callable[[], T]) -> T:
        """Return the result of `action`, a part of what is done together, on the main process."""
        return on_main_process(action) if self.is_shared else action()

    def write(self, step: int, state: Callable[[], Json], *, best: bool, wait: bool) -> None:
        self.look(step, state)
        try:
            self.alone(self.finish)  # the one before
            self.saver.save(step, state(), best=best)
            if wait:
                self.alone(self.finish)
        except Exception:  # whatever it is, on all processes alike: they look together
            self.look(step, state)  # rather say that the folder is gone
            raise

    def finish(self) -> None:
        """Wait until all that was begun is on disk."""
        try:
            self.saver.finish()
        except OSError as error:
            said = f"cannot save the checkpoint of step {self.saver.step}: {error}"
            raise UserError(said, f"{remedy(error)}; earlier ones in {self.folder} are intact") from error
        except UserError:
            raise
        except Exception as error:
            error.add_note(f"the checkpoint of step {self.saver.step} is not saved; earlier ones are intact")
            raise

    def check_place(self, step: int, state: Callable[[], Json]) -> None:
        """Look whether the run folder is still where it was.

        Raises:
            UserError: it is not. The checkpoint of `step` is in a new folder beside, if there can be one.
        """
        self.together(lambda: self.look(step, state))

    def settle(self, step: int, state: Callable[[], Json]) -> None:
        """Wait until what was begun is on disk.

        Raises:
            UserError: it cannot be written, or the folder is gone; see `check_place`.
        """

        def finish() -> None:
            self.look(step, state)
            self.alone(self.finish)

        self.together(finish)

    def look(self, step: int, state: Callable[[], Json]) -> None:
        gone = self.alone(self.place.gone)
        if not gone:
            return
        said = f"{gone}: the run has ended after step {step}"
        with suppress(Exception):
            self.saver.finish()  # it was to be written to where nothing is any more
        try:
            beside = self.alone(lambda: make_beside(self.folder, f"rescued-step-{step}"))
            self.saver.folder = beside / "checkpoints"
            self.saver.save(step, state(), best=False)
            self.alone(self.saver.finish)
        except (OSError, UserError) as error:
            what = error.message if isinstance(error, UserError) else str(error)
            raise UserError(f"{said}, which could not be saved elsewhere: {what}", "start it again") from error
        more = ", and more --steps," * (step == state()["steps"])
        hint = f"the same command with --resume {beside} and a new --run{more} goes on"
        raise UserError(f"{said}, with a checkpoint in {beside}", hint)

    def last(self) -> str:
        """Return what to say of the newest checkpoint; empty if there is none. All processes have to ask for it."""

        def find() -> str:
            with suppress(Exception):
                self.saver.finish()
            saved = list_checkpoints(self.folder / "checkpoints")
            return f"{saved[-1]} is from before: --resume {self.folder} and a new --run start from it" if saved else ""

        return on_main_process(find)
