"""The order of an epoch: which sample stands at each of its places, a function of (seed, epoch, place) and no more."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from launchbay.data.randomness import generator, key, splitmix64

Places = NDArray[np.int64]
LARGE = 10_000_000
"""A permutation of more numbers is computed place by place: one of 10^8 takes 16 s and 763 MB to make."""
ROUNDS = 8


def shuffled(places: Places, size: int, *parts: int | str) -> Places:
    """Return what stands at `places` of the permutation of range(`size`) that `parts` choose."""
    return feistel(places, size, *parts) if size > LARGE else permutation(size, *parts)[places]


@lru_cache(maxsize=4)
def permutation(size: int, *parts: int | str) -> Places:
    return torch.randperm(size, generator=generator(*parts)).numpy()  # cut faster than a tensor


def feistel(places: Places, size: int, *parts: int | str) -> Places:
    """Return what stands at `places` of a permutation of range(`size`), without making the rest of it.

    A Feistel network permutes the numbers of an even number of bits; what it takes beyond `size` it is given again
    until it is below, which are at most four rounds in the mean. Source: Black and Rogaway, "Ciphers with Arbitrary
    Finite Domains", 2002, method 3 (cycle walking).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = [np.uint64(key(*parts, "feistel", number)) for number in range(ROUNDS)]
    found = places.astype(np.uint64)
    walking = np.arange(len(found))
    while len(walking):
        left, right = found[walking] >> half, found[walking] & mask
        for round_key in keys:
            left, right = right, left ^ (splitmix64(round_key << np.uint64(32), right) & mask)
        found[walking] = left << half | right
        walking = walking[found[walking] >= size]
    return found.astype(np.int64)


def windowed(places: Places, shards: Sequence[int], window: int, seed: int, epoch: int) -> Places:
    """Return what stands at `places` of an epoch that reads `window` shards at a time: the shards are shuffled, then
    the samples within each window of so many of them.

    Args:
        shards: the number of samples in each, in the order of the data set.
    """
    sizes = np.array(shards, np.int64)
    order = permutation(len(sizes), seed, "shards", epoch)
    first = np.cumsum(sizes) - sizes
    starts = np.cumsum(sizes[order]) - sizes[order]
    windows = np.append(starts[::window], sizes.sum())
    which = np.searchsorted(windows, places, side="right") - 1
    result = np.empty_like(places)
    for number in np.unique(which).tolist():
        mine = which == number
        begin, end = windows[number : number + 2].tolist()
        inside = begin + shuffled(places[mine] - begin, end - begin, seed, "window", epoch, number)
        shard = np.searchsorted(starts, inside, side="right") - 1
        result[mine] = first[order[shard]] + inside - starts[shard]
    return result
