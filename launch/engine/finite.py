"""A loss or a gradient that is no number ends a run before it reaches the weights; the samples to blame are named."""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from math import isfinite

import torch
from accelerate import Accelerator
from torch import Tensor

from launchbay import UserError
from launchbay.launch.distributed.collectives import gather_lists
from launchbay.tasks.base import AnyTask, Batch

SCALE_OF_ONE = 1.0
"""From here on fp16 gradients are not scaled up any more: what is infinite is so by itself."""


class NotFinite(UserError):
    """The loss of `name`, one network or several joined by "+", or its gradient (`what`) is not a finite number."""

    def __init__(self, name: str, what: str, message: str, hint: str):
        super().__init__(message, hint)
        self.name, self.what = name, what


def raise_not_finite(name: str, terms: Mapping[str, Tensor], step: int, accelerator: Accelerator) -> None:
    """Raise NotFinite on all processes, as the loss of one of them is not a finite number."""
    of_processes = gather_lists([{term: value.item() for term, value in terms.items()}])
    rank = next(rank for rank, values in enumerate(of_processes) if not isfinite(sum(values.values())))
    where = f" on process {rank}" if accelerator.num_processes > 1 else ""
    raise NotFinite(
        name,
        "loss",
        f"the loss of {name!r} is not finite at step {step}{where}: "
        + ", ".join(f"{term} = {value:g}" for term, value in of_processes[rank].items()),
        "lower --lr, bound gradients by --clip-norm, or look for bad values in the data",
    )


def check_norms(
    name: str, terms: Mapping[str, Tensor], norms: Mapping[str, Tensor], step: int, accelerator: Accelerator
) -> dict[str, float]:
    """Check that the gradients of networks, of which these are the `norms`, are numbers, and return these: they are the
    same on all processes, hence so is what comes of it. It is here that a step waits for a GPU. With fp16 a step whose
    gradients overflow is left out, and the next ones are scaled up less; that is an end only where they are not scaled
    up at all.

    Raises:
        NotFinite: one is not, though the loss of `name` with these `terms` is.
    """
    values: list[float] = torch.stack(tuple(norms.values())).tolist() if norms else []
    known = dict(zip(norms, values, strict=True))
    bad = [(network, norm) for network, norm in known.items() if not isfinite(norm)]
    scaler = accelerator.scaler
    if not bad or (scaler is not None and scaler.get_scale() > SCALE_OF_ONE):
        return known
    network, norm = bad[0]
    raise NotFinite(
        name,
        "gradient",
        f"the gradient of {network!r} is not finite at step {step}: its norm is {norm:g}, though the loss is a number: "
        + ", ".join(f"{term} = {value:g}" for term, value in terms.items()),
        "a root, a norm or a logarithm has no derivative at 0, nor has a division by it: add a small number inside, "
        "such as (x + 1e-8).sqrt(); or lower --lr",
    )


def bad_samples(
    task: AnyTask, error: NotFinite, parameters: Sequence[Tensor], micro_batches: Sequence[Batch]
) -> list[int]:
    """Return the keys of those samples of `micro_batches` that have by themselves what `error` says: a loss that is no
    number, or one whose gradient for the `parameters` is none.
    """
    bad = []
    for batch in micro_batches:
        for place, sample in enumerate(batch.keys):
            values = {name: value[place : place + 1] for name, value in batch.tensors.items()}
            one = Batch(values, [sample], moment=batch.moment, pictures=batch.pictures, masks=batch.masks)
            found: list[Tensor | None] = []
            with suppress(Exception), closing(task.training_step(one)) as losses:  # some tasks need more
                terms = next(terms for network, terms in losses if network == error.name)
                found += terms.values()
                if error.what == "gradient":
                    loss = torch.stack(tuple(terms.values())).sum()
                    found += torch.autograd.grad(loss, parameters, allow_unused=True)
            if not all(value.isfinite().all() for value in found if value is not None):
                bad.append(sample)
    return bad
