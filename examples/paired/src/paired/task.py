"""Restoring pictures from pairs: each has an input and the target that it should become."""

from dataclasses import dataclass
from typing import ClassVar

from launchbay.models import UNet
from launchbay.tasks import Batch, ImageToImage
from torch import Tensor


@dataclass(frozen=True)
class PairedConfig:
    width: int = 16
    """Channels of the network at full size; it has four times as many at a quarter of it."""
    blocks: int = 1
    """Residual blocks at each size."""


class Paired(ImageToImage[PairedConfig]):
    defaults: ClassVar = {"data": "paired", "batch_size": 8, "steps": 400, "optimizer": "adamw", "lr": 2e-3}
    uses: ClassVar = ("input",)

    def __init__(self, config: PairedConfig):
        super().__init__(config)
        self.model = UNet(3, config.width, config.blocks)

    def degrade(self, batch: Batch) -> Tensor:
        return batch["input"]
