"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998), 28×28 pixels, grey."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from launchbay.data.download import fetch, read
from launchbay.data.resident import Resident


class MNIST(Resident):
    """60,000 digits for training, 10,000 for validation. `root` is the folder above MNIST/raw."""

    def __init__(self, split: str, root: Path | None = None):
        folder = fetch("MNIST", "MNIST", downloader, root)
        files = {"train": ["train"], "val": ["t10k"], "all": ["train", "t10k"]}[split]
        parts = [
            read("MNIST", folder / "MNIST", lambda part=part: read_part(folder / "MNIST/raw", part)) for part in files
        ]
        pixels, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        super().__init__(pixels[:, None], labels, [str(digit) for digit in range(10)])


def downloader() -> tuple[Any, list[str]]:
    from torchvision.datasets import MNIST  # takes as long to import as torch

    return MNIST, [MNIST.mirrors[0] + name for name, _ in MNIST.resources]


def read_part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """uint8 N×28×28 and N."""
    pixels, labels = (
        read_idx(folder / f"{part}-images-idx3-ubyte", 3),
        read_idx(folder / f"{part}-labels-idx1-ubyte", 1),
    )
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} pictures, {len(labels)} labels")
    return pixels, labels


def read_idx(file: Path, dimensions: int) -> Tensor:
    """The bytes of a file in the format IDX: its kind and sizes as big-endian 32-bit numbers, then the data."""
    kind, *sizes = np.fromfile(file, ">u4", count=1 + dimensions).tolist()
    if kind != 0x800 + dimensions:
        raise ValueError(f"{file.name} does not hold bytes in {dimensions} dimensions")
    return torch.from_numpy(np.fromfile(file, np.uint8, offset=4 * (1 + dimensions))).view(sizes)
