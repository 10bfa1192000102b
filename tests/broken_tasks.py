"""Tasks that break the contract, each in one point: `BREAKS` has the check that notices."""

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from toys import Gan, Noise, NoOptions, Single
from wrong_toys import (
    CannotBeBuilt,
    Collides,
    DefaultIsText,
    Detached,
    DrawsNothing,
    EvaluatesBatches,
    EvaluatesNothing,
    ForgetsSuper,
    Misnames,
    NoDefault,
    NoNetwork,
    PreviewsNothing,
    PreviewsWithoutChannels,
    Returns,
    YieldsPictures,
)

from launchbay.data import Load, generator
from launchbay.tasks import Batch, CreateOptimizer, Datasets, ImageToImage, Losses, Task
from launchbay.tasks.figures.metrics import ImageMetric


@dataclass
class ThawedOptions:
    pass


class Thawed(Task[ThawedOptions]):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {}


@dataclass(frozen=True)
class StrangeOptions:
    kinds: frozenset[int] = field(default=frozenset({1, 2}))
    """What YAML has not."""


class StrangeOption(Single):
    config_type = StrangeOptions


@dataclass(frozen=True)
class SilentOptions:
    width: int = 3
    depth: int = 1
    """This one has help."""


class Silent(Single):
    config_type = SilentOptions


