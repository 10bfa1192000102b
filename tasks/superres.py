"""Super-resolution: recover a photograph from one that was shrunk by bicubic resampling.

Reached ×4 with the defaults, after two minutes (4,000 steps) on 2 CPU cores: 31.84 dB / 0.806 on the Y channel of the
embedded photographs' held-out regions (bicubic: 30.14 dB / 0.750); 30.64 dB / 0.868 on Set5 (bicubic: 28.42 / 0.810).
With examples/records/superres-x4.yaml and 261 photographs, after 16 minutes: 31.83 dB / 0.890 on Set5; with
superres-x4-hour.yaml, 20,000 steps: 31.87 dB / 0.891.
benchmarks/quality.md has more, with the commands.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.models.resize import Resampling, resample
from launchbay.models.spandrel_names import Size, SpandrelSuperRes
from launchbay.models.spandrel_networks import build
from launchbay.models.superres import ESPCN, SRCNN, SRResNet
from launchbay.tasks.base import Batch, Datasets
from launchbay.tasks.figures.metrics import WINDOW, load_metric_networks, luma, psnr, smallest_for, ssim
from launchbay.tasks.image_to_image import ImageToImage, self_ensemble
from launchbay.tasks.options import (
    DegradeOptions,
    EnsembleOptions,
    ImageMetricOptions,
    check_sizes,
    degraded,
    infer_degrade,
    size_of,
    with_sizes,
)

OWN = Size(32, 8)
"""Of srresnet, where nobody says otherwise."""


@dataclass(frozen=True)
class SuperResConfig(EnsembleOptions, ImageMetricOptions, DegradeOptions):
    scale: Literal[2, 3, 4] = 4
    """How many times larger the output is, in width and in height."""
    model: Literal["srcnn", "srcnn-post", "espcn", "srresnet"] | SpandrelSuperRes = "srresnet"
    """srcnn: bicubic upscale, then convolutions 9-5-5 (slow). srcnn-post: the same, with the upscale last.
    espcn: convolutions and a sub-pixel convolution. srresnet: residual blocks and a sub-pixel convolution.
    spandrel/NAME: a network that other upscalers load (an extra)."""
    width: Annotated[int | None, Gt(0)] = None
    """Channels. Default: 32 of srresnet (64 as published), as published of spandrel's."""
    blocks: Annotated[int | None, Ge(0)] = None
    """Residual blocks, or groups of layers. Default: 8 of srresnet (16 as published), as published of spandrel's."""
    loss: Literal["mse", "l1", "charbonnier"] = "l1"
    """charbonnier: a smooth L1, sqrt(error² + 0.001²)."""
    channels: Literal[1, 3] = 3
    """Channels of the pictures: 3 is RGB; 1 is grey, and makes colour pictures grey."""
    resampling: Resampling = "matlab"
    """Whose bicubic shrinks and enlarges. matlab: that of published low-resolution pictures, to the last grey level.
    pillow: the same kernel, other borders. torch: sharper (a = -0.75), not antialiased, in the network as well."""
    patch: Annotated[int, Gt(0)] = 72
    """Side of the square cropped from each photograph, in pixels of the large image; a multiple of the scale."""


class SuperRes(ImageToImage[SuperResConfig]):
    """The small picture is that which the data set gives as "input" (`--data pairs`), or is made, and rounded to 8
    bits, as if it had been saved. Figures with `_y` are on the Y channel of YCbCr with `scale` pixels shaved off each
    side, as papers report them; the others are on RGB without shaving.
    """

    defaults: ClassVar = {"data": "photos", "batch_size": 16, "steps": 4000, "lr": 1e-3}
    monitor: ClassVar = "psnr_y"
    baseline_name: ClassVar = "bicubic"
    uses: ClassVar = ("input",)

    def __init__(self, config: SuperResConfig):
        super().__init__(config)
        config = check_sizes(config, OWN, {"width": ["srresnet"], "blocks": ["srresnet"]})
        if config.patch % config.scale:
            raise UserError(
                f"--patch {config.patch} is not a multiple of --scale {config.scale}",
                f"try --patch {max(1, config.patch // config.scale) * config.scale}",
            )
        self.metrics = config.metrics
        self.model = build_network(config)

    @classmethod
    def infer_options(cls, config: SuperResConfig, images: ImageSet) -> SuperResConfig:
        return with_sizes(infer_degrade(config, config.channels), OWN)

    def datasets(self, load: Load) -> Datasets:
        load_metric_networks(self.config.metrics)
        scale, channels = self.config.scale, self.config.channels
        train = load("train", crop=self.config.patch, channels=channels, scale=scale)
        # After cutting and shaving there has to be room for SSIM's window.
        smallest = max(WINDOW + 3 * scale, smallest_for(self.config.metrics))
        val = load("val", multiple=scale, smallest=smallest, channels=channels, scale=scale)
        return degraded(train, val, self.config, scale)

    def degrade(self, batch: Batch) -> Tensor:
        if "input" in batch.tensors:
            return batch["input"]
        height, width = batch.image.shape[-2:]
        size = height // self.config.scale, width // self.config.scale
        return resample(batch.image, size, self.config.resampling)

    def restore(self, degraded: Tensor) -> Tensor:
        return self_ensemble(self.model, degraded) if self.config.tta else self.model(degraded)

    def baseline(self, degraded: Tensor) -> Tensor:
        height, width = degraded.shape[-2:]
        return resample(degraded, (height * self.config.scale, width * self.config.scale), self.config.resampling)

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        match self.config.loss:
            case "mse":
                return {"mse": mse_loss(output, target)}
            case "l1":
                return {"l1": l1_loss(output, target)}
            case "charbonnier":
                return {"charbonnier": ((output - target).square() + 1e-6).sqrt().mean()}

    def figures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        output_y, target_y = (shave(luma(image), self.config.scale) for image in (output, target))
        on_luma = {"psnr_y": psnr(output_y, target_y), "ssim_y": ssim(output_y, target_y)}
        return on_luma | super().figures(output, target)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        degraded, output, target = self.predict(batch)
        return {"input": degraded, "bicubic": self.baseline(degraded), "output": output, "target": target}


def build_network(config: SuperResConfig) -> nn.Module:
    sharp, channels = config.resampling == "torch", config.channels
    match config.model:
        case "srcnn":
            return SRCNN(config.scale, sharp=sharp, channels=channels)
        case "srcnn-post":
            return SRCNN(config.scale, upscale_last=True, sharp=sharp, channels=channels)
        case "espcn":
            return ESPCN(config.scale, channels=channels)
        case "srresnet":
            return SRResNet(config.scale, *size_of(config), sharp=sharp, channels=channels)
        case name:
            return build(name, config.scale, channels, size_of(config))


def shave(image: Tensor, border: int) -> Tensor:
    return image[..., border:-border, border:-border]
