"""What comes of a check: that it holds, that it is broken and how, or that it has no meaning for a task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from launchbay import UserError
from launchbay.launch.check.lines import describe_error, is_of_the_bench, raised
from launchbay.tasks.base import AnyTask
from launchbay.tasks.places import Place, PlaceNote

if TYPE_CHECKING:
    from launchbay.launch.check.bench import Bench

Check = Callable[["Bench"], None]
"""A check: its name says what has to hold; the first paragraph of its docstring what is expected, the second how to
fix what is not so."""
F = TypeVar("F", bound=Check)


class Broken(Exception):
    """The task does not keep its contract: what happened, and where, if that is known. `remedy` stands in for what the
    check says in general."""

    def __init__(self, happened: str, place: Place | None = None, remedy: str = ""):
        super().__init__(happened)
        self.happened, self.place, self.remedy = happened, place, remedy


class NotApplicable(Exception):
    """The check has no meaning for this task, and why."""


def needs(*others: Check) -> Callable[[F], F]:
    """Say which checks have to hold before this one means anything."""

    def mark(check: F) -> F:
        check.needs = others  # pyright: ignore[reportFunctionMemberAccess]
        return check

    return mark


@dataclass(frozen=True)
class Result:
    """The result of one check. As a string it is all that a person has to know."""

    check: str
    """Its name, in words."""
    state: Literal["ok", "failed", "not applicable"]
    """Its outcome."""
    expected: str
    """The rule that it checks."""
    happened: str = ""
    """The breach of the rule; or why the check is not applicable."""
    where: str = ""
    """The line of the task that it is about, if that is known: file:line and what stands there."""
    remedy: str = ""
    """How to fix it."""

    def __str__(self) -> str:
        if self.state != "failed":
            return f"{self.check}: {self.state}" + (f" ({self.happened})" if self.happened else "")
        where = [f"at: {self.where}"] if self.where else []
        said = [f"expected: {self.expected}", f"happened: {self.happened}", *where, f"→ {self.remedy}"]
        return "\n  ".join([f"{self.check}: failed", *said])


def explain(error: Exception, kind: type[AnyTask]) -> Broken | None:
    """Return what `error` says of the task `kind`; None if it arose in the bench itself: our bug, then."""
    if isinstance(error, UserError):
        happened, place, remedy = *describe_error(error, kind), error.hint
    elif is_of_the_bench(error):
        return None
    else:
        happened, place, remedy = f"{type(error).__name__}: {error}", raised(error, kind), ""
    notes = getattr(error, "__notes__", [])
    elsewhere = [note for note in notes if not (isinstance(note, PlaceNote) and note.place == place)]
    return Broken(happened + "".join(f" ({note})" for note in elsewhere), place, remedy)
