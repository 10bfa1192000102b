"""What processes have to know of each other. At each step without waiting: ask now, read the answer later."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, distributed
from torch.distributed import ReduceOp

from launchbay.launch.failure import Elsewhere

T = TypeVar("T")


def reduced(value: Tensor, how: ReduceOp.RedOpType, accelerator: Accelerator) -> Callable[[], float]:
    """Ask for the sum, the largest... of `value`, a scalar, of all processes. The answer, the same on all, is what the
    result gives.

    What is done in between covers the way to the other processes, and from a GPU: reading a number from one at once
    would let it finish all that it was given, and idle until it gets more.
    """
    value = value.detach().float()
    work = None
    if accelerator.num_processes > 1:
        value = value.clone()  # it is overwritten, and may be the loss itself
        work = distributed.all_reduce(value, how, async_op=True)
    if accelerator.device.type != "cuda":
        return lambda: answered(work, value)
    if work is not None:
        work.wait()  # it is the GPU that waits here
    value, copied = value.to("cpu", non_blocking=True), torch.cuda.Event()
    copied.record()
    return lambda: copied.synchronize() or float(value)


def answered(work: distributed.Work | None, value: Tensor) -> float:
    if work is not None:
        work.wait()
    return float(value)


def together(function: Callable[[], T], accelerator: Accelerator) -> T:
    """Run `function`, in which no process waits for another, on all of them. Where it fails on one, all fail, once they
    are through: so they can still do together what is to be done then."""
    result: Any = None
    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:
        failure = error
    if reduced(torch.tensor(failure is not None, device=accelerator.device), ReduceOp.SUM, accelerator)():
        raise failure or Elsewhere
    return result


def mean(terms: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The mean of each term, a scalar, over the processes."""
    stacked = torch.stack([value.detach().double() for value in terms.values()])
    return dict(zip(terms, accelerator.reduce(stacked, "mean").tolist(), strict=True))  # pyright: ignore
