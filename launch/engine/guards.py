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
from launchbay.launch.config.options import TrainOptions
from launchbay.tasks.authors import BASES, AuthorError, describe_value, locate, raise_author_error
from launchbay.tasks.base import AnyTask, Losses


class NotFinite(UserError):
    """The loss of network `name` is no number."""

    def __init__(self, name: str, message: str, hint: str):
        super().__init__(message, hint)
        self.name = name


def check_task(
    task: AnyTask, networks: Mapping[str, Any], optimizers: Mapping[str, Optimizer], options: TrainOptions
) -> None:
    """What can be known before the first step."""
    for name in ("monitor", "baseline_name"):
        if not isinstance(value := getattr(task, name), str):
            raise_author_error(task, name, f"is {value!r}, no string", f'write {name} = "a name", or leave it out')
    if hidden := [name for name in dict(task.named_children()) if hasattr(type(task), name)]:
        raise_author_error(
            task, "__init__", f"sets a module {hidden[0]!r}, which its class hides", "give it another name"
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
    if not inspect.isgeneratorfunction(type(task).training_step):
        raise_author_error(
            task, "training_step", "has to yield its losses, not return them", "yield 'model', {'l1': loss}"
        )
    if (accumulate := options.optimization.accumulate) > 1 and len(optimizers) > 1:
        raise UserError(
            f"--accumulate {accumulate} with {len(optimizers)} networks ({', '.join(optimizers)}): "
            "with parts of a batch they would no longer learn in turn",
            "use a smaller --batch-size, or more processes",
        )


def check_yielded(task: AnyTask, losses: Losses, yielded: object) -> tuple[str, Mapping[str, Tensor]]:
    """What `losses`, the running training_step of `task`, has just yielded, if it has the form of a loss."""
    match yielded:
        case (str() as name, Mapping() as terms) if terms and all(
            isinstance(term, str) and isinstance(value, Tensor) for term, value in terms.items()
        ):
            return name, terms
        case (str() as name, Mapping() as terms) if not terms:
            what = f"({name!r}, {{}}), which minimises nothing"
        case (str() as name, Mapping() as terms):
            wrong = [(term, value) for term, value in terms.items() if not isinstance(value, Tensor)]
            term, value = wrong[0] if wrong else next(item for item in terms.items() if not isinstance(item[0], str))
            what = f"{describe_value(value)} as {term!r} of {name!r}"
        case (str() as name, other):
            what = f"{describe_value(other)} under {name!r}"
        case _:
            what = f"{describe_value(yielded)} as its losses"
    raise AuthorError(
        f"{type(task).__name__}.training_step yields {what}",
        "yield a network's name and its losses, each a tensor with a name: yield 'model', {'l1': loss}",
        yield_line(task, losses),
    )


def check_loss(name: str, terms: Mapping[str, Tensor], networks: Mapping[str, Any]) -> None:
    """Whether the sum of `terms`, yielded for `name`, can be minimised."""
    if name not in networks:
        raise UserError(
            f"the task yielded a loss for {name!r}, but its networks are {', '.join(networks)}", "yield one of these"
        )
    if "grad_norm" in terms:
        raise UserError(f"{name}/grad_norm is the norm of the gradients of {name!r}", "give that loss another name")
    if not torch.is_grad_enabled():
        raise UserError("the task yielded inside torch.no_grad()", "leave that block before the yield")
    if shape := next((tuple(term.shape) for term in terms.values() if term.ndim), ()):
        raise UserError(f"the loss of {name!r} has shape {shape}", "yield scalars, means over the batch")
    if not any(term.requires_grad for term in terms.values()):
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


def yield_line(task: AnyTask, losses: Losses) -> str:
    """Where `losses`, the running training_step of `task`, has just yielded."""
    assert isinstance(losses, GeneratorType) and losses.gi_frame is not None
    if type(task).training_step.__module__ in BASES:
        return locate(type(task), "training_step")
    code = type(task).training_step.__code__
    return f"{code.co_filename}:{losses.gi_frame.f_lineno} in {type(task).__name__}.training_step"
