"""Torchvision's data sets of pictures with a class each, or none: `--data torchvision:NAME`. One adapter for all.

Torchvision's classes say which files there are, or read those that are arrays; pictures in files are decoded as in any
folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from launchbay import number_of
from launchbay.data.base import ImageSet
from launchbay.data.cifar10 import CIFAR10
from launchbay.data.download import fetch, read_or_explain
from launchbay.data.files import LabelledFiles
from launchbay.data.layout import HOLD_OUT
from launchbay.data.mnist import IDX, open_idx
from launchbay.data.resident import Resident, Unlabelled
from launchbay.data.vision_parts import ARRAYS, arrays_of, list_files, names_of, open_class
from launchbay.data.vision_stores import open_lsun, open_pcam
from launchbay.data.words import some_of

Options = tuple[dict[str, Any], ...]
"""How torchvision's class is called, once for each of its splits that make one of ours."""
DIGITS = tuple("0123456789")
COUNTS = tuple(map(str, range(3, 11)))


@dataclass(frozen=True)
class Vision:
    """A data set of torchvision: its splits in its words, and where its files are."""

    places: tuple[str, ...]
    """Files or folders that it consists of, below the root."""
    train: Options = ({},)
    val: Options = ()
    """With none, every tenth picture is for validation."""
    classes: tuple[str, ...] = ()
    """Their names, where torchvision has none."""
    first: int = 0
    """The number of the first class."""
    unlabelled: str = ""
    """Why there are no classes."""
    by_hand: bool = False
    """Whether it cannot be downloaded, or is larger than anyone wants to wait for unasked."""

    def judged(self) -> str:
        """Return what figures are of."""
        if not self.val:
            return "every tenth picture, which is not trained on"
        return next((value for value in self.val[0].values() if isinstance(value, str)), "test")


def splits(place: str, train: str, val: str, key: str = "split", **more: Any) -> Vision:
    """Return a set whose class takes the name of a split as `key`."""
    options = {name: more.pop(name) for name in list(more) if name not in Vision.__dataclass_fields__}
    return Vision((place,), ({key: train, **options},), ({key: val, **options},), **more)


EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SVHN = ("train_32x32.mat", "test_32x32.mat")
SETS = {
    "CIFAR100": Vision(("cifar-100-python",), ({"train": True},), ({"train": False},)),
    "CLEVRClassification": splits("clevr", "train", "val", classes=COUNTS, first=3, by_hand=True),
    "Caltech101": Vision(("caltech101/101_ObjectCategories",)),
    "Caltech256": Vision(("caltech256/256_ObjectCategories",)),
    "CelebA": splits("celeba", "train", "valid", unlabelled="CelebA has attributes of faces, no classes", by_hand=True),
    "Country211": splits("country211", "train", "valid", by_hand=True),
    "DTD": splits("dtd/dtd", "train", "val"),
    "EuroSAT": Vision(("eurosat",)),
    "FER2013": splits("fer2013", "train", "test", classes=EMOTIONS, by_hand=True),
    "FGVCAircraft": splits("fgvc-aircraft-2013b", "train", "val", by_hand=True),
    "FGVCAircraft:family": splits("fgvc-aircraft-2013b", "train", "val", annotation_level="family", by_hand=True),
    "FGVCAircraft:manufacturer": splits(
        "fgvc-aircraft-2013b", "train", "val", annotation_level="manufacturer", by_hand=True
    ),
    "Flowers102": splits("flowers-102", "train", "val"),
    "Food101": splits("food-101", "train", "test"),
    "GTSRB": splits("gtsrb", "train", "test", classes=tuple(map(str, range(43)))),
    "INaturalist": Vision(
        ("2021_train", "2021_valid"), ({"version": "2021_train"},), ({"version": "2021_valid"},), by_hand=True
    ),
    "INaturalist:mini": Vision(
        ("2021_train_mini", "2021_valid"), ({"version": "2021_train_mini"},), ({"version": "2021_valid"},), by_hand=True
    ),
    "ImageNet": splits("ILSVRC2012_devkit_t12.tar.gz|meta.bin", "train", "val", by_hand=True),
    "Imagenette": splits("imagenette2", "train", "val"),
    "Imagenette:320px": splits("imagenette2-320", "train", "val", size="320px"),
    "Imagenette:160px": splits("imagenette2-160", "train", "val", size="160px"),
    "LFWPeople": splits("lfw-py", "train", "test", by_hand=True),
    "Omniglot": Vision(("omniglot-py",)),
    "Omniglot:evaluation": Vision(("omniglot-py",), ({"background": False},)),
    "OxfordIIITPet": splits("oxford-iiit-pet", "trainval", "test"),
    "PCAM": splits("pcam", "train", "val", classes=("no tumour", "tumour"), by_hand=True),
    "Places365": splits("categories_places365.txt", "train-standard", "val", by_hand=True),
    "Places365:small": splits("categories_places365.txt", "train-standard", "val", small=True, by_hand=True),
    "RenderedSST2": splits("rendered-sst2", "train", "val"),
    "SEMEION": Vision(("semeion.data",), classes=DIGITS),
    "STL10": splits("stl10_binary", "train", "test", classes=STL10),
    "STL10:unlabeled": Vision(("stl10_binary",), ({"split": "unlabeled"},), unlabelled="these are the unlabelled ones"),
    "SUN397": Vision(("SUN397",), by_hand=True),
    "SVHN": Vision(SVHN, ({"split": "train"},), ({"split": "test"},), DIGITS),
    "SVHN:extra": Vision(
        (*SVHN, "extra_32x32.mat"), ({"split": "train"}, {"split": "extra"}), ({"split": "test"},), DIGITS
    ),
    "StanfordCars": splits("stanford_cars", "train", "test", by_hand=True),
    "USPS": Vision(("usps.bz2", "usps.t.bz2"), ({"train": True},), ({"train": False},), DIGITS),
}  # fmt: skip
"""By what stands behind torchvision:, a variant after a colon."""

