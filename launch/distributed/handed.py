"""A checkpoint that one process reads and hands to the others: it is read once, and nobody reads another one that has
its name on his machine.
"""

from collections.abc import Callable

from torch import Tensor

from launchbay.launch.distributed.collectives import hand_over, on_main_process
from launchbay.models.checkpoints import OpenedCheckpoint
from launchbay.models.saved import State
from launchbay.models.tensors import shared_like


class Handed(OpenedCheckpoint):
    """A verified checkpoint of which all processes ask for the same, in the same order; the main one reads it.

    Raises:
        Elsewhere: on the others, where that cannot be read.
    """

    def content(self) -> tuple[State, list[str]]:
        return on_main_process(super().content)

    def tensors(self, file: str, like: Callable[[str], object] = lambda _: None) -> dict[str, Tensor]:
        read = super().tensors
        return hand_over(lambda: read(file), lambda name, value: shared_like(value, like(name)))
