"""CIFAR-10: 60,000 photographs of ten kinds of things (Krizhevsky, 2009), 32×32 pixels, colour."""

from pathlib import Path

import torch
from torchvision import datasets

from launchbay.data.download import fetch, read
from launchbay.data.resident import Resident

FOLDER = datasets.CIFAR10.base_folder


class CIFAR10(Resident):
    """50,000 photographs for training, 10,000 for validation. `root` is the folder above cifar-10-batches-py.

    These files are pickles, the only ones that are ever read here: torchvision first checks that they are the original
    ones, byte for byte.
    """

    def __init__(self, split: str, root: Path | None = None):
        folder = fetch("CIFAR-10", FOLDER, datasets.CIFAR10, root, [datasets.CIFAR10.url])
        splits = {"train": (True,), "val": (False,), "all": (True, False)}[split]
        parts = [read("CIFAR-10", folder, lambda train=train: datasets.CIFAR10(folder, train)) for train in splits]
        pixels = torch.cat([torch.from_numpy(part.data) for part in parts]).permute(0, 3, 1, 2)
        labels = torch.cat([torch.tensor(part.targets) for part in parts])
        super().__init__(pixels, labels, parts[0].classes)
