"""What can be wrong with a task, named before it does harm: at the start, and at each loss that it yields."""

import inspect
from collections.abc import Mapping
from math import isfinite
from types import GeneratorType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.launch.config import Shared
from launchbay.tasks.base import Losses, Task

RETURNED: dict[str, tuple[Any, str]] = {
    "evaluate": (Tensor, "{'error': error}, a tensor of one value per sample (or of N×D, for summarize)"),
    "summarize": ((int, float), "{'diversity': float(value)}"),
    "preview": (Tensor, "{'output': output}, a tensor of N×C×H×W"),
    "gallery": (Tensor, "{'walk': walk}, a tensor of C×H×W"),
}
"""What a task's methods have to return under each name, in types and in words."""


class NotFinite(UserError):
    """The loss of network `name` is no number."""

    def __init__(self, name: str, message: str, hint: str):
        super().__init__(message, hint)
        self.name = name


def build(task_type: type[Task[Any]], options: Any) -> Task[Any]:
    """The task with `options`.

    Raises:
        UserError: its `__init__` sets or reads attributes before that of `Task` has run.
    """
    task = task_type.__new__(task_type)
    try:
        task_type.__init__(task, options)
    except AttributeError:
        if "_modules" in vars(task):
            raise
    if "_modules" not in vars(task):
        raise UserError(
            f"{task_type.__name__}.__init__ does not begin with that of Task, {defined(task_type, '__init__')}",
            "make super().__init__(config) its first line",
        )
    return task


def check_task(
    task: Task[Any], networks: Mapping[str, Any], optimizers: Mapping[str, Optimizer], shared: Shared
) -> None:
    """What can be known before the first step."""
    name = type(task).__name__
    if not networks:
        raise UserError(f"{name} has no network", "set one as an attribute in __init__: self.model = ...")
    if set(optimizers) != set(networks):
        raise UserError(
            f"{name}.optimizers gives {', '.join(optimizers) or 'none'} for the networks {', '.join(networks)}",
            "give one optimizer per network, under the network's name",
        )
    if not inspect.isgeneratorfunction(type(task).training_step):
        raise UserError(f"{name}.training_step has to yield its losses, not return them", "yield 'model', {'l1': loss}")
    if shared.accumulate > 1 and len(optimizers) > 1:
        raise UserError(
            f"--accumulate {shared.accumulate} with {len(optimizers)} networks ({', '.join(optimizers)}): "
            "with parts of a batch they would no longer learn in turn",
            "use a smaller --batch-size, or more processes",
        )


def check_yielded(task: Task[Any], losses: Losses, yielded: object) -> tuple[str, Mapping[str, Tensor]]:
    """What `losses`, the running training_step of `task`, has just yielded, if it has the form of a loss."""
    match yielded:
        case (str() as name, Mapping() as terms) if terms and all(isinstance(term, Tensor) for term in terms.values()):
            return name, terms
        case (str() as name, Mapping() as terms) if not terms:
            what = f"({name!r}, {{}}), which minimises nothing,"
        case (str() as name, Mapping() as terms):
            term = next(term for term, value in terms.items() if not isinstance(value, Tensor))
            what = f"a {type(terms[term]).__name__} as {name}/{term}"
        case (str() as name, other):
            what = f"a {type(other).__name__} under {name!r}"
        case _:
            what = f"a {type(yielded).__name__} as its losses,"
    raise UserError(
        f"{type(task).__name__}.training_step yields {what} at {yield_line(task, losses)}",
        "yield a network's name and its losses, each a tensor with a name: yield 'model', {'l1': loss}",
    )


def check_loss(name: str, loss: Tensor, networks: Mapping[str, Any]) -> None:
    """Whether `loss`, yielded for `name`, can be minimised."""
    if name not in networks:
        raise UserError(f"the task yielded a loss for {name!r}, but its networks are {', '.join(networks)}")
    if not torch.is_grad_enabled():
        raise UserError("the task yielded inside torch.no_grad()", "leave that block before the yield")
    if loss.ndim:
        raise UserError(f"the loss of {name!r} has shape {tuple(loss.shape)}", "yield scalars, means over the batch")
    if not loss.requires_grad:
        raise UserError(f"this loss depends on no parameter of {name!r}", "is there a detach() too many?")


def check_gradients(name: str, parameters: list[Tensor]) -> None:
    """Whether the loss of `name` reached it."""
    if all(parameter.grad is None for parameter in parameters):
        raise UserError(
            f"this loss depends on no parameter of {name!r}", "yield it under the name of the network that it trains"
        )


def refuse_not_finite(name: str, terms: Mapping[str, Tensor], step: int, accelerator: Accelerator) -> None:
    """Stop, on all processes, as the loss of one of them is no number."""
    of_processes: list[dict[str, float]] = gather_object([{term: value.item() for term, value in terms.items()}])
    rank = next(rank for rank, values in enumerate(of_processes) if not isfinite(sum(values.values())))
    where = f" on process {rank}" if accelerator.num_processes > 1 else ""
    raise NotFinite(
        name,
        f"the loss of {name!r} is not finite at step {step}{where}: "
        + ", ".join(f"{term} = {value:g}" for term, value in of_processes[rank].items()),
        "lower --lr or --clip-norm (a new --run can start from a checkpoint of this one: --resume), or look for bad "
        "values in the data",
    )


def asked(task: Task[Any], method: str, given: Any) -> dict[str, Any]:
    """What `method` of `task`, one of RETURNED, says of `given`.

    Raises:
        UserError: that is no dict of what it should be.
    """
    returned, (kinds, words) = getattr(task, method)(given), RETURNED[method]
    what = "None" if returned is None else f"a {type(returned).__name__}"
    if isinstance(returned, Mapping):
        wrong = [name for name, value in returned.items() if not isinstance(value, kinds)]
        if not wrong:
            return dict(returned)
        what = f"a {type(returned[wrong[0]]).__name__} as {wrong[0]!r}"
    raise UserError(
        f"{type(task).__name__}.{method} returns {what}, {defined(type(task), method)}",
        f"return a dict such as {words}; {{}} for nothing",
    )


def defined(kind: type, method: str) -> str:
    """Where `method` of the class `kind` is defined."""
    code = inspect.unwrap(getattr(kind, method)).__code__
    return f"at {code.co_filename}:{code.co_firstlineno} in {code.co_qualname}"


def yield_line(task: Task[Any], losses: Losses) -> str:
    """Where `losses`, the running training_step of `task`, has just yielded."""
    assert isinstance(losses, GeneratorType) and losses.gi_frame is not None
    code = type(task).training_step.__code__
    return f"{code.co_filename}:{losses.gi_frame.f_lineno} in {type(task).__name__}.training_step"
