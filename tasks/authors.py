"""The mistakes of a task's author: what its methods take and return is checked, and the line to fix is named."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import wraps
from numbers import Real
from pathlib import Path
from types import FunctionType
from typing import NoReturn, ParamSpec, TypeVar
from warnings import warn_explicit

from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.tasks.places import BASES, Place, locate

P = ParamSpec("P")
R = TypeVar("R")
NAMED = {
    "evaluate": "{'error': error}, a tensor of one value per sample (or of N×D, for summarize); {} for nothing",
    "figures": "{'error': error}, a tensor of one value per sample",
    "summarize": "{'diversity': float(value)}; {} for nothing",
    "preview": "{'output': output}, a tensor of N×C×H×W; {} for nothing",
    "preview_training": "{'input': input}, a tensor of N×C×H×W; {} for nothing",
    "gallery": "{'walk': walk}, a tensor of C×H×W; {} for nothing",
    "loss": "{'l1': loss}, a tensor of one value",
}
"""The methods of our base classes that return things by name, and an example of each."""
PICTURES = ("degrade", "target", "baseline", "restore", "generate")
"""The methods of our base classes that return pictures, N×C×H×W."""
RENAMED = {"complete": "infer_options", "answer": "restore"}
"""Methods that had another name in version 1 of the API, which still holds."""
FIELDS = ("step", "epoch", "split")
TAKEN = {"evaluate": FIELDS, "summarize": FIELDS, "gallery": ("samples", "worst", "best", "training")}
"""Names that stand for something else, in a line of metrics.jsonl or among a run's pictures."""


class AuthorError(UserError):
    """A mistake in the code of a plugin: what is wrong, what to do, and the place."""

    def __init__(self, what: str, hint: str = "", place: Place | None = None):
        super().__init__(f"{what}, at {place}" if place else what, hint)
        self.what, self.place = what, place


def raise_author_error(task: nn.Module, name: str, what: str, hint: str) -> NoReturn:
    """Raise an AuthorError: `what` is wrong with the method or attribute `name` of `task`."""
    raise AuthorError(f"{type(task).__name__}.{name} {what}", hint, locate(type(task), name))


@contextmanager
def attribute_errors_to(kind: type, *names: str) -> Generator[None]:
    """Turn a UserError within the block into an AuthorError that names where the class `kind` sets one of `names`."""
    try:
        yield
    except UserError as error:
        raise AuthorError(error.message, error.hint, locate(kind, *names)) from error


def prepare_methods(kind: type) -> None:
    """Have what the methods of the task `kind` return checked, each time; and accept methods by their old names.

    This is the one boundary at which an author's values are looked at: everywhere else a method is simply called.
    """
    for old, new in RENAMED.items():
        ours = kind.__module__ in BASES or is_inherited(kind, new)
        if ours and old in vars(kind) and new not in vars(kind):
            setattr(kind, new, vars(kind)[old])
            place, said = (
                locate(kind, old),
                f"{kind.__name__}.{old} is called {new} now; rename it: the old name will be removed",
            )
            warn_explicit(said, FutureWarning, place.file or kind.__module__, place.line)
        elif ours and new in vars(kind) and old not in vars(kind):
            setattr(kind, old, vars(kind)[new])  # for super().answer(...) and the like
    for name in (*NAMED, *PICTURES, "learning_rate"):
        owner = next((cls for cls in kind.__mro__ if name in vars(cls)), kind)
        is_done = kind.__module__ in BASES or (owner is not kind and any(c.__module__ in BASES for c in owner.__mro__))
        if is_done or not is_inherited(kind, name):
            continue
        method = vars(owner).get(name)
        if isinstance(method, FunctionType):
            setattr(kind, name, with_check(kind, name, method if owner is kind else passed_on(kind, name, method)))
        elif isinstance(method, staticmethod) and owner is kind:
            setattr(kind, name, staticmethod(with_check(kind, name, method.__func__)))


def is_inherited(kind: type, name: str) -> bool:
    """Return whether one of our base classes of `kind` has something called `name`."""
    return any(name in vars(base) for base in kind.__mro__[1:] if base.__module__ in BASES)


