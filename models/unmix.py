"""Networks that take a mixture of two pictures apart: N×3×32×32 in, N×6×32×32 out (first picture, second picture)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from launchbay.models.pretrained import timm_network
from launchbay.models.residual import ResidualBlock

ENCODER = "resnet18"
SIDE = 32


class Unmixer(nn.Module):
    """timm's ResNet18 and a decoder for each picture, or for the first only: then the second is what remains of the
    mixture, 2·mean - first.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, decoder: Callable[[], nn.Module], subtract: bool):
        super().__init__()
        # All scales, of which `Transposed` uses none but the last: one network, so that weights fit both.
        self.encoder = timm_network(ENCODER, num_classes=0)
        config: Any = self.encoder.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(config["std"]).view(-1, 1, 1), persistent=False)
        self.first, self.second = decoder(), None if subtract else decoder()

    def forward(self, mixture: Tensor) -> Tensor:
        scales: list[Tensor] = self.encoder.forward_intermediates(  # pyright: ignore
            (mixture - self.mean) / self.deviation, intermediates_only=True
        )
        first = self.first(mixture, scales)
        second = 2 * mixture - first if self.second is None else self.second(mixture, scales)
        return torch.cat([first, second], dim=1)


class Transposed(nn.Module):
    """The encoder's 512 features, averaged over the picture, as 2 maps of 16×16, then four transposed convolutions of
    3×3 with ReLU between: 16, 32 and 64 maps of 32×32, then the picture.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(2, 16, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(64, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, mixture: Tensor, scales: list[Tensor]) -> Tensor:
        features = scales[-1].mean(dim=(2, 3))
        return self.layers(features.view(-1, 2, SIDE // 2, SIDE // 2))


class Multiscale(nn.Module):
    """From the encoder's coarsest map upwards: enlarge, lay the encoder's map of that scale beside, convolve. The last
    scale is that of the mixture itself, so that edges stay where they are: it has `width` maps and `blocks` residual
    blocks. Adds to the mixture.
    """

    def __init__(self, width: int, blocks: int):
        super().__init__()
        encoder, widths = (512, 256, 128, 64, 64), (192, 128, 96, 64)
        self.look = nn.Conv2d(3, 32, 3, padding=1)
        before = (encoder[0], *widths)
        beside = (*encoder[1:], 32)
        after = (*widths, width)
        self.merge = nn.ModuleList(
            nn.Conv2d(b + s, a, 3, padding=1) for b, s, a in zip(before, beside, after, strict=True)
        )
        self.refine = nn.ModuleList(ResidualBlock(a) for a in after)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks - 1)))
        self.tail = nn.Conv2d(after[-1], 3, 3, padding=1)

    def forward(self, mixture: Tensor, scales: list[Tensor]) -> Tensor:
        features, *finer = reversed(scales)
        for merge, refine, beside in zip(self.merge, self.refine, (*finer, self.look(mixture)), strict=True):
            enlarged = interpolate(features, size=beside.shape[-2:])
            features = refine(merge(torch.cat([enlarged, beside], dim=1)).relu())
        return mixture + self.tail(self.blocks(features))
