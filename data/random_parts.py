"""Random parts of pictures, of any size and form within limits, brought to one size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index
from launchbay.data.samples import Values, join
from launchbay.data.transforms import Transformed, apart, nearest, resize
from launchbay.data.unsuitable import check_one_size

RATIO = (3 / 4, 4 / 3)
"""Least and largest width / height of a random part."""


class ResizedCrops(Transformed):
    """A random part of each picture of `images`, brought to `side`×`side` pixels, drawn anew at every visit:
    torchvision's RandomResizedCrop (Szegedy et al., 2015, https://arxiv.org/abs/1409.4842), bilinear and antialiased.

    Args:
        area: the least and the largest share of the picture's area.
        ratio: the least and the largest width, divided by the height.
    """

    def __init__(self, images: ImageSet, side: int, area: tuple[float, float], ratio: tuple[float, float] = RATIO):
        super().__init__(images)
        check_one_size(images)
        self.side, self.area, self.ratio, self.uniform = side, area, ratio, True

    def size(self, index: int) -> tuple[int, int]:
        return self.side, self.side

    def to(self, device: torch.device) -> None:
        """Not at all: torch resizes 8-bit pictures on CPUs alone."""

    def apart(self, indices: Sequence[int]) -> list[Values]:
        return [self.part(*both) for both in zip(apart(self.images, indices), indices, strict=True)]

    def part(self, values: Values, index: int) -> Values:
        assert isinstance(index, Index)
        height, width = values["image"].shape[-2:]
        box = draw_box(height, width, self.area, self.ratio, index.generator())
        fitted = {name: resize(box.of(values[name]), self.side, self.side) for name in self.pictures}
        return {
            **values,
            **fitted,
            **{name: nearest(box.of(values[name]), self.side, self.side) for name in self.masks},
        }

    def __getitems__(self, indices: Sequence[int]) -> Values:
        return join(self.source, indices, self.apart(indices))


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pictures: Tensor) -> Tensor:
        return pictures[..., self.top : self.top + self.height, self.left : self.left + self.width]


def draw_box(
    height: int, width: int, area: tuple[float, float], ratio: tuple[float, float], random: torch.Generator
) -> Box:
    """Return the first of ten random rectangles that fits, or else the largest in the middle of allowed `ratio`."""
    low, high = (math.log(end) for end in ratio)
    for share, form, down, across in torch.rand(10, 4, generator=random, dtype=torch.float64).tolist():
        pixels = height * width * (area[0] + share * (area[1] - area[0]))
        aspect = math.exp(low + form * (high - low))
        wide, tall = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return Box(int(down * (height - tall + 1)), int(across * (width - wide + 1)), tall, wide)
    wide, tall = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return Box((height - tall) // 2, (width - wide) // 2, tall, wide)
