"""CIFAR-10: 60,000 photographs of ten kinds of things (Krizhevsky, 2009), 32×32 pixels, colour."""

import pickle
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from launchbay.data.download import fetch, find_files, original, read_or_explain
from launchbay.data.resident import Resident

FOLDER = "cifar-10-batches-py"
KNOWN = [f"{place}data_batch_1" for place in (f"{FOLDER}/", "", f"[!.]*/{FOLDER}/")]
"""Where the files may be below the root; not in a download at work (.download-*)."""
TRAINING = {
    "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
    "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
    "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
    "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
}
VALIDATION = {"test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"}
"""The SHA-256 of each file of the original."""
OTHERS = {"16019d7e3df5f24257cddd939b257f8d": "CIFAR100", "f0ef6b0ae62326f3e7ffdfab6717acfc": "CIFAR100"}
"""Another data set by the same authors, by the MD5 of each of its files."""
PART = 10_000
"""Photographs in each file."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class CIFAR10(Resident):
    """50,000 photographs for training, 10,000 for validation. `root` is cifar-10-batches-py or the folder above."""

    def __init__(self, split: str, root: Path | None = None):
        where = fetch("CIFAR-10", [FOLDER], partial(find_files, folder=FOLDER, known=KNOWN), download, root)
        files = {"train": TRAINING, "val": VALIDATION, "all": TRAINING | VALIDATION}[split]
        # Straight to where they stay: joined afterwards they would take the memory twice.
        pixels = torch.empty((PART * len(files), 3, 32, 32), dtype=torch.uint8, memory_format=torch.channels_last)
        labels = torch.empty(len(pixels), dtype=torch.int64)
        for number, (file, digest) in enumerate(files.items()):
            part = slice(PART * number, PART * (number + 1))
            pixels[part], labels[part] = read_or_explain(
                "CIFAR-10", FOLDER, where, partial(read_batch, where / file, digest)
            )
        super().__init__(pixels, labels, CLASSES)


def download(root: str) -> object:
    from torchvision.datasets import CIFAR10  # takes as long to import as torch

    return CIFAR10(root, download=True)


def read_batch(file: Path, digest: str) -> tuple[Tensor, Tensor]:
    """uint8 N×3×32×32 and int64 N, where N is PART.

    These files are pickles, the only ones that are ever read here, and only if they are the original ones, byte for
    byte.
    """
    content = file.read_bytes()
    batch = pickle.loads(original(file, content, digest, OTHERS), encoding="latin1")
    return torch.from_numpy(batch["data"]).view(-1, 3, 32, 32), torch.tensor(batch["labels"])
