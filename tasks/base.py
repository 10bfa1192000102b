"""The task interface: all that a plugin author has to know. Devices, processes, steps and tracking are the engine's
business (`launch/`); a task never sees them.

A task is a class with a frozen dataclass of options, networks as attributes, and a `training_step`. Register it in your
package's pyproject.toml under `[project.entry-points."launchbay.tasks"]`; `launchbay tasks` then lists it. Whether it
is right is what `launchbay check NAME` tells. `Task` and `ImageToImage` are there to be subclassed; a finished task is
not: give it an option instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any, ClassVar, Generic, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.data.noise import normal, uniform
from launchbay.tasks.answers import Answer
from launchbay.tasks.authors import prepare_methods
from launchbay.tasks.losses import IndivisibleBatch, check_rows
from launchbay.tasks.optimizers import CreateOptimizer

Losses = Generator[tuple[str, dict[str, Tensor]], None, None]
"""What `training_step` is: a generator of (network's name, {term: scalar loss}), one for each optimizer step."""
Datasets = tuple[ImageSet, ImageSet | Mapping[str, ImageSet]]
"""The training and the validation set, or several validation sets by name."""
C = TypeVar("C")


@dataclass(frozen=True)
class Moment:
    """How far the training has come. The same on all processes, and after a resume."""

    step: int = 0
    """The training step that is taken, from 0; in validation, the number of steps taken so far."""
    progress: float = 0.0
    """`step` as a share of the run's length, from 0 to 1."""
    epoch: float = 0.0
    """Passes through the training set so far: 2.5 in the middle of the third."""


class Batch:
    """Samples of a data set, on the device: `image` is float N×C×H×W in [0, 1], `label` int64 N.

    Whatever else the data set gives goes by name, `batch["mask"]`. What it names in `pictures` is float in [0, 1] too.
    All else is as the data set gives it: masks and other tensors keep their type, lists of N stay lists, on the CPU.

    `rand` and `randn` are the only randomness a task needs. They depend on the seed, the sample and the number of the
    call alone, so that a run is the same on any number of processes and wherever it was interrupted; in validation a
    sample gets the same noise every time.

    `step`, `progress` and `epoch` (see `Moment`) let a loss or a noise level change in the course of the training.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        keys: Sequence[int],
        *,
        moment: Moment = Moment(),
        gather: Callable[[Tensor], Tensor] | None = None,
        pictures: Sequence[str] = ("image",),
        masks: Sequence[str] = (),
    ):
        self.tensors, self.keys, self.moment = dict(tensors), tuple(keys), moment
        self.step, self.progress, self.epoch = moment.step, moment.progress, moment.epoch
        self.pictures, self.masks = tuple(pictures), tuple(masks)
        self._gather, self._calls = gather, count()

    def __len__(self) -> int:
        """N: the samples of the batch that this process has."""
        return len(self.keys)

    def __getitem__(self, name: str) -> Any:
        """Return what the data set gives under a name: a tensor with the N samples first, or a list of N.

        Raises:
            UserError: the data set gives none of that name.
        """
        if name not in self.tensors:
            raise UserError(
                f"the data set gives no {name!r}, only {', '.join(self.tensors)}",
                "choose one that does with --data (or --val-data)",
            )
        return self.tensors[name]

    @property
    def image(self) -> Tensor:
        """The pictures: float N×C×H×W in [0, 1]."""
        return self["image"]

    @property
    def label(self) -> Tensor:
        """The classes: int64 N, from 0 on.

        Raises:
            UserError: the data set has no labels.
        """
        return self["label"]

    def with_image(self, image: Tensor) -> Batch:
        """Return this batch with another `image`. Its random numbers go on where this one's stopped."""
        return self._with({**self.tensors, "image": image}, self.keys)

    def map_pictures(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return this batch with `change` made to each of its pictures and masks, so that they still fit together:

            code = (batch.rand() * 8).long()
            batch = batch.map_pictures(lambda picture: dihedral(picture, code))

        `change` gets N×C×H×W of floating point numbers, and masks in their own type and form, N×H×W or N×C×H×W.
        """
        changed = {name: change(self.tensors[name]) for name in (*self.pictures, *self.masks)}
        return self._with({**self.tensors, **changed}, self.keys)

    def split(self, parts: int) -> list[Batch]:
        """Return the batch in so many `parts`, each with its share of the samples: for several optimizer steps of one
        network in a training step, such as those of a critic. Random numbers go on from part to part.

        Raises:
            UserError: the samples do not divide into parts of one size.
        """
        if parts < 1 or len(self) % parts:
            raise IndivisibleBatch(len(self), parts)
        # Every so many-th sample, not neighbours: so a part has the same samples on any number of processes.
        rows = [slice(part, None, parts) for part in range(parts)]
        return [self._with({name: value[row] for name, value in self.tensors.items()}, self.keys[row]) for row in rows]

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the rows of `tensor`, N×..., of all processes, in the order of the batch; gradients flow back to each.

        For what has to see the whole batch: a contrastive loss, a queue, a running mean. On one process it is `tensor`
        itself. For `training_step` alone, and at every step or never: processes wait for each other.

        Raises:
            UserError: it has not one row for each of the N samples.
        """
        check_rows(tensor, len(self))
        return tensor if self._gather is None else self._gather(tensor)

    def _with(self, tensors: Mapping[str, Any], keys: Sequence[int]) -> Batch:
        other = Batch(tensors, keys, moment=self.moment, gather=self._gather, pictures=self.pictures, masks=self.masks)
        other._calls = self._calls
        return other

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), N×`shape`: `rand()` is N numbers, `rand(3, 8, 8)` is N×3×8×8. In steps of 2^-24."""
        return self._drawn(uniform, shape)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal, N×`shape`."""
        return self._drawn(normal, shape)

    def _drawn(self, draw: Callable[[Sequence[int], int, int, torch.device], Tensor], shape: tuple[int, ...]) -> Tensor:
        drawn = draw(self.keys, next(self._calls), prod(shape), self.image.device)
        return drawn.view(len(self), *shape).to(torch.get_default_dtype())


class Task(nn.Module, ABC, Generic[C]):
    """A task to train: networks, data, losses and figures. The engine decides when and where.

    A network is a child module with trainable parameters. Its attribute name is also the name of its optimizer, of its
    losses, of its curves (`generator/adversarial`) and of its file (`generator.safetensors`). Call networks only as
    `self.name(...)`: on several processes the engine puts a distributed wrapper there, which has no other method.

    All else in the task's `state_dict()` is saved and restored too: a teacher, a queue, a counter, each a module or a
    buffer (`self.register_buffer`). It has to be the same on all processes: make it from `batch.gather(...)`. A module
    whose parameters are all frozen (`requires_grad_(False)`) stays in evaluation mode.
    """

    config: C
    """This run's options."""
    config_type: ClassVar[type]
    """The dataclass of options: what stands in the brackets of `Task[...]`, taken from there."""
    defaults: ClassVar[Mapping[str, object]] = {}
    """This task's defaults for options that all tasks share, such as {"batch_size": 64, "data": "photos"}."""
    monitor: ClassVar[str] = ""
    """The figure of `evaluate` or `summarize` that says which checkpoint is best: "psnr" (higher is better) or "-mse"
    (lower is). Among equals, and without one, the newest is. Of several validation sets it is that of the first, or of
    the one it names: "set5/psnr"."""
    uses: ClassVar[Sequence[str]] = ()
    """What it takes from a batch beside `image` and `label`: ("input",). A data set that makes no sense without
    something else, such as `--data pairs` without its inputs, is refused."""
    baseline_name: ClassVar[str] = "baseline"
    """What stands beside the result: the heading of its column."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            if (arguments := get_args(base)) and isinstance(arguments[0], type):
                cls.config_type = arguments[0]
        prepare_methods(cls)

    def __init__(self, config: C):
        super().__init__()
        self.config = config

    @classmethod
    def infer_options(cls, config: C, images: ImageSet) -> C:
        """Return `config` with those options filled in that follow from the training pictures (their channels,
        classes...).

        Called once, before the task is built; the result is what config.yaml keeps. `images` are not cut yet.
        """
        return config

    def networks(self) -> dict[str, nn.Module]:
        """Return networks by name: the attributes that are modules with a trainable parameter."""
        return {name: net for name, net in self.named_children() if any(p.requires_grad for p in net.parameters())}

    def datasets(self, load: Load) -> Datasets:
        """Return the training and the validation set, or several validation sets: `{"set5": ..., "set14": ...}`. Files
        are opened here, never in `__init__`.

        Called on every process: once, or where `--val-data` names several sets once for each of them, which
        `load("val")` then opens.
        """
        return load("train"), load("val")

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        """Return one optimizer per network, under the network's name. Override for other settings per network."""
        return {name: create(network.parameters()) for name, network in self.networks().items()}

    def learning_rate(self, network: str, progress: float, scheduled: float) -> float:
        """Return the factor by which the learning rates of `network` are multiplied in the step at `progress`, from 0
        to 1. `scheduled` is what --schedule and --warmup say. Override for a course of its own.
        """
        return scheduled

    @abstractmethod
    def training_step(self, batch: Batch) -> Losses:
        """Yield `(network's name, {term: scalar loss})` once per optimizer step.

        At each yield the engine minimises the sum of the terms over that network's parameters and takes the step before
        this function goes on, so what follows sees the updated network: that is where a teacher follows its student
        (`launchbay.tasks.follow`). One loss may move several networks: `yield "generator_a+generator_b", {...}`.

        Each term is logged as `name/term`, the mean where a name is yielded several times. Terms are means over the
        batch. Yield the same names in the same order at every step (processes would wait for each other), and not
        inside `torch.no_grad()`.
        """
        ...

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Return figures of each sample, every one a tensor of N values; the engine averages them over the validation
        set.

        Called in evaluation mode, without gradients, and with one sample at a time where sizes differ.

        What a figure would be without any network goes under "baseline/" and its name, and is shown beside it. Tensors
        of N×D are not averaged but handed to `summarize`, those of all samples together.
        """
        return {}

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        """Return figures of the validation set as a whole, from what `evaluate` gave as N×D for each sample of it: here
        on the CPU, in the order of the set. Runs on one process alone. What begins with "baseline/" is a baseline here
        too.
        """
        return {}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Return pictures of a validation sample, for the grid: a column of N×C×H×W, in [0, 1], per heading."""
        return {}

    def preview_training(self, batch: Batch) -> dict[str, Tensor]:
        """Return pictures of training samples as the networks get to see them, augmented, as `preview` does: for a grid
        that is drawn once, of the first batch.
        """
        return {}

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return pictures by name that belong to no sample, such as generated ones: C×H×W each, values in [0, 1].

        `collected` is that of `summarize`. Draw latents from `launchbay.data.generator("some name")`: then they are the
        same each time.
        """
        return {}

    def reply(self, image: Tensor) -> Answer:
        """Return what the trained task makes of pictures that somebody has, N×C×H×W in [0, 1] (C as its option
        `channels` says, or 3): `Pictures` or `Classes`, which `launchbay apply` writes or shows. Without gradients.
        """
        raise NotImplementedError


prepare_methods(Task)  # its former names; __init_subclass__ sees only classes that derive from it
AnyTask = Task[Any]
"""A task with whatever options."""
