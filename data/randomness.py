"""Randomness as a function of (seed, stream, numbers): the same on any rank, in any worker, at any restart."""

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

GAMMA, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The constants of SplitMix64."""


def key(*parts: int | str) -> int:
    """Return a number that depends on all `parts` and on nothing else. 32 bits are what torch's CPU generator keeps."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest(), "little")


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `key(*parts)`."""
    return torch.Generator().manual_seed(key(*parts))


def splitmix64(seed: np.uint64 | NDArray[np.uint64], places: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 random bits for each of `places` in the row that `seed` (uint64) begins: SplitMix64 (Steele, Lea and Flood,
    2014), which needs none of those before. A generator for each of 128 samples would take twenty times as long.
    """
    mixed = (places + np.uint64(1)) * GAMMA + seed
    mixed ^= mixed >> np.uint64(30)
    mixed *= FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


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
        """Return a CPU generator for this visit of the sample, the same one at each call."""
        return generator(self.key, "data")

    def __reduce__(self) -> tuple[type["Index"], tuple[int, int]]:
        return Index, (int(self), self.key)


def with_keys(places: Sequence[int], seed: int, split: str, numbers: Sequence[int] | NDArray[np.int64]) -> list[Index]:
    """Return each of `places` with the key of its sample: in "train" that of the visit's number, in "val" of the
    picture's.
    """
    keys = splitmix64(np.uint64(key(seed, split)), np.asarray(numbers, np.uint64)).tolist()
    indices = [*map(partial(int.__new__, Index), places)]  # a third of the time of Index(place, key)
    for index, key_of_sample in zip(indices, keys, strict=True):
        index.key = key_of_sample
    return indices
