"""Degradations: what cameras, editors and web pages do to a picture, drawn by chance within given ranges. Each picture
goes through them by itself, on the CPU, in 64 bits and in whole grey levels at the end: the same pixels in any batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from launchbay.data.augment import GREY

Range = tuple[float, float]
MODES = ("area", "bilinear", "bicubic")
"""How pictures are resized: by the mean of what a pixel covers, or by interpolation, which skips pixels in between when
it shrinks, as many programs do."""


@dataclass(frozen=True)
class Draw:
    """Draws for one sample."""

    source: torch.Generator
    size: tuple[int, int]
    """(height, width) that the network takes."""

    def number(self, between: Range) -> float:
        return between[0] + torch.rand((), generator=self.source, dtype=torch.float64).item() * (
            between[1] - between[0]
        )

    def integer(self, between: Range) -> int:
        return int(self.number((between[0], between[1] + 1)))

    def pick(self, names: Sequence[str]) -> str:
        return names[self.integer((0, len(names) - 1))]


@dataclass(frozen=True)
class Operation:
    """Changes C×H×W of float64 in [0, 1]."""

    chance: float = 1.0

    def __call__(self, picture: Tensor, draw: Draw) -> Tensor:
        """Return what `chance` makes of it: `picture` changed, or as it is."""
        if draw.number((0, 1)) >= self.chance:
            return picture
        return self.change(picture, draw).clamp(0, 1)

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        return picture


@dataclass(frozen=True, kw_only=True)
class Blur(Operation):
    """Gaussian, its deviation in pixels; with a `second`, of two deviations at right angles, turned by any angle."""

    sigma: Range
    second: Range | None = None

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        one, turn = draw.number(self.sigma), draw.number((0, math.pi))
        other = one if self.second is None else draw.number(self.second)
        radius = math.ceil(3 * max(one, other))
        y, x = plane(radius)
        along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        return convolve(picture, torch.exp(-((along / one) ** 2 + (across / other) ** 2) / 2))


@dataclass(frozen=True, kw_only=True)
class Ringing(Operation):
    """What sharpening and hard compression leave beside edges: all frequencies above `cutoff`, in radians per pixel,
    cut off by a filter of `size` pixels, rounded to an odd number (Real-ESRGAN's sinc).
    """

    cutoff: Range
    size: Range = (21, 21)

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        cutoff, radius = draw.number(self.cutoff), draw.integer(self.size) // 2
        y, x = plane(radius)
        distance = (x**2 + y**2).sqrt()
        distance[radius, radius] = 1
        kernel = cutoff * torch.special.bessel_j1(cutoff * distance) / (2 * math.pi * distance)
        kernel[radius, radius] = cutoff**2 / (4 * math.pi)
        return convolve(picture, kernel)


@dataclass(frozen=True, kw_only=True)
class Resize(Operation):
    """Shrink or enlarge by `factor`."""

    factor: Range
    modes: tuple[str, ...] = MODES

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        factor = draw.number(self.factor)
        height, width = (max(1, round(side * factor)) for side in picture.shape[-2:])
        return resized(picture, (height, width), draw.pick(self.modes))


@dataclass(frozen=True, kw_only=True)
class Fit(Operation):
    """Resize to what the network takes."""

    modes: tuple[str, ...] = MODES

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        return resized(picture, draw.size, draw.pick(self.modes))


@dataclass(frozen=True, kw_only=True)
class Noise(Operation):
    """Gaussian, its deviation in grey levels; or Poisson, that of light of 255 particles for white, times a number.
    With the chance of `grey` the same in all channels.
    """

    gaussian: Range | None = None
    poisson: Range | None = None
    grey: float = 0.0

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        shape = (1, *picture.shape[1:]) if draw.number((0, 1)) < self.grey else picture.shape
        if self.gaussian is not None:
            noise = torch.randn(shape, generator=draw.source, dtype=torch.float64) / 255
            return picture + draw.number(self.gaussian) * noise
        assert self.poisson is not None
        light = brightness(picture) if shape != picture.shape else picture
        noise = torch.poisson(light * 255, generator=draw.source) / 255 - light
        return picture + draw.number(self.poisson) * noise


@dataclass(frozen=True, kw_only=True)
class Jpeg(Operation):
    """Compress with a `quality` from 1 to 100, and decode."""

    quality: Range

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        pixels, written = to_bytes(picture).permute(1, 2, 0).numpy(), BytesIO()
        image = Image.fromarray(pixels[..., 0] if len(picture) == 1 else pixels)
        image.save(written, "JPEG", quality=draw.integer(self.quality))
        read = torch.from_numpy(np.array(Image.open(written)))
        return read.double().view(*pixels.shape).permute(2, 0, 1) / 255


@dataclass(frozen=True, kw_only=True)
class OneOf(Operation):
    """One of `parts`, each by its chance, or none, by what is left."""

    parts: tuple[Operation, ...]

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        place = draw.number((0, 1))
        for part in self.parts:
            place -= part.chance
            if place < 0:
                return part.change(picture, draw)
        return picture


@dataclass(frozen=True, kw_only=True)
class AllOf(Operation):
    """All of `parts`, one after the other."""

    parts: tuple[Operation, ...]

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        for part in self.parts:
            picture = part(picture, draw)
        return picture


@dataclass(frozen=True, kw_only=True)
class AnyOrder(AllOf):
    """All of `parts`, in a random order."""

    def change(self, picture: Tensor, draw: Draw) -> Tensor:
        for place in torch.randperm(len(self.parts), generator=draw.source).tolist():
            picture = self.parts[place](picture, draw)
        return picture


def plane(radius: int) -> tuple[Tensor, Tensor]:
    """Return y and x of the pixels up to `radius` from a middle one."""
    line = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return y, x


def convolve(picture: Tensor, kernel: Tensor) -> Tensor:
    """Return C×H×W, each pixel the mean of those around it, weighted by `kernel`, of an odd side; the border goes on
    beyond itself. By Fourier's transform: in 64 bits a hundred times as fast as one product after the other.
    """
    radius = len(kernel) // 2
    around = pad(picture[None], [radius] * 4, mode="replicate")[0]
    sides = list(around.shape[-2:])
    product = torch.fft.rfft2(around) * torch.fft.rfft2(kernel / kernel.sum(), s=sides)
    return torch.fft.irfft2(product, s=sides)[..., 2 * radius :, 2 * radius :]


def resized(picture: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    return picture if picture.shape[-2:] == size else interpolate(picture[None], size, mode=mode)[0]


def brightness(picture: Tensor) -> Tensor:
    """1×H×W of C×H×W."""
    if len(picture) == 1:
        return picture
    return sum((channel * share for channel, share in zip(picture, GREY, strict=True)), torch.zeros(()))[None]


def to_bytes(picture: Tensor) -> Tensor:
    """uint8 of [0, 1]."""
    return (picture * 255).round().byte()


def degrade(picture: Tensor, operations: Sequence[Operation], draw: Draw) -> Tensor:
    """Return what `operations` make of `picture`, uint8 C×H×W, or floating point in [0, 1]: uint8 of `draw.size`."""
    changed = picture.double() / 255 if picture.dtype == torch.uint8 else picture.double()
    for operation in operations:
        changed = operation(changed, draw)
    return to_bytes(changed)
