"""Pairs of pictures: what is to be restored, and what it should become. From two folders, or made of photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from launchbay import UserError
from launchbay.data import Folder, ImageSet, Photos, find_pictures, generator
from torch import Tensor


def paired(split: str, root: Path | None = None) -> "Pairs":
    """Return pictures of DIR/input and, of the same names and sizes, DIR/target; every tenth pair is for validation.
    Without --data-root: the photographs that come along, and dark and noisy versions of them.
    """
    if root is None:
        photographs = Photos(split)
        return Pairs(Dark(photographs), photographs)
    inputs, targets = root / "input", root / "target"
    check_names(inputs, targets)
    check_names(targets, inputs)
    return Pairs(Folder(split, inputs), Folder(split, targets))


def check_names(folder: Path, other: Path) -> None:
    """Raise a UserError if there are pictures in `folder` whose names are not in the `other` one."""
    names, others = ({file.relative_to(place) for file in find_pictures(place)} for place in (folder, other))
    if alone := sorted(names - others):
        said = f"{folder / alone[0]} has no partner in {other}" + (
            f", nor have {len(alone) - 1} more" * (len(alone) > 1)
        )
        raise UserError(said, "a pair has the same name in both; add what is missing, or take away what is left over")


class Pairs(ImageSet):
    """The pictures of `targets` as "image", those of `inputs` as "input"."""

    pictures = ("image", "input")

    def __init__(self, inputs: ImageSet, targets: ImageSet):
        self.inputs, self.targets = inputs, targets
        self.uniform = inputs.uniform and targets.uniform

    def __len__(self) -> int:
        return len(self.targets)

    def image(self, index: int) -> Tensor:
        return self.targets.image(index)

    def size(self, index: int) -> tuple[int, int]:
        return self.targets.size(index)

    def name(self, index: int) -> str:
        return self.targets.name(index)

    def fingerprint(self) -> str:
        return f"{self.targets.fingerprint()} {self.inputs.fingerprint()}"

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return super().__getitems__(indices) | {"input": self.inputs.__getitems__(indices)["image"]}


class Dark(ImageSet):
    """`images` as a camera sees them in a quarter of the light: dark and noisy."""

    def __init__(self, images: ImageSet):
        self.uniform = images.uniform
        self.darkened = [darken(images.image(number), number) for number in range(len(images))]

    def __len__(self) -> int:
        return len(self.darkened)

    def image(self, index: int) -> Tensor:
        return self.darkened[index]


def darken(image: Tensor, number: int) -> Tensor:
    """Return `image`, uint8 C×H×W, with a quarter of the light, and noise that follows from its `number`."""
    light = (image / 255) ** 2.2 / 4  # pixels are not proportional to light: 2.2 is the gamma of screens
    noise = torch.randn(image.shape, generator=generator("paired", number), dtype=torch.float32)
    seen = light + (0.004 * light + 0.001**2).sqrt() * noise  # that of single photons, and of the electronics
    return (seen.clamp(0, 1) ** (1 / 2.2) * 255).round().byte()
