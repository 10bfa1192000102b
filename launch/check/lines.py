"""Lines of a task author's code, for the test bench to point at: where a thing is defined, fails, or draws."""

import ast
import inspect
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from launchbay import UserError
from launchbay.tasks.authors import AuthorError
from launchbay.tasks.places import BASES, Place, PlaceNote, locate

BENCH = ("launchbay.testing", "launchbay.launch.check.")
OURS = (*BENCH, "launchbay.launch", "launchbay.data", *BASES, "launchbay.tasks.authors")
"""How the names of modules begin that no author of a task has written."""


TraceFunction = Callable[[FrameType, str, object], "TraceFunction | None"]
"""For sys.settrace."""


def authored(kind: type) -> Iterator[type]:
    """Return `kind` and what it derives from, as far as its author wrote it."""
    others = (*OURS, "torch", "timm", "typing", "abc", "builtins")
    return (cls for cls in getattr(kind, "__mro__", ()) if not cls.__module__.startswith(others))


def source(cls: type) -> tuple[str, ast.ClassDef | None]:
    """Return the file of a class, and the class as a tree with the file's line numbers; None where there
    is no source.
    """
    try:
        lines, first = inspect.getsourcelines(cls)
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        return inspect.getfile(cls), next(node for node in tree.body if isinstance(node, ast.ClassDef))
    except (OSError, TypeError, SyntaxError, StopIteration):
        return "", None


def names_bound_by(node: ast.stmt) -> set[str]:
    """Return the names that a statement of a class binds."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def undocumented(options: type) -> list[str]:
    """Return the fields of a dataclass that have no string below them."""
    missing = []
    for cls in authored(options):
        tree = source(cls)[1]
        inside = tree.body if tree else []
        for node, below in zip(inside, [*inside[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign):
                continue
            text = below.value if isinstance(below, ast.Expr) else None
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                missing += sorted(names_bound_by(node))
    return missing


def is_of(frame: FrameType, kind: type) -> bool:
    """Return whether what runs in `frame` is from the package of `kind`, or a module beside it."""
    module = frame.f_globals.get("__name__", "")
    if module.startswith(OURS):
        return False
    beside = Path(frame.f_code.co_filename).parent == Path(inspect.getfile(kind)).parent
    return beside or module.split(".")[0] == kind.__module__.split(".")[0]


def raised(error: BaseException, kind: type) -> Place | None:
    """Return where in the author's code `error` arose: the innermost line, or the yield whose loss was minimised."""
    frames = [place_of(frame, line) for frame, line in walk(error.__traceback__) if is_of(frame, kind)]
    noted = [note.place for note in getattr(error, "__notes__", []) if isinstance(note, PlaceNote)]
    return next(iter([*reversed(frames), *noted]), None)


def describe_error(error: UserError, kind: type) -> tuple[str, Place | None]:
    """Return what `error` says, and where in the author's code it arose or points to."""
    if isinstance(error, AuthorError):
        return error.what, error.place
    return error.message, raised(error, kind)


def place_of(frame: FrameType, line: int) -> Place:
    return Place(frame.f_code.co_filename, line, frame.f_code.co_qualname)


def walk(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def is_of_the_bench(error: BaseException) -> bool:
    """Return whether `error` arose in the bench itself: our bug, then, and not the author's."""
    *_, (frame, _) = walk(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith(BENCH)


def states() -> list[object]:
    """Return the states of the generators that belong to the process."""
    import numpy as np
    import torch

    of_numpy = np.random.get_state(legacy=False)["state"]
    return [torch.get_rng_state().tolist(), of_numpy["key"].tolist(), of_numpy["pos"], random.getstate()]


def place_of_drawing(call: Callable[[], object], kind: type) -> Place | None:
    """Return the line of the author's code in which `call` draws from a generator of the process; None if none does."""
    before = states()
    call()
    if states() == before:
        return None
    found: Place | None = None
    last: Place | None = None
    before = states()

    def watch(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal found, last
        if not is_of(frame, kind):
            return None
        if last and not found and states() != before:
            found = last
        last = place_of(frame, frame.f_lineno)
        return watch

    tracing = sys.gettrace()
    sys.settrace(watch)
    try:
        call()
    finally:
        sys.settrace(tracing)
    return found or last or locate(kind)
