"""What a training step yields: its losses are checked, and the line to fix is named."""

from collections.abc import Generator, Mapping
from types import GeneratorType

import torch
from torch import Tensor, nn

from launchbay import UserError
from launchbay.tasks.authors import AuthorError, describe_value
from launchbay.tasks.places import BASES, Place, locate


class IndivisibleBatch(UserError):
    """The `samples` of a batch, or those that a process has of it, do not divide into `parts` of one size."""

    def __init__(self, samples: int, parts: int):
        super().__init__(
            f"batch.split({parts}): the {samples} samples of a process do not divide into {parts} equal parts",
            f"choose a --batch-size that is a multiple of {parts} times the number of processes"
            if parts > 0
            else "split it into one part or more",
        )
        self.parts = parts


def check_rows(tensor: Tensor, samples: int) -> None:
    """Raise a UserError if `tensor`, which is to be gathered, has not one row for each of the `samples` of a process:
    rows of several processes would come in another order than those of one, or not in the same number.
    """
    if tensor.shape[:1] != (samples,):
        raise UserError(
            f"batch.gather got a tensor of {tuple(tensor.shape)}, not one row for each of {samples} samples",
            "gather what there is of each sample; choose rows, take means, or join tensors afterwards",
        )


def check_yielded(
    task: nn.Module, losses: Generator[object, None, None], yielded: object
) -> tuple[str, Mapping[str, Tensor]]:
    """Return what `losses`, the running training_step of `task`, has just `yielded`: a network's name and its terms.

    Raises:
        AuthorError: it has another form.
    """
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
        yield_place(task, losses),
    )


def check_loss(name: str, terms: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> list[str]:
    """Return the networks that the sum of `terms`, yielded under `name`, is minimised over.

    Raises:
        UserError: it cannot be.
    """
    named = name.split("+")
    if unknown := [network for network in named if network not in networks]:
        raise UserError(
            f"the task yielded a loss for {unknown[0]!r}, but its networks are {', '.join(networks)}",
            "yield one of these, or several joined by +",
        )
    if len(set(named)) < len(named):
        raise UserError(f"the task yielded a loss for {name!r}, which names a network twice", "name each once")
    if taken := {"grad_norm", "steps"} & terms.keys():
        raise UserError(f"{name}/{min(taken)} is a figure that launchbay logs itself", "give that loss another name")
    if not torch.is_grad_enabled():
        raise UserError("the task yielded inside torch.no_grad()", "leave that block before the yield")
    if shape := next((tuple(term.shape) for term in terms.values() if term.ndim), ()):
        raise UserError(f"the loss of {name!r} has shape {shape}", "yield scalars, means over the batch")
    if not any(term.requires_grad for term in terms.values()):
        raise UserError(f"this loss depends on no parameter of {name!r}", "look for a detach() or no_grad() too many")
    return named


def check_gradients(name: str, parameters: list[Tensor]) -> None:
    """Raise a UserError if the loss of network `name` has reached none of its `parameters`."""
    if all(parameter.grad is None for parameter in parameters):
        raise UserError(
            f"this loss depends on no parameter of {name!r}", "yield it under the name of the network that it trains"
        )


def yield_place(task: nn.Module, losses: Generator[object, None, None]) -> Place:
    """Return where `losses`, the running training_step of `task`, has just yielded."""
    assert isinstance(losses, GeneratorType) and losses.gi_frame is not None
    frame = losses.gi_frame
    if frame.f_globals["__name__"] in BASES:
        return locate(type(task), "training_step")
    return Place(frame.f_code.co_filename, frame.f_lineno, f"{type(task).__name__}.training_step")
