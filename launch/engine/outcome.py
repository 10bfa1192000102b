"""How a run has ended, and what it is good for: what its summary says in words."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from launchbay import printable
from launchbay.launch.distributed.signals import reason
from launchbay.launch.engine.best import monitored
from launchbay.launch.engine.state import State
from launchbay.launch.errors import Gone, Signalled, Stopped
from launchbay.launch.files import Json
from launchbay.tasks.base import AnyTask, Task
from launchbay.tasks.generative import Generative
from launchbay.tasks.image_to_image import ImageToImage

MOST = 300
"""Characters of the reason that a summary keeps."""


def how_it_ended(error: BaseException) -> tuple[str, str]:
    """Return the status of a run that `error` has ended, and why it did in one line."""
    if isinstance(error, Signalled):
        return "stopped", reason(error.number)
    if isinstance(error, Stopped):
        return "stopped", one_line(str(error.args[0]).partition(": stopped")[0])
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "Ctrl-C"
    if isinstance(error, Gone):
        return "stopped", one_line(str(error))
    kind = "" if type(error).__module__.startswith("launchbay") else f"{type(error).__name__}: "
    return "failed", one_line(f"{kind}{error}")


def one_line(text: str) -> str:
    return printable(text.strip().partition("\n")[0], MOST)


def about_task(task: AnyTask, state: State, sets: Iterable[str]) -> Json:
    """Return what a summary has of `task`: by which of its figures on the validation `sets` it is judged, beside what,
    and what it is good for.
    """
    return {
        "best_by": monitored(task, state.final, sets) if state.best else "",
        "lower_is_better": task.monitor.startswith("-"),
        "baseline_name": task.baseline_name,
        "use": use_of(task),
    }


def use_of(task: AnyTask) -> str:
    """Return what `launchbay apply` takes after the run of `task`; nothing, if it cannot be used."""
    if isinstance(task, Generative):
        return "OUT"
    if type(task).reply is Task.reply:
        return ""
    return "IN OUT" if isinstance(task, ImageToImage) else "IN"


def stopped(why: str, where: str, folder: Path) -> Stopped:
    """Return that the run in `folder` was stopped after `where`, with a checkpoint, and how it goes on."""
    said = f"{why}: stopped after {where}, with a checkpoint in {folder}"
    return Stopped(said, f"the same command with --run {folder.name} continues from there")


def failures_of(actions: Sequence[Callable[[], object]]) -> list[Exception]:
    """Do all of `actions`, also those after one that fails. Return what has failed."""
    failures: list[Exception] = []
    for action in actions:
        try:
            action()
        except Exception as error:
            failures.append(error)
    return failures
