"""Unmixing: recover two pictures, a digit and a photograph, from their mean.

Reached on MNIST and CIFAR-10 after 8 minutes (800 steps) on 2 CPU cores, with --second subtract and a pretrained
encoder: 28.8 dB for the digits and 28.6 dB for the photographs; 32.8 and 32.7 dB with examples/records/unmix.yaml, in
15 minutes; the mean taken for both has 12.1 dB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.data import ImageSet, Index, Load
from launchbay.data.mixture import Mixture
from launchbay.data.transforms import Transformed
from launchbay.models.unmix import SIDE, Multiscale, Transposed, Unmixer
from launchbay.tasks.answers import Answer, Pictures
from launchbay.tasks.base import Batch, CreateOptimizer, Datasets
from launchbay.tasks.figures.metrics import check_side, image_figures, load_metric_networks, quantize
from launchbay.tasks.figures.plots import text_picture
from launchbay.tasks.image_to_image import ImageToImage
from launchbay.tasks.options import ImageMetricOptions, check_unused

OUTPUTS = ("first", "second")
Decay = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class UnmixConfig(ImageMetricOptions):
    decoder: Literal["transposed", "multiscale"] = "multiscale"
    """transposed: four transposed convolutions from the encoder's 512 features, which say little of where things are.
    multiscale: from the maps of all of the encoder's scales."""
    width: Annotated[int, Gt(0)] = 48
    """Channels of multiscale's maps of the pictures' own size."""
    blocks: Annotated[int, Gt(0)] = 1
    """Residual blocks of multiscale at that size."""
    second: Literal["decode", "subtract", "subtract-untrained"] = "decode"
    """decode: a decoder for each picture. subtract: one for the first; the second is 2·mean - first.
    subtract-untrained: the same, but only the first is learned."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of Adam's averages of gradients and of their squares."""


class Unmix(ImageToImage[UnmixConfig]):
    """The encoder is timm's ResNet18: --weights timm/resnet18 starts it from its published weights.

    Figures end in the picture they are of; `psnr` is the mean of both. Pictures are in [0, 1]: the peak value is
    1. The baseline takes the mixture for the answer.
    """

    defaults: ClassVar = {"data": "glyphs+photos", "batch_size": 64, "steps": 400, "lr": 1e-3}
    baseline_name: ClassVar = "mixture"

    def __init__(self, config: UnmixConfig):
        super().__init__(config)
        check_unused(config, "decoder", {"width": ["multiscale"], "blocks": ["multiscale"]})
        decoder = Transposed if config.decoder == "transposed" else partial(Multiscale, config.width, config.blocks)
        self.classes: dict[str, tuple[str, ...]] = {}
        self.model = Unmixer(decoder, config.second != "decode")

    @classmethod
    def infer_options(cls, config: UnmixConfig, images: ImageSet) -> UnmixConfig:
        check_pairs(images)
        return config

    def datasets(self, load: Load) -> Datasets:
        load_metric_networks(self.config.metrics)
        check_side(self.config.metrics, SIDE)
        train, validation = load("train"), check_pairs(load("val"))
        pairs = validation.source if isinstance(validation, Transformed) else validation
        if isinstance(pairs, Mixture):
            self.classes = dict(zip(OUTPUTS, pairs.both_classes, strict=True))
        return train, validation

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {"model": create(self.model.parameters(), betas=self.config.betas)}

    def augment(self, batch: Batch) -> Batch:
        return batch

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image

    def target(self, batch: Batch) -> Tensor:
        return torch.cat([batch[name] for name in OUTPUTS], dim=1)

    def baseline(self, degraded: Tensor) -> Tensor:
        return torch.cat([degraded, degraded], dim=1)

    def reply(self, image: Tensor) -> Answer:
        """Return both pictures.

        Raises:
            UserError: the network takes pictures of one size only, and this has another.
        """
        height, width = image.shape[-2:]
        if self.config.decoder == "transposed" and (height, width) != (SIDE, SIDE):
            said = f"--decoder transposed takes pictures of {SIDE}×{SIDE} apart, not of {width}×{height}"
            raise UserError(said, "resize it, or train with --decoder multiscale")
        return Pictures(dict(zip(OUTPUTS, self.restore(image).chunk(2, dim=1), strict=True)))

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        pairs = zip(OUTPUTS, output.chunk(2, dim=1), target.chunk(2, dim=1), strict=True)
        terms = {name: mse_loss(one, other) for name, one, other in pairs}
        return {"first": terms["first"]} if self.config.second == "subtract-untrained" else terms

    def figures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        pairs = zip(OUTPUTS, output.chunk(2, dim=1), target.chunk(2, dim=1), strict=True)
        each = {name: image_figures({"psnr", *self.config.metrics}, one, other) for name, one, other in pairs}
        figures = {f"{metric}_{name}": each[name][metric] for metric in self.config.metrics for name in OUTPUTS}
        return {"psnr": (each["first"]["psnr"] + each["second"]["psnr"]) / 2} | figures

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        mixture, output, target = self.predict(batch)
        first, second = target.chunk(2, dim=1)
        first_output, second_output = output.chunk(2, dim=1)
        return {
            "mixture": quantize(mixture), "first": first, "its output": first_output, "second": second,
            "its output ": second_output, **self.captions(batch),
        }  # fmt: skip

    def preview_training(self, batch: Batch) -> dict[str, Tensor]:
        return {"mixture": quantize(batch.image), **{name: batch[name] for name in OUTPUTS}}

    def captions(self, batch: Batch) -> dict[str, Tensor]:
        """Return a column of the names of both pictures' classes, where there are some."""
        names = {
            output: [self.classes[output][label] for label in batch[f"{output}_label"].tolist()]
            for output in OUTPUTS
            if f"{output}_label" in batch.tensors and self.classes.get(output)
        }
        if not names:
            return {}
        return {"classes": torch.stack([text_picture("\n".join(both)) for both in zip(*names.values(), strict=True)])}


def check_pairs(images: ImageSet) -> ImageSet:
    """Return `images` if they are pairs.

    Raises:
        UserError: they are no pairs.
    """
    if OUTPUTS[0] not in images.__getitems__([Index(0, 0)]):
        raise UserError(
            "unmixing needs pairs, and this data set has single pictures",
            "--data (or --val-data) mixture, or A+B for two others, such as glyphs+photos",
        )
    return images
