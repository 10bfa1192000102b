"""How processes agree: the one place where they talk to each other, wrappers of networks and the watchdog aside."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, TypeVar, cast

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx
from torch.distributed import ReduceOp

from launchbay.devices import can_pin
from launchbay.exact import exact
from launchbay.launch.distributed.groups import aside
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
    told = [result, code_of(failure)]
    if PartialState().num_processes > 1:
        distributed.broadcast_object_list(told, 0, aside())
    if code := cast(int, told[1]):
        raise failure or elsewhere(code)
    return cast(T, told[0])


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
    worst = largest(mine, accelerator)
    if worst:
        raise failure if failure is not None and mine == worst else elsewhere(worst)
    return cast(T, result)


def largest(value: int, accelerator: Accelerator) -> int:
    """Return the largest `value` of all processes."""
    shared = torch.tensor(value)
    if accelerator.num_processes > 1:
        distributed.all_reduce(shared, ReduceOp.MAX, aside())
    return int(shared)


def wait_for_all() -> None:
    """Wait until all processes have come here."""
    if PartialState().num_processes > 1:
        distributed.barrier(aside())


def all_reduce_async(value: Tensor, how: ReduceOp.RedOpType, accelerator: Accelerator) -> Callable[[], float]:
    """Ask for the sum, the largest... of `value`, a scalar, over all processes. Return a function that waits for it.

    What is done in between covers the way to the other processes, and from a GPU: reading a number from one at once
    would let it finish all that it was given, and idle until it gets more.
    """
    value, several = value.detach().float(), accelerator.num_processes > 1
    if can_pin(value.device):
        return answer_beside(value, how, several=several)
    if not several:
        return lambda: float(value)
    value = value.clone()  # it is overwritten, and may be the loss itself
    work = distributed.all_reduce(value, how, async_op=True)
    return lambda: wait_for(work, value)


def answer_beside(value: Tensor, how: ReduceOp.RedOpType, *, several: bool) -> Callable[[], float]:
    """`all_reduce_async` on a GPU, on a stream of its own: on the one that computes, what comes next, a backward pass,
    would begin only when the slowest of all processes has come so far.
    """
    side, copied = side_stream(value.device), torch.Event(value.device)
    side.wait_stream(torch.accelerator.current_stream(value.device))
    with side:
        value.record_stream(side)
        if several:
            value = value.clone()
            distributed.all_reduce(value, how)  # it is this stream that waits here, neither the host nor the other one
        number = value.to("cpu", non_blocking=True)
        copied.record(side)
    return lambda: copied.synchronize() or float(number)


@lru_cache
def side_stream(device: torch.device) -> torch.Stream:
    """Return the stream of `device` for what is not computed but asked."""
    return torch.Stream(device)


def wait_for(work: distributed.Work | None, value: Tensor) -> float:
    if work is not None:
        work.wait()
    return float(value)


def reduce(value: Tensor, how: Literal["sum", "mean"], accelerator: Accelerator) -> Tensor:
    """Return the sum or the mean of `value` over all processes."""
    return cast(Tensor, accelerator.reduce(value, how))


def mean_terms(terms: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """Return the mean over all processes of each term, a scalar."""
    stacked = torch.stack([exact(value.detach()) for value in terms.values()])
    return dict(zip(terms, reduce(stacked, "mean", accelerator).tolist(), strict=True))


def broadcast(value: Tensor) -> None:
    """Give `value` what it is on the main process."""
    whole = value.detach().contiguous()
    if whole.numel():
        distributed.broadcast(as_bytes(whole), 0)
    value.detach().copy_(whole)


def gather(value: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the rows of `value` of all processes, one process after the other."""
    return cast(Tensor, accelerator.gather(value))


def gather_on_main(value: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the `value` of each process, processes × ..., on the CPU of the main process, and aside of the training.
    On the others an empty 0 × ..., since none of them has any use for it.
    """
    value = value.cpu().contiguous()
    if accelerator.num_processes == 1:
        return value[None]
    whole = value.new_empty(accelerator.num_processes * accelerator.is_main_process, *value.shape)
    distributed.gather(as_bytes(value), [as_bytes(each) for each in whole] or None, 0, aside())
    return whole


def gather_with_gradients(rows: Tensor) -> Tensor:
    """Return `rows` of all processes, as many of each, one process after the other; gradients flow back to each."""
    return cast(Tensor, GatherRows.apply(rows))


def sum_with_gradients(value: Tensor) -> Tensor:
    """Return the sum of `value` over all processes; gradients flow back to each, as those of `gather_with_gradients`
    do. What a process gets does not grow with their number.
    """
    return cast(Tensor, Sum.apply(value))


class Sum(torch.autograd.Function):
    """The gradient of a term is the sum of what all processes make of the sum: which has a gradient itself, for a
    penalty on one.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return sum_with_gradients(gradients[0])


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
        return sum_with_gradients(gradients[0]).chunk(distributed.get_world_size())[distributed.get_rank()]


def are_same(digest: str) -> bool:
    """Return whether all processes have the same `digest`, hexadecimal, by its first 60 bits: they tell each other 16
    bytes, however many they are.
    """
    number = int(digest[:15], 16)
    largest_and_least = torch.tensor([number, -number])
    distributed.all_reduce(largest_and_least, ReduceOp.MAX, aside())
    return int(largest_and_least.sum()) == 0


def gather_lists(values: list[T]) -> list[T]:
    """Return the values of all processes, one process after the other. They are pickled."""
    if PartialState().num_processes == 1:
        return values
    of_processes: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(of_processes, values, aside())
    return [value for some in of_processes for value in some]


def hand_over(read: Callable[[], Mapping[str, Tensor]], keep: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    """Return on all processes the tensors that the main process can `read`, on the CPU; where it cannot, fail on all.
    Each of them, by its name, is given to `keep` as it comes, which returns what is needed of it.

    Raises:
        Elsewhere: on the other processes, where it fails.
    """
    mine: dict[str, Tensor] = {}

    def forms() -> dict[str, tuple[torch.Size, torch.dtype]]:
        mine.update(read())
        return {name: (tensor.shape, tensor.dtype) for name, tensor in mine.items()}

    kept = {}
    for name, (shape, dtype) in on_main_process(forms).items():
        tensor = mine.pop(name) if name in mine else torch.empty(shape, dtype=dtype)
        if PartialState().num_processes > 1 and tensor.numel():
            distributed.broadcast(as_bytes(tensor), 0, aside())
        kept[name] = keep(name, tensor)
    return kept


def as_bytes(tensor: Tensor) -> Tensor:
    """Return the memory of a contiguous `tensor`: gloo does not know every type of numbers."""
    return tensor.view(-1).view(torch.uint8)


WAIT_ASIDE = (on_main_process, largest, wait_for_all, are_same, gather_lists, gather_on_main, hand_over)
"""What waits for other processes aside of the training: for what may take long."""
