"""What processes have to know of each other. At each step without waiting: ask now, read the answer later."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, distributed
from torch.distributed import ReduceOp

from launchbay.launch.errors import Elsewhere

T = TypeVar("T")


def all_reduce_async(value: Tensor, how: ReduceOp.RedOpType, accelerator: Accelerator) -> Callable[[], float]:
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


def raise_on_all(function: Callable[[], T], accelerator: Accelerator) -> T:
    """Run `function`, in which no process waits for another, on all of them. Where it fails on one, all fail, once they
    are through: so they can still do together what is to be done then."""
    result: Any = None
    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:
        failure = error
    if all_reduce_async(torch.tensor(failure is not None, device=accelerator.device), ReduceOp.SUM, accelerator)():
        raise failure or Elsewhere
    return result


def mean_over_processes(terms: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The mean of each term, a scalar, over the processes."""
    stacked = torch.stack([value.detach().double() for value in terms.values()])
    return dict(zip(terms, accelerator.reduce(stacked, "mean").tolist(), strict=True))  # pyright: ignore


def on_main_process(function: Callable[[], T]) -> T:
    """Run `function` on the main process only; what it gives comes out on all of them, and where it fails, all do."""
    result: Any = None
    failure: Exception | None = None
    if PartialState().is_main_process:
        try:
            result = function()
        except Exception as error:
            failure = error
    result, failed = broadcast_object_list([result, failure is not None])
    if failed:
        raise failure or Elsewhere
    return result
