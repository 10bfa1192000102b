"""Pairs of pictures: what is to be restored, and what it should become. From two folders, or made of photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from launchbay.data import ImageSet, Pairs, Photos, generator
from torch import Tensor


def paired(split: str, root: Path | None = None) -> ImageSet:
    """Return the pairs in the folder `root`, as `--data pairs` finds them by their names. Without one: the photographs
    that come along, and dark and noisy versions of them.
    """
    return Pairs(split, root) if root else Darkened(Photos(split))


class Darkened(ImageSet):
    """The photographs of `targets` as "image", and as "input" what a camera sees of them in a quarter of the light."""

    pictures = ("image", "input")

    def __init__(self, targets: ImageSet):
        self.targets, self.uniform = targets, targets.uniform
        self.inputs = [darken(targets.image(number), number) for number in range(len(targets))]

    def __len__(self) -> int:
        return len(self.targets)

    def image(self, index: int) -> Tensor:
        return self.targets.image(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return super().__getitems__(indices) | {"input": torch.stack([self.inputs[index] for index in indices])}


def darken(image: Tensor, number: int) -> Tensor:
    """Return `image`, uint8 C×H×W, with a quarter of the light, and noise that follows from its `number`."""
    light = (image / 255) ** 2.2 / 4  # pixels are not proportional to light: 2.2 is the gamma of screens
    noise = torch.randn(image.shape, generator=generator("paired", number), dtype=torch.float32)
    seen = light + (0.004 * light + 0.001**2).sqrt() * noise  # that of single photons, and of the electronics
    return (seen.clamp(0, 1) ** (1 / 2.2) * 255).round().byte()
