"""From the name of a data set to its pictures, ready for a task: which split, cut how, with what in them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Unpack

from torch import Tensor

from launchbay import UserError, number_of
from launchbay.data.base import ImageSet, LoadOptions, count_classes
from launchbay.data.files import DamagedPictures, Listed, without_damaged
from launchbay.data.folder import Folder
from launchbay.data.held_out import Part
from launchbay.data.pairs import Pairs, at_scale
from launchbay.data.random_parts import RATIO, ResizedCrops
from launchbay.data.remarks import on_colours, on_darkness, on_orientation
from launchbay.data.tables import Table
from launchbay.data.transforms import Crops, Fitted, Multiples
from launchbay.data.unsuitable import UnsuitablePictures
from launchbay.data.words import some_of

SIBLINGS = (Folder, Pairs, Table)
"""Sets that open their other splits; one derived from them may know more than they do."""
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
    damaged: dict[str, DamagedPictures] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    """What is to be said of how pictures are cut, by split."""
    channels: dict[str, int | None] = field(default_factory=dict)
    """How many channels a task asked for, by split."""
    skip_damaged: bool = False

    def open(self, split: str) -> ImageSet:
        """Return the pictures of a split as they are. What is damaged is told when they are loaded for a task, which
        says what else is wrong with them.
        """
        if split not in self.opened:
            try:
                anew = partial(self.open_anew, split)
                images = without_damaged(anew) if self.skip_damaged else anew()
            except DamagedPictures as error:
                if error.rest is None:
                    raise
                images, self.damaged[split] = error.rest, error
            if not isinstance(images, ImageSet):
                said = f"what opens the data set gives no ImageSet but an object of the class {type(images).__name__}"
                raise UserError(said, "return one, derived from launchbay.data.ImageSet")
            if not len(images):
                raise UserError(f"the data set has no picture in its {split!r} split", "choose another data set")
            self.opened[split] = images
        return self.opened[split]

    def open_anew(self, split: str) -> ImageSet:
        if split == "val" and self.validation is not None:
            return self.validation("all", self.validation_root)
        training = self.opened.get("train")
        if split == "val" and isinstance(training, Listed) and type(training) in SIBLINGS:
            return training.sibling(split)  # as it was when it was opened, and looked through once
        return self.train(split, self.train_root)

    def describe(self, *, choosable: bool = False) -> list[str]:
        """Return a line on each folder that was opened: its classes, what its pictures are for, what is left out; and
        on their colours, and how they are cut.

        Args:
            choosable: the task has an option --channels.
        """
        asked = [(self.opened[split], channels) for split, channels in self.channels.items()]
        found = (
            on_colours(asked, choosable=choosable),
            on_orientation(self.opened.values()),
            on_darkness(self.opened["train"]) if "train" in self.opened else "",
        )
        return [*self.understood(), *filter(None, [*found, *self.remarks.values()])]

    def understood(self) -> list[str]:
        if line := self.noted():
            return [line]
        train, validation = (self.opened.get(split) for split in ("train", "val"))
        if isinstance(validation, Part):  # held out of the training pictures, of which another source tells
            return []
        trained, validated = listed(train), listed(validation)
        to_train = f"{len(train):,} to train" if train and trained else ""
        to_validate = f"{len(validation):,} to validate" if validation and validated else ""
        if self.validation is None:
            first = trained or validated
            return [first.describe([to_train, to_validate], first.layout.note)] if first else []
        lines: list[str] = []
        if train and trained:
            unused = len(trained.layout.splits["all"]) - len(train)
            lines.append(trained.describe([to_train, f"{unused:,} not used" * bool(unused)], ""))
        if validated:
            lines.append(validated.describe([to_validate], ""))
        return lines

    def noted(self) -> str:
        """Return what the training set says of itself, and how many of its pictures are for what."""
        train, validation = (self.opened.get(split) for split in ("train", "val"))
        note = next((images.note for images in (train, validation) if images is not None and images.note), "")
        if not note or self.validation is not None:
            return ""
        counts = {"to train": train, "to validate": validation}
        return ", ".join([note, *(f"{len(images):,} {what}" for what, images in counts.items() if images is not None)])

    def __call__(self, split: str, **options: Unpack[LoadOptions]) -> ImageSet:
        images = self.open(split)
        if damaged := self.damaged.get(split):
            raise damaged.with_small(smallest_side(options))
        if classes := options.get("classes", 0):
            check_labels(images, classes)
            check_same_classes(images, self.opened.get("train", images))
        try:
            if scale := options.get("scale"):
                scaled = partial(at_scale, images, scale)
                images = self.opened[split] = without_damaged(scaled) if self.skip_damaged else scaled()
            cut = transform(images, options)
        except UnsuitablePictures as error:
            error.split, error.essential = split, images.essential
            raise
        self.channels[split] = options.get("channels")
        if isinstance(cut, Multiples):
            self.remarks[split] = cut.remark()
        return cut


def describe_all(sources: Iterable[Source], *, choosable: bool = False) -> list[str]:
    """Return what `sources` have to say of what was opened, each line once: see `Source.describe`."""
    return [*dict.fromkeys(line for source in sources for line in source.describe(choosable=choosable))]


def listed(images: ImageSet | None) -> Listed | None:
    """Return `images`, or what they are a part of, if that was understood from names."""
    whole = images.images if isinstance(images, Part) else images
    return whole if isinstance(whole, Listed) else None


def smallest_side(options: LoadOptions) -> int:
    """Return how many pixels pictures need in width and height to be loaded with `options`."""
    return options.get("crop") or (
        1 if options.get("size") else max(options.get("multiple", 1), options.get("smallest", 1))
    )


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
    size, channels, crop, area = (options.get(name) for name in ("size", "channels", "crop", "area"))
    if area is not None:
        if size is None:
            raise UserError(
                "load(..., area=...) lacks size", "say which side the random parts are brought to: size=224"
            )
        parts = images if channels in (None, images.channels) else Fitted(images, channels=channels)
        return ResizedCrops(parts, size, area, options.get("ratio", RATIO))
    if size is not None or channels not in (None, images.channels):
        images = Fitted(images, size=size, channels=channels)
    if crop is not None:
        return Crops(images, crop)
    return Multiples(images, options.get("multiple", 1), options.get("smallest", 1))


def check_labels(images: ImageSet, classes: int) -> None:
    count = count_classes(images)
    if classes != count:
        raise UserError(
            f"the data set has {number_of(count, 'class')} ({some_of(images.classes)}), the network {classes}",
            f"train with --classes {count}",
        )


def check_same_classes(validation: ImageSet, training: ImageSet) -> None:
    if validation.classes != training.classes:
        theirs, ours = (some_of(images.classes) for images in (validation, training))
        raise UserError(
            f"the validation set has other classes ({theirs}) than the training set ({ours})",
            "validate on the same classes; in folders, the sub-folders' names have to agree",
        )
