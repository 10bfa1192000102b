"""Teachers: copies of a network that follow it slowly (momentum encoders, targets of self-distillation)."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from launchbay import UserError
from launchbay.models.tensors import is_shared_out, whole_of


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the weights and statistics of `teacher` towards those of `student`: decay · teacher + (1 - decay) · student,
    as in Mean Teacher (Tarvainen and Valpola, 2017), MoCo and BYOL. Integers, such as counters, are taken over.

    Call it after the last `yield` of `training_step`. `student` is a network of the task, as it stands there: with
    several processes in its wrapper. Make the teacher with `copy.deepcopy(student).requires_grad_(False)`.

    Raises:
        UserError: the two are not alike, or `decay` is not in [0, 1].
    """
    if not 0 <= decay <= 1:
        raise UserError(f"follow: a decay of {decay} is not in [0, 1]", "0.99 to 0.9999 are usual")
    mine, theirs = tensors(teacher), tensors(student)
    if [tensor.shape for tensor in mine] != [tensor.shape for tensor in theirs]:
        raise UserError(
            f"follow: {type(teacher).__name__} has other weights than {type(student).__name__}",
            "make the teacher a copy of the student: copy.deepcopy(student).requires_grad_(False)",
        )
    moving = [(own, other) for own, other in zip(mine, theirs, strict=True) if own.is_floating_point()]
    move, shared = get_ema_multi_avg_fn(decay), any(map(is_shared_out, theirs))
    for some in [[pair] for pair in moving] if shared else [moving]:  # then one by one: each comes together first
        move([own for own, _ in some], [whole_of(other) for _, other in some], 0)
    for own, other in zip(mine, theirs, strict=True):
        if not own.is_floating_point():
            own.copy_(whole_of(other))


def tensors(network: nn.Module) -> list[Tensor]:
    """Return parameters and saved buffers, in an order that a wrapper around the network keeps."""
    return [value for value in network.state_dict().values() if isinstance(value, Tensor)]
