"""Pairs of MNIST and CIFAR-10 with their mean; `--data A+B` pairs any two data sets.

They are the data of unmixing: what is learned is to recover both pictures from the mean.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from launchbay import UserError, number_of
from launchbay.data.base import ImageSet, digest
from launchbay.data.files import Listed
from launchbay.data.randomness import Index
from launchbay.data.transforms import Crops, Fitted

SIDE, CHANNELS = 32, 3


class Mixture(ImageSet):
    """{"image": (first + second) / 2, float in [0, 1], "first" and "second": uint8}, all N×3×32×32; where the two sets
    have classes also "first_label" and "second_label", with their names in `both_classes`. Nothing else is taken of
    what the two sets give.

    Smaller pictures are enlarged, of larger ones a random square is taken. There are as many pairs as pictures in
    `second`: in training each visit draws another partner from `first`, in validation pictures of one number meet.
    """

    pictures = ("image", "first", "second")

    def __init__(self, first: ImageSet, second: ImageSet, shuffle: bool):
        if essential := (*first.essential, *second.essential):
            said = f"a mixture makes no use of {essential[0]!r}, which the pairs of one of its data sets are made of"
            raise UserError(said, "mix other data sets")
        self.first, self.second = (fit(images) for images in (first, second))
        self.both_classes = (first.classes, second.classes)
        self.shuffle = shuffle
        self.note = " + ".join(filter(None, map(understood, (first, second))))

    def __len__(self) -> int:
        return len(self.second)

    @property
    def channels(self) -> int:
        return CHANNELS

    def size(self, index: int) -> tuple[int, int]:
        return SIDE, SIDE

    def fingerprint(self) -> str:
        return digest(self.first.fingerprint(), self.second.fingerprint())

    def image(self, index: int) -> Tensor:
        return self.__getitems__([index])["image"][0]

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        first = self.first.__getitems__([self.partner(index) for index in indices])
        second = self.second.__getitems__(indices)
        both = {"first": first, "second": second}
        pair = {name: one["image"] for name, one in both.items()}
        labels = {f"{name}_label": one["label"] for name, one in both.items() if "label" in one}
        return {"image": (pair["first"] / 255 + pair["second"] / 255) / 2, **pair, **labels}

    def partner(self, index: int) -> int:
        if self.shuffle and isinstance(index, Index):
            return Index(int(torch.randint(len(self.first), (), generator=index.generator())), index.key)
        return Index(int(index) % len(self.first), index.key) if isinstance(index, Index) else index % len(self.first)


def understood(images: ImageSet) -> str:
    """Return what was understood of one of the two sets."""
    return images.describe([f"{number_of(len(images), 'picture')}"], "") if isinstance(images, Listed) else images.note


def fit(images: ImageSet) -> ImageSet:
    images = Fitted(images, channels=CHANNELS)
    height, width = images.size(0)
    return Fitted(images, size=SIDE) if images.uniform and min(height, width) < SIDE else Crops(images, SIDE)


def pair(first: Callable[..., ImageSet], second: Callable[..., ImageSet]) -> Callable[..., ImageSet]:
    """Return a data set of pairs, as an entry point would name it. Both are looked for under the same root."""

    def open(split: str, root: Path | None = None) -> Mixture:
        return Mixture(first(split, root), second(split, root), shuffle=split == "train")

    return open


def mnist_and_cifar10(split: str, root: Path | None = None) -> ImageSet:
    from launchbay.data.cifar10 import CIFAR10
    from launchbay.data.mnist import MNIST

    return pair(MNIST, CIFAR10)(split, root)
