"""Generators and discriminators of the DCGAN kind (Radford et al., 2016). A generator takes the class that is asked for
as more numbers beside the latents; a discriminator is told the picture's.
"""

from itertools import pairwise
from math import expm1, log

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from torch.nn.utils.parametrizations import spectral_norm

from launchbay.models.initial import start_at_zero

SLOPE = 0.2
"""Of LeakyReLU, where its input is negative."""


class Generator(nn.Module):
    """N×`latent` standard normal numbers to N×C×S×S pictures in [-1, 1]: fully connected to 256 maps of half the size,
    a transposed convolution to 128, a convolution to the picture, tanh. 7,147,011 parameters for 3×32×32, 5,593,345 for
    1×28×28.

    With `noisy`, pixels also have a learned deviation each, softplus of a parameter, and forward takes standard normal
    noise for them (PresGAN: Dieng et al., "Prescribed Generative Adversarial Networks", 2019).
    """

    def __init__(self, channels: int, size: int, latent: int, noisy: bool = False):
        super().__init__()
        half = size // 2
        self.layers = nn.Sequential(
            nn.Linear(latent, 256 * half**2), nn.LeakyReLU(SLOPE), nn.Unflatten(1, (256, half, half)),
            nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE),
            nn.Conv2d(128, channels, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        if noisy:
            self.raw_deviation = nn.Parameter(torch.full((channels, size, size), -1.0))

    def forward(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        image = self.layers(latent)
        return image if noise is None else image + self.deviation() * noise

    def deviation(self) -> Tensor:
        return softplus(self.raw_deviation)

    @torch.no_grad()
    def bound_deviation(self) -> None:
        """Bring deviations back to between 0.01 and 0.3, as the authors do after each step. A bound within `deviation`
        would have no gradient beyond it, where training starts (0.31).
        """
        self.raw_deviation.clamp_(*(log(expm1(bound)) for bound in (0.01, 0.3)))


class Discriminator(nn.Module):
    """N×C×S×S pictures in [-1, 1] to N logits of being real: convolutions to 2·S, 4·S and 8·S maps (strides 1, 2, 2),
    LeakyReLU and dropout after each, one fully connected layer. 387,201 parameters for 3×32×32, 294,113 for 1×28×28.
    """

    def __init__(self, channels: int, size: int, dropout: float, spectral: bool):
        super().__init__()
        layers: list[nn.Module] = []
        widths = (channels, 2 * size, 4 * size, 8 * size)
        for before, after, stride in zip(widths, widths[1:], (1, 2, 2), strict=False):
            layers += [limited(nn.Conv2d(before, after, 3, stride=stride, padding=1), spectral), nn.LeakyReLU(SLOPE)]
            layers += [nn.Dropout(dropout)]
        features = 8 * size * (size // 4) ** 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), limited(nn.Linear(features, 1), spectral))

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return N logits; `condition` is N×0, since it is told no classes."""
        return self.layers(image).flatten()


class PyramidGenerator(nn.Module):
    """N×`latent` numbers to N×C×S×S pictures in [-1, 1] as Radford et al. do it: the smallest maps have most channels,
    each transposed convolution of 4×4 doubles the sides and halves the channels, down to `width`, with BatchNorm and
    ReLU; at last a convolution, tanh. Sides begin at 4 pixels, or at what is no longer even: 7 of 28. The numbers, the
    class among them, also choose how each map is scaled and shifted after BatchNorm.
    """

    def __init__(self, channels: int, size: int, latent: int, width: int):
        super().__init__()
        widths, side = pyramid(size, width)
        first = widths[-1]
        self.begin = nn.Sequential(nn.Linear(latent, first * side**2), nn.Unflatten(1, (first, side, side)))
        self.norms = nn.ModuleList(Modulation(maps, latent) for maps in reversed(widths))
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(reversed(widths))
        )
        self.draw = nn.Sequential(nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        maps = relu(self.norms[0](self.begin(latent), latent))
        for doubled, norm in zip(self.doublings, self.norms[1:], strict=True):
            maps = relu(norm(doubled(maps), latent))
        return self.draw(maps)


class Modulation(nn.Module):
    """BatchNorm whose scales and shifts are linear in the numbers that a picture is made of (Chen et al., "On Self
    Modulation for Generative Adversarial Networks", 2019, with one layer). It starts as plain BatchNorm.
    """

    def __init__(self, maps: int, numbers: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, affine=False)
        self.scale_and_shift = start_at_zero(nn.Linear(numbers, 2 * maps))

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(numbers)[..., None, None].chunk(2, dim=1)
        return self.norm(maps) * (1 + scale) + shift


class PyramidDiscriminator(nn.Module):
    """N×C×S×S pictures in [-1, 1] to N logits of being real: the pyramid the other way round, with LeakyReLU and, where
    `spectral`, each layer's slope bounded, as in SNGAN (Miyato et al., "Spectral Normalization", 2018, table 3). Where
    the class is told, features are also compared with a vector of it (Miyato and Koyama, "cGANs with Projection
    Discriminator", 2018).
    """

    def __init__(self, channels: int, size: int, width: int, spectral: bool, classes: int):
        super().__init__()
        widths, side = pyramid(size, width)
        layers = [limited(nn.Conv2d(channels, width, 3, padding=1), spectral), nn.LeakyReLU(SLOPE)]
        for before, after in pairwise(widths):
            layers += [limited(nn.Conv2d(before, after, 4, stride=2, padding=1), spectral), nn.LeakyReLU(SLOPE)]
        features = widths[-1] * side**2
        self.layers, self.verdict = nn.Sequential(*layers, nn.Flatten()), limited(nn.Linear(features, 1), spectral)
        self.told = limited(nn.Linear(classes, features, bias=False), spectral) if classes else None

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return N logits; `condition` is N×classes, one-hot."""
        features = self.layers(image)
        logits = self.verdict(features).flatten()
        return logits if self.told is None else logits + (self.told(condition) * features).sum(dim=1)


def limited(layer: nn.Module, spectral: bool) -> nn.Module:
    """Return `layer`, its slope bounded if `spectral` (Miyato et al., 2018)."""
    return spectral_norm(layer) if spectral else layer


def pyramid(size: int, width: int) -> tuple[list[int], int]:
    """Return (channels of the maps, from those as large as the picture on, side of the last ones) while sides are
    halved.
    """
    widths = [width]
    while size % 2 == 0 and size > 4:
        size, widths = size // 2, [*widths, 2 * widths[-1]]
    return widths, size
