"""Deblurring: recover a sharp photograph from a blurred one."""

from dataclasses import dataclass
from typing import ClassVar

from launchbay.tasks import Batch, ImageToImage
from torch import Tensor
from torch.nn.functional import l1_loss
from torchvision.transforms.v2.functional import gaussian_blur

from .network import Residual


@dataclass(frozen=True)
class MyPluginConfig:
    sigma: float = 2.0
    """Width of the blur, in pixels."""
    width: int = 32
    """Channels of the network between its first and its last layer."""


class MyPlugin(ImageToImage[MyPluginConfig]):
    defaults: ClassVar = {"data": "photos", "batch_size": 16, "steps": 300}

    def __init__(self, config: MyPluginConfig):
        super().__init__(config)
        self.model = Residual(config.width)

    def degrade(self, batch: Batch) -> Tensor:
        return gaussian_blur(batch.image, [9, 9], [self.config.sigma] * 2)

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"l1": l1_loss(output, target)}
