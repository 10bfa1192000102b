"""From the name of a data set to its pictures, ready for a task: which split, cut how."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.crops import Crops, Multiples

Open = Callable[..., ImageSet]
"""What an entry point of `launchbay.datasets` names: takes a split ("train", "val", "all") and the root folder."""


@dataclass(frozen=True)
class Source:
    """A task's `load`: opens the chosen data sets on demand (see `launchbay.data.Load`)."""

    train: Open
    train_root: Path | None
    validation: Open | None = None
    validation_root: Path | None = None

    def __call__(self, split: str, *, crop: int | None = None, multiple: int = 1, smallest: int = 1) -> ImageSet:
        if split == "val" and self.validation is not None:
            images = self.validation("all", self.validation_root)
        else:
            images = self.train(split, self.train_root)
        if not len(images):
            raise UserError(f"the data set has no picture in its {split!r} split")
        if crop is not None:
            return Crops(images, crop)
        return Multiples(images, multiple, smallest)
