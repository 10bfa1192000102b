"""Shapes: discs and squares in random colours, lit from above, drawn on request."""

from pathlib import Path

import torch
from launchbay import UserError
from launchbay.data import ImageSet, generator
from torch import Tensor

SIDE = 32


class MyPluginData(ImageSet):
    """Pictures of 32×32 pixels: 2,000 for training, 400 for validation. Each depends only on its number."""

    classes = ("disc", "square")

    def __init__(self, split: str, root: Path | None = None):
        if root is not None:
            raise UserError(f"these pictures are drawn, and have no --data-root ({root})", "leave it out")
        self.numbers = {"train": range(2000), "val": range(2000, 2400), "all": range(2400)}[split]

    def __len__(self) -> int:
        return len(self.numbers)

    def image(self, index: int) -> Tensor:
        number = self.numbers[index]
        radius, down, across, *colours = torch.rand(9, generator=generator("my-plugin", number)).tolist()
        radius = SIDE * (0.1 + 0.2 * radius)
        rows, columns = (torch.arange(SIDE) - SIDE * (0.3 + 0.4 * middle) for middle in (down, across))
        far = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).abs()
        inside = (far.square().sum(dim=0).sqrt() if number % 2 == 0 else far.amax(dim=0)) < radius
        shape, ground = torch.tensor(colours).view(2, 3, 1, 1)
        light = torch.linspace(1, 0.5, SIDE)[:, None]
        return (torch.where(inside, shape, ground) * light * 255).byte()

    def label(self, index: int) -> int:
        return self.numbers[index] % 2
