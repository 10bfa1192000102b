"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998), 28×28 pixels, grey."""

import gzip
import zlib
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from launchbay.data.download import File, Opener, fetch, original, read_or_explain
from launchbay.data.resident import Resident

TRAINING = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}
VALIDATION = {
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The SHA-256 of each file of the original, unpacked."""
OTHERS = {
    "f4a8712d7a061bf5bd6d2ca38dc4d50a": "Fashion-MNIST", "9018921c3c673c538a1fc5bad174d6f9": "Fashion-MNIST",
    "8181f5470baa50b63fa0f6fddb340f0a": "Fashion-MNIST", "15d484375f8d13e6eb1aabb0c3f46965": "Fashion-MNIST",
    "92be26ec9822e900ac425d0a0aa84ced": "KMNIST", "949e75301f8813e0dc5800dcc320fc52": "KMNIST",
    "bf305b8cd328700fbc17f5acbc2856d2": "KMNIST", "9f55f451c0988b028eccdf7d5cc265ab": "KMNIST",
}  # fmt: skip
"""Data sets whose files have the same names, by the MD5 of each file, unpacked."""
KNOWN = [f"{place}train-images-idx3-ubyte*" for place in ("MNIST/raw/", "MNIST/", "raw/", "", "[!.]*/MNIST/raw/")]
"""Where the files may be below the root, as they are or packed with gzip; not in a download at work (.download-*)."""


class MNIST(Resident):
    """60,000 digits for training, 10,000 for validation. `root` is the folder above MNIST/raw, or has the files."""

    def __init__(self, split: str, root: Path | None = None):
        files = fetch("MNIST", "MNIST", KNOWN, downloader, root)
        parts = {"train": [TRAINING], "val": [VALIDATION], "all": [TRAINING, VALIDATION]}[split]
        opened = [read_or_explain("MNIST", "MNIST", files, partial(read_part, files, part)) for part in parts]
        pixels, labels = (torch.cat(part) for part in zip(*opened, strict=True))
        super().__init__(pixels[:, None], labels, [str(digit) for digit in range(10)])


def downloader() -> tuple[Opener, list[File], str]:
    from torchvision.datasets import MNIST  # takes as long to import as torch

    return MNIST, [([site + name for site in MNIST.mirrors], md5) for name, md5 in MNIST.resources], "MNIST/raw"


def read_part(folder: Path, part: dict[str, str]) -> tuple[Tensor, Tensor]:
    """uint8 N×28×28 and N. The files have the format IDX: four bytes on the kind, four on each size, then the data."""
    pixels, labels = (read_original(folder / file, digest) for file, digest in part.items())
    return pixels[4 * (1 + 3) :].view(-1, 28, 28), labels[4 * (1 + 1) :]


def read_original(file: Path, digest: str) -> Tensor:
    """Return the bytes of `file`, or of what is packed beside it, if they are the original ones."""
    packed = file.with_name(f"{file.name}.gz")
    try:
        unpack = not file.exists() and packed.exists()
        content = gzip.decompress(packed.read_bytes()) if unpack else file.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{packed.name}: {error}") from error
    return torch.frombuffer(bytearray(original(file, content, digest, OTHERS)), dtype=torch.uint8)
