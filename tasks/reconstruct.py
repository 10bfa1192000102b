"""Reconstruction: a convolutional autoencoder gives back the picture it gets.

Reached on CIFAR-10's test set after 150 s (3,000 steps of 64) on one CPU core: 36.5 dB / 0.9996; with --width 8, which
leaves the border of two pixels blurred, 28.9 dB after as many steps.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import mse_loss

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.models.autoencoders import unpadded
from launchbay.tasks.base import Batch, Datasets
from launchbay.tasks.figures.metrics import load_metric_networks, smallest_for
from launchbay.tasks.image_to_image import ImageToImage
from launchbay.tasks.options import (
    DegradeOptions,
    ImageMetricOptions,
    PatchOptions,
    degraded,
    infer_degrade,
    infer_patch,
)

SMALLEST = 5
"""Pixels that two convolutions without padding need."""


@dataclass(frozen=True)
class ReconstructConfig(ImageMetricOptions, PatchOptions, DegradeOptions):
    width: Annotated[int, Gt(0)] = 32
    """Maps between the two convolutions. The code has 8: with as many in between, the border comes back blurred."""


class Reconstruct(ImageToImage[ReconstructConfig]):
    """Two 3×3 convolutions to 8 channels without padding, ReLU, mirrored by transposed convolutions; MSE. The baseline
    is each picture's mean colour: the input itself would be perfect.
    """

    defaults: ClassVar = {"data": "photos", "batch_size": 16, "steps": 1000, "lr": 5e-3}
    baseline_name: ClassVar = "mean colour"

    def __init__(self, config: ReconstructConfig):
        super().__init__(config)
        channels = config.channels or 3
        if config.width < channels:
            said = f"--width {config.width} is less than the {channels} channels of the pictures"
            raise UserError(said, f"give at least --width {channels}")
        self.metrics = config.metrics
        self.model = unpadded(channels, config.width)

    @classmethod
    def infer_options(cls, config: ReconstructConfig, images: ImageSet) -> ReconstructConfig:
        config = infer_patch(config, images)
        return infer_degrade(config, config.channels or images.channels)

    def datasets(self, load: Load) -> Datasets:
        load_metric_networks(self.config.metrics)
        config = self.config
        train = load("train", crop=config.patch, channels=config.channels)
        val = load("val", channels=config.channels, smallest=max(SMALLEST, smallest_for(config.metrics)))
        return degraded(train, val, config)

    def degrade(self, batch: Batch) -> Tensor:
        return batch["input"] if "input" in batch.tensors else batch.image

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"mse": mse_loss(output, target)}

    def baseline(self, degraded: Tensor) -> Tensor:
        return degraded.mean(dim=(2, 3), keepdim=True).expand_as(degraded)
