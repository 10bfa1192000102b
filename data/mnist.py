"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998), 28×28 pixels, grey.

Its successors have the same format, IDX: FashionMNIST (Xiao et al., 2017), KMNIST (Clanuwat et al., 2018), QMNIST
(Yadav and Bottou, 2019) and EMNIST (Cohen et al., 2017).
"""

import gzip
import lzma
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

import torch
from torch import Tensor

from launchbay.data.base import ImageSet
from launchbay.data.download import fetch, find_files, original, read_or_explain
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
    "f4a8712d7a061bf5bd6d2ca38dc4d50a": "FashionMNIST", "9018921c3c673c538a1fc5bad174d6f9": "FashionMNIST",
    "8181f5470baa50b63fa0f6fddb340f0a": "FashionMNIST", "15d484375f8d13e6eb1aabb0c3f46965": "FashionMNIST",
    "92be26ec9822e900ac425d0a0aa84ced": "KMNIST", "949e75301f8813e0dc5800dcc320fc52": "KMNIST",
    "bf305b8cd328700fbc17f5acbc2856d2": "KMNIST", "9f55f451c0988b028eccdf7d5cc265ab": "KMNIST",
}  # fmt: skip
"""Data sets whose files have the same names as those of MNIST, by the MD5 of each file, unpacked."""
PLACES = ("{}/raw/", "{}/", "raw/", "", "[!.]*/{}/raw/")
"""Where the files of a set may be below the root, as they are or packed; not in a download at work (.download-*)."""
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
MERGED = "".join(sorted(set(digits + ascii_uppercase + ascii_lowercase) - set("cijklmopsuvwxyz")))


@dataclass(frozen=True)
class Idx:
    """A data set in the format IDX. Its files lie in a folder of its name."""

    train: Mapping[str, str]
    """The digests of its files, pictures first, by their names; empty where none is known."""
    val: Mapping[str, str]
    classes: tuple[str, ...] = tuple(digits)
    first: int = 0
    """The number of the first class."""
    sideways: bool = False
    """Whether its pictures lie on their sides, in rows that are columns."""


def both(train: str, val: str, labels: str = "labels-idx1-ubyte") -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the files of which no digest is known, as they are called before the kind."""
    pairs = [{f"{part}-images-idx3-ubyte": "", f"{part}-{labels}": ""} for part in (train, val)]
    return pairs[0], pairs[1]


def emnist(split: str, classes: str, first: int = 0) -> Idx:
    return Idx(*both(f"emnist-{split}-train", f"emnist-{split}-test"), tuple(classes), first, sideways=True)


IDX = {
    "MNIST": Idx(TRAINING, VALIDATION),
    "FashionMNIST": Idx(*both("train", "t10k"), CLOTHES),
    "KMNIST": Idx(*both("train", "t10k"), KANA),
    "QMNIST": Idx(*both("qmnist-train", "qmnist-test", "labels-idx2-int")),
    "EMNIST": emnist("balanced", MERGED),
    "EMNIST:bymerge": emnist("bymerge", MERGED),
    "EMNIST:byclass": emnist("byclass", digits + ascii_uppercase + ascii_lowercase),
    "EMNIST:letters": emnist("letters", ascii_lowercase, 1),
    "EMNIST:digits": emnist("digits", digits),
    "EMNIST:mnist": emnist("mnist", digits),
}
"""By their names in torchvision; of EMNIST, which has several divisions, after a colon: balanced is the first."""


def MNIST(split: str, root: Path | None = None) -> ImageSet:
    """60,000 digits for training, 10,000 for validation. `root` is the folder above MNIST/raw, or has the files."""
    return open_idx("MNIST", split, root)


def open_idx(name: str, split: str, root: Path | None = None) -> ImageSet:
    """Return the pictures of a data set in the format IDX, with its test set for validation. `root` is the folder above
    NAME/raw, or has the files.

    Raises:
        UserError: it is not there, damaged, or another one.
    """
    known, folder = IDX[name], name.partition(":")[0]
    patterns = [f"{place.format(folder)}{next(iter(known.train))}*" for place in PLACES]
    files = fetch(folder, [folder], partial(find_files, folder=folder, known=patterns), partial(download, name), root)
    parts = {"train": [known.train], "val": [known.val], "all": [known.train, known.val]}[split]
    opened = [read_or_explain(folder, folder, files, partial(read_part, folder, files, part)) for part in parts]
    pixels, labels = (torch.cat(part) for part in zip(*opened, strict=True))
    pixels = pixels.transpose(1, 2) if known.sideways else pixels
    return Resident(pixels[:, None], labels - known.first, known.classes)


def download(name: str, root: str) -> None:
    from torchvision import datasets  # takes as long to import as torch

    folder, _, variant = name.partition(":")
    options = {"split": variant or "balanced"} if folder == "EMNIST" else {}
    for train in (True, False):
        getattr(datasets, folder)(root, train=train, download=True, **options)


def read_part(name: str, folder: Path, part: Mapping[str, str]) -> tuple[Tensor, Tensor]:
    """uint8 N×H×W and int64 N."""
    pixels, labels = (read_idx(name, folder / file, digest) for file, digest in part.items())
    labels = labels if labels.ndim == 1 else labels[:, 0]  # QMNIST says more of each digit, its class first
    if pixels.ndim != 3 or len(pixels) != len(labels):
        raise ValueError(f"{next(iter(part))} has other pictures than there are labels")
    return pixels, labels


def read_idx(name: str, file: Path, digest: str) -> Tensor:
    """Return what is in `file` of the set `name`, or packed beside it: uint8, or int64 of integers.

    The format: two zeros, the type, the number of dimensions; four bytes for each; then the values, highest byte first.
    """
    others = OTHERS | dict.fromkeys((TRAINING | VALIDATION).values(), "MNIST")
    others = {digest: other for digest, other in others.items() if other != name}
    content = original(file, read_packed(file), digest, others)
    width, dimensions = {8: 1, 12: 4}.get(content[2], 0) if content[:2] == b"\0\0" else 0, content[3]
    sizes = [int.from_bytes(content[4 + 4 * n : 8 + 4 * n], "big") for n in range(dimensions)]
    values = bytearray(content[4 + 4 * dimensions :])
    if not width or len(values) != width * prod(sizes):
        raise ValueError(f"{file.name} is not what its head says")
    found = torch.frombuffer(values, dtype=torch.uint8).view(*sizes, width)
    return found[..., 0] if width == 1 else (found.long() * 256 ** torch.arange(3, -1, -1)).sum(-1)


def read_packed(file: Path) -> bytes:
    """Return the bytes of `file`, or of what is packed beside it."""
    for suffix, open in ((".gz", gzip.decompress), (".xz", lzma.decompress)):
        packed = file.with_name(f"{file.name}{suffix}")
        if file.exists() or not packed.exists():
            continue
        try:
            return open(packed.read_bytes())
        except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"{packed.name}: {error}") from error
    return file.read_bytes()
