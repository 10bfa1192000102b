"""--accumulate: a batch is computed in parts. What a training step may not do then is refused, for all else learns what
it learns from whole batches; but for BatchNorm, which is said.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay import UserError, number_of
from launchbay.launch.checkpoint.task_state import digests, own_state
from launchbay.launch.config.options import OptimizationOptions
from launchbay.tasks.base import AnyTask, Losses

REMEDY = "leave --accumulate out; use a smaller --batch-size, or more processes"


def of_part(task: AnyTask, networks: Mapping[str, nn.Module], losses: Losses, *, with_state: bool) -> Losses:
    """Return `losses`, the training_step of `task` on a part of a batch.

    Raises:
        UserError: there are several, of which only the last would be minimised by itself; or, looked at only
            `with_state`, the task's own state has changed, where a teacher would follow, or a counter count, once for
            each part.
    """
    before = digests(own_state(task, networks)) if with_state else {}
    for number, yielded in enumerate(losses):
        if number:
            raise UserError("--accumulate: training_step takes several steps, whose gradients would add up", REMEDY)
        yield yielded
    after = digests(own_state(task, networks)) if with_state else {}
    if moved := [name for name, value in after.items() if before.get(name) != value]:
        named = ", ".join(moved[:3])
        raise UserError(f"--accumulate: training_step changes {named}, and would for each part of a batch", REMEDY)


def parts_of_batch(options: OptimizationOptions, processes: int) -> list[str]:
    """Return, in words, what makes BatchNorm see a part of a batch only."""
    several = (
        [f"{processes} processes without --sync-batchnorm"] if processes > 1 and not options.sync_batchnorm else []
    )
    return [*several, f"--accumulate {options.accumulate}"] if options.accumulate > 1 else several


def describe_statistics(networks: Iterable[nn.Module], options: OptimizationOptions, processes: int) -> list[str]:
    """Return a line on the statistics that BatchNorm in `networks` takes, if they are not of whole batches."""
    parts = parts_of_batch(options, processes)
    if not parts or not any(isinstance(module, _BatchNorm) for network in networks for module in network.modules()):
        return []
    samples = options.batch_size // options.accumulate // (1 if options.sync_batchnorm else processes)
    return [
        f"BatchNorm takes its statistics of {samples} samples, not of {options.batch_size} ({', '.join(parts)}): what "
        f"is learnt is not quite what whole batches teach"
    ]


@contextmanager
def explaining_batchnorm(options: OptimizationOptions, processes: int) -> Generator[None]:
    """Say what to do where BatchNorm gets a single value per channel, which has no variance.

    Raises:
        UserError: it does.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        of = f"a --batch-size of {options.batch_size}, {number_of(processes, 'process')}"
        raise UserError(
            f"a BatchNorm has to take its statistics of one sample, a single value per channel, which has no variance: "
            f"{of}, --accumulate {options.accumulate}",
            "give it two samples or more: a larger --batch-size, a smaller --accumulate or fewer processes",
        ) from error
