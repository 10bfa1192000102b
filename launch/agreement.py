"""What processes have to know of each other at each step, without waiting: ask now, read the answer later."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, distributed
from torch.distributed import ReduceOp


def reduced(value: Tensor, how: ReduceOp.RedOpType, accelerator: Accelerator) -> Callable[[], float]:
    """Ask for the sum, the largest... of `value`, a scalar, of all processes. The answer, the same on all, is what the
    result gives.

    What is done in between covers the way to the other processes, and from a GPU: reading a number from one at once
    would let it finish all that it was given, and idle until it gets more.
    """
    value = value.detach().float()
    work = None
    if accelerator.num_processes > 1:
        value = value.clone()
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
