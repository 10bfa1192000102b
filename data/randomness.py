"""Randomness as a function of (seed, stream, numbers): the same on any rank, in any worker, at any restart."""

from hashlib import blake2b

import torch


def key(*parts: int | str) -> int:
    """A number that depends on all `parts` and on nothing else. 32 bits are what torch's CPU generator keeps."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest(), "little")


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded with `key(*parts)`."""
    return torch.Generator().manual_seed(key(*parts))


class Index(int):
    """A position in a data set that carries the key of its sample's randomness.

    To a data set that draws nothing it is a plain `int`; one that crops or flips at random draws from `generator()`.
    """

    key: int
    """What the sample's randomness follows from: the seed and, in training, the number of the visit, in validation that
    of the picture."""

    def __new__(cls, value: int, key: int) -> "Index":
        index = super().__new__(cls, value)
        index.key = key
        return index

    def generator(self) -> torch.Generator:
        """A CPU generator for this visit of the sample, the same one at each call."""
        return generator(self.key, "data")

    def __reduce__(self) -> tuple[type["Index"], tuple[int, int]]:
        return Index, (int(self), self.key)
