"""From the name of a data set to its pictures, ready for a task: which split, cut how, with what in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Unpack

from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet, LoadOptions, count_classes
from launchbay.data.transforms import Crops, Fitted, Multiples, UnsuitablePictures

Open = Callable[..., ImageSet]
"""What an entry point of `launchbay.datasets` names: takes a split ("train", "val", "all") and the root folder."""


@dataclass(frozen=True)
class Source:
    """A task's `load`: opens the chosen data sets on demand, each split once (see `launchbay.data.Load`)."""

    train: Open
    train_root: Path | None
    validation: Open | None = None
    validation_root: Path | None = None
    opened: dict[str, ImageSet] = field(default_factory=dict)

    def open(self, split: str) -> ImageSet:
        if split not in self.opened:
            if split == "val" and self.validation is not None:
                images = self.validation("all", self.validation_root)
            else:
                images = self.train(split, self.train_root)
            if not isinstance(images, ImageSet):
                said = f"what opens the data set gives no ImageSet but an object of the class {type(images).__name__}"
                raise UserError(said, "return one, derived from launchbay.data.ImageSet")
            if not len(images):
                raise UserError(f"the data set has no picture in its {split!r} split", "choose another one with --data")
            self.opened[split] = images
        return self.opened[split]

    def __call__(self, split: str, **options: Unpack[LoadOptions]) -> ImageSet:
        images = self.open(split)
        if classes := options.get("classes", 0):
            check_labels(images, classes)
            check_same_classes(images, self.opened.get("train", images))
        try:
            return transform(images, options)
        except UnsuitablePictures as error:
            error.split = split
            raise


class OnDemand(ImageSet):
    """A data set that is not opened before a picture of it is wanted: training pictures need not be here to evaluate,
    unless figures of theirs are the baseline. It has samples: who opens it refuses an empty one.
    """

    def __init__(self, open: Callable[[], ImageSet]):
        self.open = cache(open)

    def __len__(self) -> int:
        return len(self.open())

    def image(self, index: int) -> Tensor:
        return self.open().image(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self.open().__getitems__(indices)


def transform(images: ImageSet, options: LoadOptions) -> ImageSet:
    """Return `images`, cut and fitted as `options` say.

    Raises:
        UnsuitablePictures: they cannot be.
    """
    size, channels, crop = options.get("size"), options.get("channels"), options.get("crop")
    if size is not None or channels not in (None, images.channels):
        images = Fitted(images, size=size, channels=channels)
    if crop is not None:
        return Crops(images, crop)
    return Multiples(images, options.get("multiple", 1), options.get("smallest", 1))


def check_labels(images: ImageSet, classes: int) -> None:
    count = count_classes(images)
    if classes != count:
        raise UserError(
            f"the data set has {count} classes ({', '.join(images.classes[:12])}), the network {classes}",
            f"train with --classes {count}",
        )


def check_same_classes(validation: ImageSet, training: ImageSet) -> None:
    if validation.classes != training.classes:
        theirs, ours = (", ".join(images.classes[:12]) for images in (validation, training))
        raise UserError(
            f"the validation set has other classes ({theirs}) than the training set ({ours})",
            "validate on the same classes; in folders, the sub-folders' names have to agree",
        )
