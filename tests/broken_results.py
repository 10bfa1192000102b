"""Tasks whose results break the contract, each in one point: `BREAKS` has the check that notices."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from toys import Noise, NoOptions, Single
from wrong_toys import DrawsNothing, EvaluatesBatches, EvaluatesNothing, PreviewsNothing, PreviewsWithoutChannels

from launchbay.data import Load, generator
from launchbay.tasks import Batch, Datasets, ImageToImage, Losses, Task
from launchbay.tasks.figures.metrics import ImageMetric


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
    TiedLate: "a_checkpoint_holds_everything",
    Minds: "a_run_goes_on_bit_for_bit",
}
