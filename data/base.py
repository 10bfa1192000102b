"""What a data set is: the contract between the loader and every source of pictures, built in or a plugin's."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol, TypedDict, Unpack

import torch
from torch import Tensor
from torch.utils.data import Dataset

from launchbay import UserError
from launchbay.data.samples import Values, bytes_beside, join


class ImageSet(Dataset[dict[str, Any]], ABC):
    """Pictures by index: `image(index)` is uint8 C×H×W, `label(index)` an integer class, or None where there is none.

    An entry point of `launchbay.datasets` names a class or a function that takes a split, "train", "val" or "all", and
    `--data-root` (a path, or None), and gives such a set.

    The loader asks for whole batches with `__getitems__`. Override it where all pictures are in one tensor, or to give
    more than pictures and labels; `pictures` and `masks` name what belongs to `image` pixel by pixel. An index that the
    loader hands over is a `launchbay.data.Index`: draw any randomness from `index.generator()`.
    """

    uniform: bool = True
    """Whether all pictures have one size. If not, they are evaluated one at a time."""

    pictures: tuple[str, ...] = ("image",)
    """Names of the pictures that `__getitems__` gives, "image" among them: N×C×H×W, as high and wide as `image`, of
    uint8 or of floating point numbers in [0, 1]. They are cut, resized and turned as `image` is, and a task gets them
    as floating point numbers in [0, 1]. Those in `scales` are smaller."""

    masks: tuple[str, ...] = ()
    """Names of the masks that `__getitems__` gives: N×H×W or N×C×H×W, as high and wide as `image`, of integers, truth
    values or floating point numbers. They are cut, resized (by nearest neighbour) and turned as `image` is; their
    values stay as they are."""

    scales: Mapping[str, int] = {}
    """Those of `pictures` that are so many times smaller than `image`, in width and height: {"input": 4}. What is left
    of `image` at the right and the bottom has no counterpart."""

    essential: tuple[str, ...] = ()
    """Those of `pictures` and `masks` without which the set makes no sense: only a task that has them in its `uses` can
    be trained on it."""

    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their labels."""

    unlabelled: str = ""
    """Why there are no classes, where that may surprise a person."""

    note: str = ""
    """What was understood of the data and of which of them figures are, in the words that a run begins with."""

    shards: Sequence[int] = ()
    """How many of its samples lie in each of the files that they are in, one after the other, if they do."""

    @property
    def channels(self) -> int:
        """C: 1 is grey, 3 is RGB."""
        return self.image(0).shape[0]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pictures."""
        ...

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Return a picture: uint8 C×H×W, all with as many channels."""
        ...

    def label(self, index: int) -> int | None:
        """Return a picture's class, a number from 0 on below `len(classes)`; either all pictures have one or none."""
        return None

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of a picture; override where that is known without decoding it."""
        height, width = self.image(index).shape[-2:]
        return height, width

    def name(self, index: int) -> str:
        """Return what to call a picture in a message to a person."""
        return f"picture {int(index)}"

    def fingerprint(self) -> str:
        """Return what tells this set from another: a run goes on only with the pictures that it began with. From the
        number of pictures, the classes and eight samples: their pictures and masks; override it where more can be known
        without reading them all.
        """
        chosen = range(0, len(self), max(1, len(self) // 8))
        pictures = [self.image(index).contiguous().numpy().tobytes() for index in chosen]
        return digest(len(self), *self.classes, *pictures, *bytes_beside(self))

    def to(self, device: torch.device) -> None:
        """Move to `device`, a GPU, what is kept in memory: batches are gathered there then. Does nothing unless a set
        overrides it."""

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """{"image": uint8 N×C×H×W} and, where the set has labels, {"label": int64 N}. Override it to give more: any
        tensors with the N samples first, and lists of N, such as captions or boxes of differing number. A task finds
        them under their names in its `Batch`, as they are but for what `pictures` and `masks` name.

        Where sizes differ, it is asked for one sample at a time if these are to be cut or fitted to one size.

        Raises:
            UserError: the pictures differ in size.
        """
        return join(self, indices, [picture_and_label(self, index) for index in indices])


def picture_and_label(images: ImageSet, index: int) -> Values:
    """Return a batch of one."""
    label = images.label(index)
    batch: Values = {"image": images.image(index)[None]}
    return batch if label is None else {**batch, "label": torch.full((1,), label)}  # faster than torch.tensor


def digest(*parts: object) -> str:
    """SHA-256 of all `parts`, in hexadecimal."""
    return digest_of(parts)


def digest_of(parts: Iterable[object]) -> str:
    """SHA-256 of `parts`, of which there may be millions, as `digest` has it."""
    hashed = sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.hexdigest()


def side_of(images: ImageSet) -> int | None:
    """Return the side of the pictures in pixels, if they are all squares of one size."""
    height, width = images.size(0)
    return height if images.uniform and height == width else None


def patch_of(images: ImageSet, most: int) -> int:
    """Return the side of squares to crop for training, in pixels: `most`, less if all pictures have one
    smaller size.
    """
    return min(most, *images.size(0)) if images.uniform else most


def count_classes(images: ImageSet) -> int:
    """Return the number of classes.

    Raises:
        UserError: the pictures have no labels.
    """
    if not images.classes:
        raise UserError(
            f"the pictures have no labels{f': {images.unlabelled}' * bool(images.unlabelled)}",
            "choose a data set that has; a folder of pictures has them if it holds a sub-folder for each of several "
            "classes, and no picture beside these",
        )
    return len(images.classes)


class LoadOptions(TypedDict, total=False):
    """How pictures are cut, fitted and checked for a task. What a data set names in `pictures` and `masks` is cut and
    fitted as `image` is, at the same places.
    """

    crop: int | None
    """Each sample is a random square of so many pixels."""
    size: int | None
    """Each sample is the whole picture, shrunk or enlarged to a square of so many pixels (cut at its longer sides)."""
    area: tuple[float, float] | None
    """With `size`: each sample is a random part of the picture, anew at every visit, whose share of the area is between
    these two, in (0, 1], brought to the square (random resized crop)."""
    ratio: tuple[float, float]
    """With `area`: width of the part / its height, between these two. Default: (3/4, 4/3)."""
    multiple: int
    """Each picture is cut (right and bottom) to a multiple of so many pixels."""
    smallest: int
    """Pictures with fewer pixels in width or height are refused."""
    scale: int
    """If the data set gives an "input" beside `image`, that has to be so many times smaller."""
    channels: int | None
    """`image` has so many: grey becomes so many equal channels, RGB becomes grey (its luminance) for one, anything else
    is refused. So do other pictures that have as many channels as `image`; all others keep theirs."""
    classes: int
    """Samples have labels below this number, or the data set is refused."""


class Load(Protocol):
    """How a task gets its data: `load("train")` and `load("val")` open what `--data` and `--data-root` name, the latter
    what `--val-data` and `--val-root` do, if they are given; of several sets one, and the task is asked once for each.
    """

    def __call__(self, split: str, **options: Unpack[LoadOptions]) -> ImageSet:
        """Return the pictures of a split, "train" or "val", as `options` say (see `LoadOptions`).

        Raises:
            UserError: there are none, or they are not as asked for.
        """
        ...
