"""By which figure the best checkpoint is chosen, and whether a validation has found a better one."""

from collections.abc import Collection, Iterable, Mapping
from math import isnan

from launchbay import UserError
from launchbay.tasks.authors import raise_author_error
from launchbay.tasks.base import AnyTask


def is_best(
    task: AnyTask, step: int, figures: Mapping[str, float], best: Mapping[str, float], sets: Iterable[str] = ("",)
) -> bool:
    """Return whether `figures` are at least as good as `best` (empty at first) by what `task.monitor` says. Of several
    validation `sets` that is the figure of the first, unless it names another.

    Raises:
        UserError: that is not among the figures, or nan.
    """
    if not task.monitor:
        return True  # nothing to compare: the newest is the best
    name, sign = monitored(task, figures, sets), -1 if task.monitor.startswith("-") else 1
    if isnan(figures[name]):
        raise UserError(
            f"{name} is nan at step {step}",
            f"lower --lr if the losses grew before; otherwise look at how {type(task).__name__} computes {name}. "
            "Checkpoints already saved are intact",
        )
    return name not in best or sign * figures[name] >= sign * best[name]


def monitored(task: AnyTask, figures: Collection[str], sets: Iterable[str]) -> str:
    """Return which of `figures`, of validation `sets`, `task.monitor` means; empty if it means none.

    Raises:
        AuthorError: none of them.
    """
    wanted = task.monitor.removeprefix("-")
    if not wanted:
        return ""
    for name in (wanted, *(f"{each}/{wanted}" for each in sets)):
        if name in figures:
            return name
    said = f"is {task.monitor!r}, but the figures are {', '.join(figures) or 'none'}"
    raise_author_error(task, "monitor", said, 'set it to the name of one ("-" before it: lower is better), or to ""')
