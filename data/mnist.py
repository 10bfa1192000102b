"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998), 28×28 pixels, grey."""

from pathlib import Path

import torch
from torchvision import datasets

from launchbay.data.download import fetch, read
from launchbay.data.resident import Resident


class MNIST(Resident):
    """60,000 digits for training, 10,000 for validation. `root` is the folder above MNIST/raw."""

    def __init__(self, split: str, root: Path | None = None):
        files = [datasets.MNIST.mirrors[0] + name for name, _ in datasets.MNIST.resources]
        folder = fetch("MNIST", "MNIST", datasets.MNIST, root, files)
        splits = {"train": (True,), "val": (False,), "all": (True, False)}[split]
        parts = [read("MNIST", folder, lambda train=train: datasets.MNIST(folder, train)) for train in splits]
        pixels = torch.cat([part.data for part in parts])[:, None]
        labels = torch.cat([part.targets for part in parts])
        super().__init__(pixels, labels, [str(digit) for digit in range(10)])
