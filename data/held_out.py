"""A part of the training pictures that is not trained on: it chooses the best checkpoint, so that the pictures that are
reported have chosen nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from launchbay import UserError, number_of
from launchbay.data.base import ImageSet, digest
from launchbay.data.randomness import Index, generator

if TYPE_CHECKING:
    from launchbay.data.sources import Open


class Part(ImageSet):
    """Those of `images` that are at `places`."""

    def __init__(self, images: ImageSet, places: Sequence[int]):
        self.images, self.places = images, places
        self.classes, self.uniform = images.classes, images.uniform
        self.pictures, self.masks = images.pictures, images.masks
        self.scales, self.essential = images.scales, images.essential
        ends = np.cumsum(np.array(images.shards, np.int64))
        if len(ends):
            self.shards = np.bincount(np.searchsorted(ends, places, side="right"), minlength=len(ends)).tolist()

    def __len__(self) -> int:
        return len(self.places)

    @property
    def channels(self) -> int:
        return self.images.channels

    def image(self, index: int) -> Tensor:
        return self.images.image(self.places[index])

    def label(self, index: int) -> int | None:
        return self.images.label(self.places[index])

    def size(self, index: int) -> tuple[int, int]:
        return self.images.size(self.places[index])

    def name(self, index: int) -> str:
        return self.images.name(self.places[index])

    def fingerprint(self) -> str:
        return digest(self.images.fingerprint(), len(self), *self.places[:8])

    def to(self, device: torch.device) -> None:
        self.images.to(device)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return self.images.__getitems__([self.moved(index) for index in indices])

    def moved(self, index: int) -> int:
        place = self.places[index]
        return Index(place, index.key) if isinstance(index, Index) else place


def split(training: "Open", share: float) -> "tuple[Open, Open]":
    """Return two data sets: `training` without a `share` of its training pictures, and that share. Which these are is
    drawn once for all runs, whatever their seed.
    """

    def part(root: Path | None, *, held_out: bool) -> ImageSet:
        images = training("train", root)
        count = round(share * len(images))
        if not 0 < count < len(images):
            raise UserError(
                f"--hold-out {share:g} of {number_of(len(images), 'training picture')} leaves none on one side",
                "give another share, or leave it out",
            )
        order = torch.randperm(len(images), generator=generator("held out")).tolist()
        return Part(images, sorted(order[:count] if held_out else order[count:]))

    def without(split: str, root: Path | None = None) -> ImageSet:
        return part(root, held_out=False) if split == "train" else training(split, root)

    def held(split: str, root: Path | None = None) -> ImageSet:
        return part(root, held_out=True)

    return without, held