NAMES = (*SETS, *IDX, "CIFAR10", "LSUN")


def open_torchvision(name: str, split: str, root: Path | None = None) -> ImageSet:
    """Return the pictures of a data set of torchvision, perhaps a variant of it. `root` is what torchvision calls so,
    or the folder in it that the data lie in.

    Raises:
        UserError: they are not there, or damaged.
    """
    if name in IDX:
        return with_note(open_idx(name, split, root), name, "test")
    if name == "CIFAR10":
        return with_note(CIFAR10(split, root), name, "test")
    if name == "LSUN":
        return open_lsun(split, root)
    known, title = SETS[name], name.partition(":")[0]
    tops = [place.partition("/")[0].partition("|")[0] for place in known.places]
    where = fetch(title, tops, partial(find_root, known.places), download_of(name), root)
    options = {"train": known.train, "val": known.val or known.train, "all": known.train + known.val}[split]
    held_out = split if not known.val else "all"
    downloaded = "" if known.by_hand else tops[0]
    images = read_or_explain(title, downloaded, where / tops[0], partial(read, name, where, options, held_out))
    return with_note(images, name, known.judged())


def with_note(images: ImageSet, name: str, judged: str) -> ImageSet:
    """Return `images`, with what is said of them: their classes, and which of them figures are of (`judged`)."""
    classes = f"{number_of(len(images.classes), 'class')} ({some_of(images.classes, 8)}); " * bool(images.classes)
    images.note = f"{name}: {classes}figures are of {judged}"
    return images


def find_root(places: Sequence[str], root: Path) -> Path | None:
    """Return what torchvision would call the root of a data set: `root`, the folder above, if `root` is the data's own,
    or one in it.
    """
    inner = places[0].partition("/")[0]
    above = [root.parent] if root.name == inner else []
    for each in (root, *above, *sorted(path.parent for path in root.glob(f"[!.]*/{inner.partition('|')[0]}"))):
        if all(any((each / place).exists() for place in place.split("|")) for place in places):
            return each
    return None


def download_of(name: str) -> Callable[[str], object] | None:
    """Return what downloads a data set to a folder, None if nothing does."""
    if SETS[name].by_hand:
        return None

    def download(root: str) -> None:
        from torchvision import datasets  # takes as long to import as torch

        for options in SETS[name].train + SETS[name].val:
            getattr(datasets, name.partition(":")[0])(root, download=True, **options)

    return download


def read(name: str, root: Path, options: Options, split: str) -> ImageSet:
    """Return the pictures of those parts of a data set that `options` name: all, every tenth ("val"), or the rest."""
    known, title = SETS[name], name.partition(":")[0]
    if title in ARRAYS:
        opened = [open_class(title, root, each) for each in options]
        pixels, labels = (torch.cat(part) for part in zip(*map(arrays_of, opened), strict=True))
        chosen = torch.tensor(places_of(split, len(pixels)))
        if known.unlabelled:
            return Unlabelled(pixels[chosen], known.unlabelled)
        return Resident(pixels[chosen], labels[chosen], known.classes or names_of(opened[0]))
    if title == "PCAM":
        return open_pcam(root, options, known.classes)
    listed, classes = list_files(title, root, options)
    chosen = [listed[place] for place in places_of(split, len(listed))]
    names, labels = [name for name, _ in chosen], [label - known.first for _, label in chosen]
    classes = () if known.unlabelled else known.classes or classes
    return LabelledFiles(root, names, labels, classes, known.unlabelled)


def places_of(split: str, count: int) -> Sequence[int]:
    """Return which of `count` pictures are in a split that torchvision does not know: every tenth is for validation."""
    if split == "all":
        return range(count)
    return range(0, count, HOLD_OUT) if split == "val" else [place for place in range(count) if place % HOLD_OUT]
