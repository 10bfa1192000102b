"""What torchvision's classes know of their data sets: which files, which classes, or the pictures as arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from launchbay.data.download import alone

ARRAYS = ("CIFAR100", "FER2013", "SEMEION", "STL10", "SVHN", "USPS")
"""Sets that torchvision reads at once."""
LISTS: dict[str, Callable[[Any], list[tuple[str, int]]]] = {
    "Caltech101": lambda each: [
        (f"{each.root}/101_ObjectCategories/{each.categories[label]}/image_{number:04d}.jpg", label)
        for number, label in zip(each.index, each.y, strict=True)
    ],
    "Caltech256": lambda each: [
        (f"{each.root}/256_ObjectCategories/{each.categories[label]}/{label + 1:03d}_{number:04d}.jpg", label)
        for number, label in zip(each.index, each.y, strict=True)
    ],
    "CelebA": lambda each: [(f"{each.root}/celeba/img_align_celeba/{name}", 0) for name in each.filename],
    "GTSRB": lambda each: each._samples,
    "OxfordIIITPet": lambda each: list(zip(map(str, each._images), each._labels, strict=True)),
}
"""What gives the paths and labels where torchvision's class would open each file itself."""
NAMES = ("classes", "categories", "all_categories", "_characters", "class_to_idx")
"""Attributes of torchvision's classes that may have the names of classes, in their order."""


def open_class(title: str, root: Path, options: dict[str, Any]) -> Any:
    """Return an object of torchvision's class. One process at a time makes that of ImageNet, which unpacks archives."""
    from torchvision import datasets  # takes as long to import as torch

    kind = getattr(datasets, title)
    paths = {} if title in ARRAYS or title in LISTS else {"loader": str}  # it is not to decode, but to say which file
    if title != "ImageNet" or (root / options["split"]).is_dir():
        return kind(str(root), **paths, **options)
    with alone(root / ".ImageNet.lock", "ImageNet"):
        return kind(str(root), **paths, **options)


def arrays_of(opened: Any) -> tuple[Tensor, Tensor]:
    """Return the pictures that an object of torchvision's class holds, uint8 N×C×H×W, and their labels, N."""
    if hasattr(opened, "_samples"):  # FER2013
        pictures = torch.stack([picture for picture, _ in opened._samples])
        labels = [label for _, label in opened._samples]
        if None in labels:
            raise ValueError("test.csv has no labels; fer2013.csv, or icml_face_data.csv, has")
    else:
        pictures = torch.from_numpy(np.ascontiguousarray(opened.data))
        labels = opened.targets if hasattr(opened, "targets") else opened.labels
    if pictures.ndim == 3:
        pictures = pictures[:, None]
    elif pictures.shape[-1] == 3:
        pictures = pictures.permute(0, 3, 1, 2)
    return pictures, torch.as_tensor(np.asarray(labels, np.int64))


def list_files(title: str, root: Path, options: Sequence[dict[str, Any]]) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the files of a data set with their labels, by their names below `root`, in order; and its classes."""
    opened = [open_class(title, root, each) for each in options]
    files: dict[str, int] = {}
    for each in opened:
        listed = LISTS[title](each) if title in LISTS else map(each.__getitem__, range(len(each)))
        files |= {Path(path).relative_to(root).as_posix(): int(label or 0) for path, label in listed}
    classes = names_of(opened[0])
    if title == "Omniglot":  # torchvision numbers its classes as they come from the disk
        place = {name: number for number, name in enumerate(sorted(classes))}
        files = {path: place[classes[label]] for path, label in files.items()}
        classes = sorted(classes)
    return sorted(files.items()), classes


def names_of(opened: Any) -> list[str]:
    """Return the names of the classes that an object of torchvision's class knows: of several for one class the first,
    unless another has it too.
    """
    found = next((getattr(opened, name) for name in NAMES if hasattr(opened, name)), ())
    all_of = [(name,) if isinstance(name, str) else tuple(name) for name in found]
    first = [names[0] for names in all_of]
    return first if len({*first}) == len(first) else [", ".join(names) for names in all_of]