def passed_on(kind: type, name: str, method: Callable[..., object]) -> Callable[..., object]:
    """Return a method `name` for `kind` that is the inherited one, `method` of a mixin. It is looked up anew, since in
    a class that derives from `kind` another one may come next."""

    @wraps(method)
    def inherited(self: object, *args: object, **kwargs: object) -> object:
        return getattr(super(kind, self), name)(*args, **kwargs)

    return inherited


def with_check(kind: type, name: str, method: Callable[P, R]) -> Callable[P, R]:
    """Return `method`, `name` of the class `kind`, raising an AuthorError if what it returns is not as it should be."""

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        returned = method(*args, **kwargs)
        wrong, hint = mistake_in(name, returned)
        if wrong:
            own = type(args[0]) if args and isinstance(args[0], kind) else kind  # a static method is given no task
            raise AuthorError(f"{own.__name__}.{name} {wrong}", hint, locate(own, name))
        return returned

    return checked


def mistake_in(method: str, returned: object) -> tuple[str, str]:
    """Return what is wrong with what `method` has `returned`, empty if nothing is, and what to do."""
    if method not in NAMED:
        what = describe_value(returned)
        if method == "learning_rate":
            what = str(returned) if isinstance(returned, Real) else what
            good = isinstance(returned, Real) and 0 <= float(returned) < float("inf")
            hint = "return a factor, a number from 0 on: `scheduled` for what the options say"
        else:
            good = isinstance(returned, Tensor) and returned.ndim == 4 and returned.is_floating_point()
            hint = "return a tensor of N×C×H×W, of floating point numbers"
        return "" if good else f"returns {what}", hint
    hint = f"return a dict such as {NAMED[method]}"
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
    """Return what `value` is, in words: "a tensor of (3, 8, 8)", "an int"."""
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}" + f", {value.dtype}" * (not value.is_floating_point())
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeio' else 'a'} {kind}"


def check_arguments(kind: type) -> None:
    """Check that each method of the task `kind` takes what that of its base class takes.

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
                decorator, function = (
                    ("", method) if isinstance(method, FunctionType) else ("@classmethod ", method.__func__)
                )
                raise AuthorError(
                    f"{kind.__name__}.{name} cannot be called as it has to be: {error}",
                    f"write {decorator}def {name}({', '.join(inspect.signature(function).parameters)})",
                    locate(kind, name),
                ) from error


def check_constructed(task: nn.Module) -> None:
    """Raise an AuthorError if the `__init__` of `task` has not begun with that of Task."""
    if "_modules" not in vars(task):
        raise AuthorError(
            f"{type(task).__name__}.__init__ does not begin with that of Task",
            "make super().__init__(config) its first line",
            locate(type(task), "__init__"),
        )


def check_trainable(task: nn.Module, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> None:
    """Raise an AuthorError if `task` cannot be trained, as far as that can be told before the first step."""
    for name in ("monitor", "baseline_name"):
        if not isinstance(value := getattr(task, name), str):
            raise_author_error(task, name, f"is {value!r}, no string", f'write {name} = "a name", or leave it out')
    if hidden := [name for name in dict(task.named_children()) if hasattr(type(task), name)]:
        raise_author_error(
            task, "__init__", f"sets a module {hidden[0]!r}, which its class hides", "give it another name"
        )
    if taken := {"task", "optimizers", "lr"} & networks.keys():
        raise_author_error(
            task,
            "__init__",
            f"sets a network {min(taken)!r}, a name that launchbay uses itself",
            "give it another name",
        )
    if not networks:
        raise_author_error(task, "__init__", "sets no network", "set one as an attribute: self.model = ...")
    if not isinstance(optimizers, Mapping) or not all(isinstance(own, Optimizer) for own in optimizers.values()):
        raise_author_error(
            task, "optimizers", f"returns {describe_value(optimizers)}", "return a dict of torch's optimizers by name"
        )
    if set(optimizers) != set(networks):
        raise_author_error(
            task,
            "optimizers",
            f"gives {', '.join(map(str, optimizers)) or 'none'} for the networks {', '.join(networks)}",
            "give one optimizer per network, under the network's name",
        )
    if not inspect.isgeneratorfunction(inspect.getattr_static(type(task), "training_step")):
        raise_author_error(
            task, "training_step", "has to yield its losses, not return them", "yield 'model', {'l1': loss}"
        )
