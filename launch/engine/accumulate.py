"""--accumulate: a batch is computed in parts. What a training step may not do then is refused, for all else learns what
it learns from whole batches.
"""

from collections.abc import Mapping

from torch import nn

from launchbay import UserError
from launchbay.launch.checkpoint.task_state import digests, own_state
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
