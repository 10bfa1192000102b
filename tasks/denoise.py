"""Denoising: recover a picture to which Gaussian noise was added.

Reached at σ = 0.1 on [-1, 1] on CIFAR-10's test set after 12 minutes (1,800 steps) on 2 CPU cores: 32.75 dB / 0.964;
33.25 dB / 0.967 with examples/records/denoise-cifar10.yaml (33.18 dB without --tta); the noisy pictures have
26.18 dB / 0.846.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.models.autoencoders import ConvAutoencoder, WideningAutoencoder, four_convolutions
from launchbay.models.residual import DnCNN, UNet
from launchbay.models.spandrel_names import Size, SpandrelDenoise
from launchbay.models.spandrel_networks import build
from launchbay.tasks.base import Batch, Datasets
from launchbay.tasks.figures.metrics import load_metric_networks, smallest_for
from launchbay.tasks.image_to_image import ImageToImage, self_ensemble
from launchbay.tasks.options import (
    DegradeOptions,
    EnsembleOptions,
    ImageMetricOptions,
    PatchOptions,
    check_sizes,
    degraded,
    infer_degrade,
    infer_patch,
    refuse_changed,
    size_of,
    with_sizes,
)

OWN = Size(32, 2)
"""Of networks of ours, where nobody says otherwise."""


@dataclass(frozen=True)
class DenoiseConfig(EnsembleOptions, ImageMetricOptions, PatchOptions, DegradeOptions):
    sigma: Annotated[float, Gt(0)] = 0.1
    """Standard deviation of the noise, in units of `pixels`."""
    pixels: Literal["signed", "unit"] = "signed"
    """The scale that sigma is on: black to white is -1 to 1 (signed), or 0 to 1 (unit)."""
    model: Literal["upsampling", "transposed", "conv4", "dncnn", "unet"] | SpandrelDenoise = "unet"
    """upsampling: autoencoder, its decoder by interpolation. transposed: autoencoder whose decoder widens from 8 to 16
    to 32 channels by transposed convolutions. conv4: two and two convolutions. dncnn, unet: correct the noisy picture,
    and are better. spandrel/NAME: a network that other programs load (an extra)."""
    width: Annotated[int | None, Gt(0)] = None
    """Channels. Default: 32 of conv4, dncnn (64 as published) and unet's largest scale, as published of spandrel's."""
    depth: Annotated[int, Ge(2)] = 9
    """Convolutions of dncnn (17 as published)."""
    blocks: Annotated[int | None, Gt(0)] = None
    """Blocks. Default: 2 residual ones of each of unet's five stages, as published of spandrel's."""
    loss: Literal["mse", "l1"] = "mse"
    """mse is what PSNR measures."""


class Denoise(ImageToImage[DenoiseConfig]):
    """The noisy picture is that which the data set gives as "input" (`--data pairs`), or made: then it is not clipped
    before the network sees it. Its own figures are of the clipped one, as a file would have it (about 0.2 dB more)."""

    defaults: ClassVar = {"data": "photos", "batch_size": 16, "steps": 1000, "lr": 1e-3}
    baseline_name: ClassVar = "noisy"
    uses: ClassVar = ("input",)

    def __init__(self, config: DenoiseConfig):
        super().__init__(config)
        uses = {"width": ["conv4", "dncnn", "unet"], "depth": ["dncnn"], "blocks": ["unet"]}
        config = check_sizes(config, OWN, uses)
        if config.degrade and (config.sigma, config.pixels) != (DenoiseConfig.sigma, DenoiseConfig.pixels):
            raise UserError("--sigma and --pixels change nothing with --degrade", "leave them out")
        self.metrics = config.metrics
        self.model = build_network(config)

    @classmethod
    def infer_options(cls, config: DenoiseConfig, images: ImageSet) -> DenoiseConfig:
        config = infer_patch(config, images)
        return with_sizes(infer_degrade(config, config.channels or images.channels), OWN)

    def datasets(self, load: Load) -> Datasets:
        load_metric_networks(self.config.metrics)
        config = self.config
        train = load("train", crop=config.patch, channels=config.channels, scale=1)
        validation = load("val", channels=config.channels, smallest=smallest_for(config.metrics), scale=1)
        if "input" in train.pictures and "input" in validation.pictures:
            refuse_changed(config, ("sigma", "pixels"), "as noisy pictures are given")
        return degraded(train, validation, config)

    def degrade(self, batch: Batch) -> Tensor:
        if "input" in batch.tensors:
            return batch["input"]
        deviation = self.config.sigma / (2 if self.config.pixels == "signed" else 1)
        return batch.image + deviation * batch.randn(*batch.image.shape[1:])

    def restore(self, degraded: Tensor) -> Tensor:
        return self_ensemble(self.model, degraded) if self.config.tta else self.model(degraded)

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"mse": mse_loss(output, target)} if self.config.loss == "mse" else {"l1": l1_loss(output, target)}


def build_network(config: DenoiseConfig) -> nn.Module:
    channels, (width, blocks) = config.channels or 3, size_of(config)
    match config.model:
        case "upsampling":
            return ConvAutoencoder(channels, (32, 64))
        case "transposed":
            return WideningAutoencoder(channels)
        case "conv4":
            return four_convolutions(channels, width)
        case "dncnn":
            return DnCNN(channels, width, config.depth)
        case "unet":
            return UNet(channels, width, blocks)
        case name:
            return build(name, 1, channels, Size(width, blocks))
