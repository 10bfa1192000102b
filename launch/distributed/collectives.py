"""How processes agree: the one place where they talk to each other, wrappers of networks and the watchdog aside."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx
from torch.distributed import ReduceOp

from launchbay.launch.errors import Elsewhere, Signalled

T = TypeVar("T")
FAILED = 10_000
"""Beyond the number of any signal, and any other reason to stop."""


def on_main_process(function: Callable[[], T]) -> T:
    """Run `function` on the main process only and return its result on all of them; where it fails, fail on all.

    Raises:
        Elsewhere: on the other processes, where it fails.
        Signalled: on all of them, where a signal has ended it.
    """
    result: T | None = None
    failure: BaseException | None = None
    if PartialState().is_main_process:
        try:
            result = function()
        except (Exception, Signalled) as error:
            failure = error
    result, code = cast(tuple[T, int], broadcast_object_list([result, code_of(failure)]))
    if code:
        raise failure or elsewhere(code)
    return result


def code_of(failure: BaseException | None) -> int:
    """Return what to tell other processes of a `failure`: the worst of several is the largest."""
    return failure.number if isinstance(failure, Signalled) else FAILED * (failure is not None)


def elsewhere(code: int) -> BaseException:
    """Return what to raise for what another process has told."""
    return Elsewhere() if code == FAILED else Signalled(code)


def raise_on_all(function: Callable[[], T], accelerator: Accelerator) -> T:
    """Run `function`, in which no process waits for another, on all of them; where it fails on one, fail on all, once
    they are through: so they can still do together what is to be done then.

    Raises:
        Elsewhere: on those where it did not fail.
        Signalled: on all of them, where a signal has ended it on one.
    """
    result: T | None = None
    failure: BaseException | None = None
    try:
        result = function()
    except (Exception, Signalled) as error:
        failure = error
    mine = code_of(failure)
    worst = int(all_reduce_async(torch.tensor(mine, device=accelerator.device), ReduceOp.MAX, accelerator)())
    if worst:
        raise failure if failure is not None and mine == worst else elsewhere(worst)
    return cast(T, result)


def all_reduce_async(value: Tensor, how: ReduceOp.RedOpType, accelerator: Accelerator) -> Callable[[], float]:
    """Ask for the sum, the largest... of `value`, a scalar, over all processes. Return a function that waits for it.

    What is done in between covers the way to the other processes, and from a GPU: reading a number from one at once
    would let it finish all that it was given, and idle until it gets more.
    """
    value = value.detach().float()
    work = None
    if accelerator.num_processes > 1:
        value = value.clone()  # it is overwritten, and may be the loss itself
        work = distributed.all_reduce(value, how, async_op=True)
    if accelerator.device.type != "cuda":
        return lambda: wait_for(work, value)
    if work is not None:
        work.wait()  # it is the GPU that waits here
    value, copied = value.to("cpu", non_blocking=True), torch.cuda.Event()
    copied.record()
    return lambda: copied.synchronize() or float(value)


def wait_for(work: distributed.Work | None, value: Tensor) -> float:
    if work is not None:
        work.wait()
    return float(value)


def reduce(value: Tensor, how: Literal["sum", "mean"], accelerator: Accelerator) -> Tensor:
    """Return the sum or the mean of `value` over all processes."""
    return cast(Tensor, accelerator.reduce(value, how))


def mean_terms(terms: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """Return the mean over all processes of each term, a scalar."""
    stacked = torch.stack([value.detach().double() for value in terms.values()])
    return dict(zip(terms, reduce(stacked, "mean", accelerator).tolist(), strict=True))


def broadcast(value: Tensor) -> None:
    """Give `value` what it is on the main process."""
    whole = value.detach().contiguous()
    if whole.numel():
        distributed.broadcast(whole.view(-1).view(torch.uint8), 0)  # gloo does not know every type
    value.detach().copy_(whole)


def gather(value: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the rows of `value` of all processes, one process after the other."""
    return cast(Tensor, accelerator.gather(value))


def gather_with_gradients(rows: Tensor) -> Tensor:
    """Return `rows` of all processes, as many of each, one process after the other; gradients flow back to each."""
    return cast(Tensor, GatherRows.apply(rows))


class GatherRows(torch.autograd.Function):
    """Gather rows. The gradient of a row is the sum of what all processes make of it; as DDP then takes the mean over
    processes, a mean over the whole batch is differentiated as on one process, whether each process computes all of it
    or a share.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        of_processes = [
            torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())
        ]
        distributed.all_gather(of_processes, rows.contiguous())
        return torch.cat(of_processes)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


def gather_lists(values: list[T]) -> list[T]:
    """Return the values of all processes, one process after the other. They are pickled."""
    return cast(list[T], gather_object(values))