class Loose(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": (self.scale * self.model(batch.image) - batch.image).square().mean()}


class OneOptimizer(Gan):
    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {"generator": create(self.generator.parameters())}


class AsksForProcesses(Single):
    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        if distributed.is_initialized():
            distributed.barrier()
        return {}


class Growing(Noise):
    """Pictures that get brighter with each visit."""

    visits = 0

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        self.visits += 1
        return {"image": super().__getitems__(indices)["image"] + self.visits}


class UnrepeatableData(Single):
    def datasets(self, load: Load) -> Datasets:
        return Growing(10), Noise(5)


class Locked(Noise):
    def __init__(self, size: int):
        super().__init__(size)
        self.key = lambda index: index


class UnpicklableData(Single):
    def datasets(self, load: Load) -> Datasets:
        return Noise(10), Locked(5)


class NotFinite(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"log": (self.model(batch.image).mean() * 0).log()}


class NothingYielded(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield from ()


class SometimesMore(Single):
    def training_step(self, batch: Batch) -> Losses:
        output = self.model(batch.image)
        terms = {"mse": (output - batch.image).square().mean()}
        if batch.image[0, 0, 0, 0] > 0.5:
            terms["size"] = output.square().mean()
        yield "model", terms


class MovesBoth(Gan):
    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {name: create(self.parameters()) for name in ("generator", "discriminator")}


class WithSpare(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1)
        self.spare = nn.Linear(2, 2)


class Unused(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = WithSpare()


class HalfHeld(Single):
    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {"model": create([self.model.weight])}


class DrawsInStep(Single):
    def training_step(self, batch: Batch) -> Losses:
        noisy = batch.image + 0.1 * torch.randn_like(batch.image)
        yield "model", {"mse": (self.model(noisy) - batch.image).square().mean()}


class DrawsInFigures(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        noise = torch.from_numpy(np.random.rand(len(batch)))
        return {"error": super().evaluate(batch)["error"] + noise}


class Counted(Single):
    """Counts outside of itself."""

    steps = itertools.count(1)

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().mean() / next(self.steps)}


class Rounded(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": ((self.model(batch.image) * 255).round() / 255 - batch.image).square().mean()}


class UsesLayers(Single):
    def training_step(self, batch: Batch) -> Losses:
        model: Any = self.model
        decay = model.weight.square().mean()
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().mean(), "decay": decay}


class Squeezes(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": (self.model(batch.image) - batch.image).square().mean(dim=(1, 2, 3)).squeeze()}


class Sums(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().sum()}


class NotFiniteFigure(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": super().evaluate(batch)["error"] * float("nan")}


class Compares(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        error = super().evaluate(batch)["error"]
        return {"error": error - error.mean()}


class OneNoise(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        noise = torch.randn(batch.image.shape, generator=generator("noise"))
        return {"error": (self.model(batch.image + noise) - batch.image).square().mean(dim=(1, 2, 3))}


class Keeps(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(()))

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        self.seen += len(batch)
        return super().evaluate(batch)


class LoneBaseline(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {**super().evaluate(batch), "baseline/psnr": batch.image.mean(dim=(1, 2, 3))}


class WrongMonitor(Single):
    monitor: ClassVar = "psnr"


class ShowsSigned(Single):
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"signed": 2 * batch.image - 1}


class ShowsBatch(Single):
    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"walk": torch.zeros(4, 3, 8, 8)}


class EvenOnly(ImageToImage[NoOptions]):
    """Nothing wrong with it but that it does not say why it takes even sizes only."""

    defaults: ClassVar = {"batch_size": 4, "steps": 3}
    metrics: Sequence[ImageMetric] = ("psnr",)

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 1), nn.PixelShuffle(2))

    def datasets(self, load: Load) -> Datasets:
        return Noise(10), Noise(5)

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image / 2


class SinglePrecision(Single):
    def training_step(self, batch: Batch) -> Losses:
        output = self.model(batch.image.float())
        yield "model", {"mse": (output - batch.image).square().mean()}


class Traced(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * (2 if torch.compiler.is_compiling() else 1)


class OtherCompiled(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = Traced(3, 3, 3, padding=1)


class Forgets(Single):
    steps = 0

    def training_step(self, batch: Batch) -> Losses:
        self.steps += 1
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().mean() / self.steps}


class Queues(Single):
    """Keeps outputs of earlier steps, and learns by how many there are."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.queue: deque[Tensor] = deque(maxlen=8)

    def training_step(self, batch: Batch) -> Losses:
        output = self.model(batch.image)
        self.queue.append(output.detach())
        yield "model", {"mse": (output - batch.image).square().mean() / len(self.queue)}


class HidesTeacher(Single):
    """Learns from a running mean of itself, which is in a list so that it is no network of the task."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.teachers = [deepcopy(self.model)]

    def training_step(self, batch: Batch) -> Losses:
        (teacher,) = self.teachers
        with torch.no_grad():
            target = teacher(batch.image)
        yield "model", {"mse": (self.model(batch.image) - batch.image - 0.1 * target).square().mean()}
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), self.model.parameters(), strict=True):
                old.lerp_(new, 0.1)


class CountsForLater(Single):
    """Counts what would matter only after many steps."""

    seen = 0

    def training_step(self, batch: Batch) -> Losses:
        self.seen += 1
        weight = 0.1 if self.seen > 1000 else 1.0
        yield "model", {"mse": weight * (self.model(batch.image) - batch.image).square().mean()}


class DrawsFromItsOwn(Single):
    """Draws from a generator of its own, on from where that stopped."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.source = torch.Generator().manual_seed(0)

    def training_step(self, batch: Batch) -> Losses:
        weight = torch.rand((), generator=self.source)
        yield "model", {"mse": weight * (self.model(batch.image) - batch.image).square().mean()}


class TiesLate(nn.Module):
    """Two layers that get the same weights when they are first trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            self.second.weight = self.first.weight
        return self.second(self.first(image))


class TiedLate(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = TiesLate()


class Minds(Single):
    """What it learns next depends on when it was evaluated."""

    weight = 1.0

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        self.weight = 0.5
        return super().evaluate(batch)

    def training_step(self, batch: Batch) -> Losses:
        output = self.model(batch.image)
        yield "model", {"mse": (output - batch.image).square().mean(), "size": self.weight * output.square().mean()}


class Counts(nn.Conv2d):
    """Counts the samples that it has seen: on several processes, its own."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            self.seen += len(input)
        return super().forward(input) * (1 + self.seen / 100)


class CountsSamples(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = Counts()


BREAKS: dict[type[Task[Any]], str] = {
    Collides: "options_are_declared",
    DefaultIsText: "options_are_declared",
    NoDefault: "options_are_declared",
    Thawed: "options_are_declared",
    CannotBeBuilt: "it_can_be_built",
    ForgetsSuper: "it_can_be_built",
    NoNetwork: "it_can_be_built",
    Loose: "it_can_be_built",
    OneOptimizer: "it_can_be_built",
    StrangeOption: "options_go_through_yaml",
    Silent: "each_option_has_help",
    AsksForProcesses: "processes_are_not_its_business",
    UnrepeatableData: "samples_repeat_and_travel",
    UnpicklableData: "samples_repeat_and_travel",
    Returns: "it_can_be_built",
    Misnames: "steps_can_be_taken",
    Detached: "steps_can_be_taken",
    YieldsPictures: "steps_can_be_taken",
    NotFinite: "steps_can_be_taken",
    NothingYielded: "steps_can_be_taken",
    SometimesMore: "losses_keep_their_order",
    MovesBoth: "a_loss_moves_only_its_network",
    Unused: "each_parameter_learns",
    HalfHeld: "each_parameter_learns",
    DrawsInStep: "randomness_comes_from_the_batch",
    DrawsInFigures: "randomness_comes_from_the_batch",
    Rounded: "the_loss_falls",
    UsesLayers: "networks_are_only_called",
    Counted: "a_step_repeats_bit_for_bit",
    EvaluatesBatches: "figures_are_of_samples",
    EvaluatesNothing: "figures_are_of_samples",
    NotFiniteFigure: "figures_are_of_samples",
    LoneBaseline: "baselines_stand_beside_figures",
    WrongMonitor: "monitor_is_a_figure",
    DrawsNothing: "pictures_are_well_formed",
    PreviewsNothing: "pictures_are_well_formed",
    PreviewsWithoutChannels: "pictures_are_well_formed",
    ShowsSigned: "pictures_are_well_formed",
    ShowsBatch: "pictures_are_well_formed",
    EvenOnly: "odd_sizes_are_restored_or_refused",
    Keeps: "evaluation_changes_nothing",
    SinglePrecision: "precisions_can_be_chosen",
    Squeezes: "a_batch_of_one_is_enough",
    Sums: "losses_are_means_over_samples",
    Compares: "figures_do_not_depend_on_the_batch",
    OneNoise: "figures_do_not_depend_on_the_batch",
    OtherCompiled: "networks_can_be_compiled",
    Forgets: "a_checkpoint_holds_everything",
    Queues: "a_checkpoint_holds_everything",
    HidesTeacher: "a_checkpoint_holds_everything",
    CountsForLater: "a_checkpoint_holds_everything",
    DrawsFromItsOwn: "a_checkpoint_holds_everything",
    TiedLate: "a_checkpoint_holds_everything",
    Minds: "a_run_goes_on_bit_for_bit",
}
