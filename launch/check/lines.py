"""Lines of a task author's code, for the test bench to point at: where a thing is defined, fails, or draws."""

import ast
import inspect
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from launchbay import UserError
from launchbay.tasks.authors import AuthorError

BENCH = ("launchbay.testing", "launchbay.tasks.contract")
OURS = (*BENCH, "launchbay.launch", "launchbay.data", "launchbay.tasks.base")
"""How the names of modules begin that no author of a task has written."""


def authored(kind: type) -> Iterator[type]:
    """`kind` and what it derives from, as far as its author wrote it."""
    others = (*OURS, "torch", "timm", "typing", "abc", "builtins")
    return (cls for cls in getattr(kind, "__mro__", ()) if not cls.__module__.startswith(others))


def source(cls: type) -> tuple[str, ast.ClassDef | None]:
    """The file of a class, and the class as a tree with the file's line numbers; None where there is no source."""
    try:
        lines, first = inspect.getsourcelines(cls)
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        return short(inspect.getfile(cls)), next(node for node in tree.body if isinstance(node, ast.ClassDef))
    except (OSError, TypeError, SyntaxError, StopIteration):
        return "", None


def definition(kind: type, *names: str) -> str:
    """Where `kind`, or a class it derives from, binds the first of `names`, or the next; or else where `kind` is."""
    sources = [(file, tree) for file, tree in map(source, authored(kind)) if tree]
    for name, (file, tree) in product(names, sources):
        for node in tree.body:
            if name in bound(node):
                return f"{file}:{node.lineno} in {tree.name}"
    return next((f"{file}:{tree.lineno} in {tree.name}" for file, tree in sources), "")


def bound(node: ast.stmt) -> set[str]:
    """The names that a statement of a class binds."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def undocumented(options: type) -> list[str]:
    """The fields of a dataclass that have no string below them."""
    missing = []
    for cls in authored(options):
        tree = source(cls)[1]
        inside = tree.body if tree else []
        for node, below in zip(inside, [*inside[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign):
                continue
            text = below.value if isinstance(below, ast.Expr) else None
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                missing += sorted(bound(node))
    return missing


def is_of(frame: FrameType, kind: type) -> bool:
    """Whether what runs in `frame` is from the package of `kind`, or a module beside it."""
    module = frame.f_globals.get("__name__", "")
    if module.startswith(OURS):
        return False
    beside = Path(frame.f_code.co_filename).parent == Path(inspect.getfile(kind)).parent
    return beside or module.split(".")[0] == kind.__module__.split(".")[0]


def place(frame: FrameType, line: int) -> str:
    return f"{short(frame.f_code.co_filename)}:{line} in {frame.f_code.co_qualname}"


def raised(error: BaseException, kind: type) -> str:
    """Where in the author's code `error` arose: the innermost line, or the yield whose loss was being minimised."""
    noted = [
        short(note.partition("yielded at ")[2]) for note in getattr(error, "__notes__", []) if "yielded at" in note
    ]
    frames = [place(frame, line) for frame, line in walk(error.__traceback__) if is_of(frame, kind)]
    return next(iter([*reversed(frames), *noted]), "")


def describe_error(error: UserError, kind: type) -> tuple[str, str]:
    """What `error` says, and where in the author's code it arose or points to."""
    if isinstance(error, AuthorError):
        return error.what, short(error.where)
    return error.message, raised(error, kind)


def walk(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def is_of_the_bench(error: BaseException) -> bool:
    """Whether `error` arose in the bench itself: our bug, then, and not the author's."""
    *_, (frame, _) = walk(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith(BENCH)


def states() -> list[Any]:
    """Those of the generators that belong to the process."""
    import numpy as np
    import torch

    of_numpy: Any = np.random.get_state()
    return [torch.get_rng_state().tolist(), of_numpy[1].tolist(), of_numpy[2:], random.getstate()]


def drawing(call: Callable[[], object], kind: type) -> str:
    """The line of the author's code in which `call` draws from a generator of the process; empty if nothing draws."""
    before = states()
    call()
    if states() == before:
        return ""
    found, last, before = "", "", states()

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal found, last
        if not is_of(frame, kind):
            return None
        if last and not found and states() != before:
            found = last
        last = place(frame, frame.f_lineno)
        return watch

    tracing = sys.gettrace()
    sys.settrace(watch)
    try:
        call()
    finally:
        sys.settrace(tracing)
    return found or last or kind.__name__


def short(file: str) -> str:
    """As seen from this folder, if it is in it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
