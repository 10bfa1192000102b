"""--accumulate: a batch is computed in parts. What a training step may not do then is refused, for all else learns what
it learns from whole batches.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from launchbay import UserError
from launchbay.launch.checkpoint.task_state import own_state
from launchbay.launch.files import to_json
from launchbay.tasks.base import AnyTask, Losses

REMEDY = "leave --accumulate out; use a smaller --batch-size, or more processes"


def of_part(task: AnyTask, networks: Mapping[str, nn.Module], losses: Losses) -> Losses:
    """Return `losses`, the training_step of `task` on a part of a batch.

    Raises:
        UserError: there are several, of which only the last would be minimised by itself; or the task's own state has
            changed, where a teacher would follow, or a counter count, once for each part.
    """
    before = own_state(task, networks)  # kept until the end, so that no new tensor lies in the place of an old one
    marks = {name: mark(value) for name, value in before.items()}
    for number, yielded in enumerate(losses):
        if number:
            raise UserError("--accumulate: training_step takes several steps, whose gradients would add up", REMEDY)
        yield yielded
    for name, value in own_state(task, networks).items():
        if mark(value) != marks.get(name):
            raise UserError(f"--accumulate: training_step changes {name}, and would for each part of a batch", REMEDY)


def mark(value: object) -> object:
    """Return what changes if a value of a state_dict does: of a tensor its place, and how often it was written to."""
    return (value.data_ptr(), value._version) if isinstance(value, Tensor) else to_json(value)
