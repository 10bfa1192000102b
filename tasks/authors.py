"""What the author of a task wrote: whether its methods take and give what they should, and where one stands that does
not."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from numbers import Real
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

from torch import Tensor, nn

from launchbay import UserError

RETURNED = {
    "evaluate": "{'error': error}, a tensor of one value per sample (or of N×D, for summarize); {} for nothing",
    "figures": "{'error': error}, a tensor of one value per sample",
    "summarize": "{'diversity': float(value)}; {} for nothing",
    "preview": "{'output': output}, a tensor of N×C×H×W; {} for nothing",
    "gallery": "{'walk': walk}, a tensor of C×H×W; {} for nothing",
    "loss": "{'l1': loss}, a tensor of one value",
}
"""What those methods of a task have to return that give things by name; the others give pictures."""
BASES = ("launchbay.tasks.base", "launchbay.tasks.image_to_image", "launchbay.tasks.generative")
"""Where classes are that tasks derive from."""
MADE_OF = {"training_step": "loss", "evaluate": "figures"}
"""What of a task decides on what a method of its base class gives."""
FIELDS = ("step", "epoch", "split")
TAKEN = {"evaluate": FIELDS, "summarize": FIELDS, "gallery": ("samples",)}
"""Names that stand for something else, in a line of metrics.jsonl or among a run's pictures."""


class AuthorError(UserError):
    """A mistake in the code of a plugin: what is wrong, what to do, and `where` (file:line)."""

    def __init__(self, what: str, hint: str = "", where: str = ""):
        super().__init__(f"{what}, at {where}" if where else what, hint)
        self.what, self.where = what, where


def asked(task: nn.Module, method: str, *given: Any) -> Any:
    """What `method` of `task` says of what is `given`: tensors (or numbers, from `summarize`) by name if it is one of
    RETURNED, otherwise a tensor.

    Raises:
        AuthorError: that is not what it should be.
    """
    returned = getattr(task, method)(*given)
    wrong, hint = mistake_in(method, returned)
    if wrong:
        raise_author_error(task, method, wrong, hint)
    return returned


def raise_author_error(task: nn.Module, name: str, what: str, hint: str) -> NoReturn:
    """Say what is wrong with the method or attribute `name` of `task`."""
    raise AuthorError(f"{type(task).__name__}.{name} {what}", hint, locate(type(task), name))


@contextmanager
def attribute_errors_to(kind: type, name: str = "") -> Iterator[None]:
    """What is refused in here, `name` of the class `kind` is to blame for, or all of it."""
    try:
        yield
    except UserError as error:
        raise AuthorError(error.message, error.hint, locate(kind, name)) from error


def mistake_in(method: str, returned: Any) -> tuple[str, str]:
    """What is wrong with what `method` has `returned`, if anything is, and what to do."""
    if method not in RETURNED:
        good = isinstance(returned, Tensor) and returned.ndim == 4 and returned.is_floating_point()
        return (
            "" if good else f"returns {describe_value(returned)}",
            "return a tensor of N×C×H×W, of floating point numbers",
        )
    hint = f"return a dict such as {RETURNED[method]}"
    if not isinstance(returned, Mapping):
        return f"returns {describe_value(returned)}", hint
    for name, value in returned.items():
        if not isinstance(name, str):
            return f"gives something the name {name!r}, {describe_value(name)}", "give it a name that is a string"
        if name in TAKEN.get(method, ()) or (method == "gallery" and Path(name).name != name):
            return f"gives something the name {name!r}, which it cannot have", "choose another name, without a /"
        scalar = isinstance(value, Tensor) and not value.ndim
        if method == "summarize":
            good = scalar or isinstance(value, Real)
        else:
            good = isinstance(value, Tensor) and not (scalar and method in ("evaluate", "figures"))
        if not good:
            return f"returns {describe_value(value)} as {name!r}", hint
    return "", ""


def describe_value(value: object) -> str:
    """What `value` is, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}" + f", {value.dtype}" * (not value.is_floating_point())
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeio' else 'a'} {kind}"


def check_arguments(kind: type) -> None:
    """Whether each method of the task `kind` takes what that of its base class takes.

    Raises:
        AuthorError: one does not.
    """
    for base in [base for base in kind.__mro__[1:] if base.__module__ in BASES]:
        for name, method in vars(base).items():
            own = inspect.getattr_static(kind, name)
            called = isinstance(method, FunctionType | classmethod) and (name == "__init__" or name[0] != "_")
            if not called or (callable(own) and not isinstance(own, FunctionType)):  # a static method, for one
                continue
            try:
                inspect.signature(getattr(kind, name)).bind(*inspect.signature(getattr(base, name)).parameters)
            except TypeError as error:
                function: Any = getattr(method, "__func__", method)
                decorator = "" if function is method else "@classmethod "
                raise AuthorError(
                    f"{kind.__name__}.{name} cannot be called as it has to be: {error}",
                    f"write {decorator}def {name}({', '.join(inspect.signature(function).parameters)})",
                    locate(kind, name),
                ) from error


def locate(kind: type, name: str) -> str:
    """Where the class `kind`, or one that it derives from, sets `name`, or what ours of that name is made of; or else
    where `kind` begins: "FILE:LINE in NAME"."""
    written = takewhile(lambda cls: cls.__module__ not in BASES, kind.__mro__)
    owner = next((cls for cls in written if name in vars(cls)), None)
    if owner is None and name in MADE_OF:
        return locate(kind, MADE_OF[name])
    owner = owner or kind
    value: Any = vars(owner).get(name)
    code = getattr(inspect.unwrap(value), "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno} in {code.co_qualname}"
    try:
        lines, first = inspect.getsourcelines(owner)
    except (OSError, TypeError):  # typed at a prompt
        return owner.__qualname__
    bound = [text.partition("=")[0].partition(":")[0].strip().removeprefix("self.") for text in lines]
    line = first + (bound.index(name) if name in bound else 0)
    return f"{inspect.getsourcefile(owner)}:{line} in {owner.__qualname__}"
