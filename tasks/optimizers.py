"""How a task gets the optimizers that the command line asks for."""

from collections.abc import Iterable
from typing import Any, Protocol

from torch.optim import Optimizer


class CreateOptimizer(Protocol):
    """Builds the optimizer that `--optimizer`, `--lr` and `--weight-decay` ask for; `options` (lr, betas...) win."""

    def __call__(self, parameters: Iterable[Any], **options: Any) -> Optimizer:
        """Return an optimizer of `parameters`, or of groups of them, as torch's optimizers take them.

        A group's "lr_scale" multiplies its learning rate: timm's `param_groups_layer_decay` gives such groups.
        """
        ...
