"""Training steps, watched: which losses a task yields, and what minimising each of them moves."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from launchbay.launch.config.options import TrainOptions
from launchbay.launch.engine.step import Learner
from launchbay.tasks.base import AnyTask, Batch
from launchbay.tasks.losses import yield_place
from launchbay.tasks.places import Place


@dataclass(frozen=True)
class Minimised:
    """One loss of one step."""

    step: int
    network: str
    terms: tuple[str, ...]
    loss: float
    moved: frozenset[str]
    """The parameters of the task that are others now."""


class Watched(Learner):
    """A learner that takes down what it does."""

    def __init__(self, task: AnyTask, options: TrainOptions, accelerator: Accelerator, steps: int):
        super().__init__(task, options, accelerator, steps)
        self.seen: list[Minimised] = []
        self.reached: set[str] = set()
        for name, parameter in task.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda _, name=name: self.reached.add(name))

    def minimise(self, number: int, name: str, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        before = {where: parameter.detach().clone() for where, parameter in self.task.named_parameters()}
        norms = super().minimise(number, name, terms)
        after = self.task.named_parameters()
        moved = frozenset(where for where, parameter in after if not torch.equal(parameter, before[where]))
        loss = sum(value.item() for value in terms.values())
        self.seen.append(Minimised(number, name, tuple(terms), loss, moved))
        return norms


class Loss(NamedTuple):
    """A loss that a training step yields, unminimised, and the place that does."""

    network: str
    terms: dict[str, Tensor]
    place: Place


def losses(task: AnyTask, batch: Batch) -> list[Loss]:
    """Return all losses of a step, without taking it."""
    steps = task.training_step(batch)
    with closing(steps):
        return [Loss(name, terms, yield_place(task, steps)) for name, terms in steps]
