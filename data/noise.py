"""Random numbers of samples: each a function of the sample's key, the number of the call and its place, by integer
arithmetic alone (SplitMix64), so that it has the same bits on a CPU and on any GPU. Few are drawn by numpy, on the
host; as many as a picture has are drawn where they are needed, since a CPU would keep a GPU waiting.
"""

from collections.abc import Generator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from launchbay.data.randomness import FIRST, GAMMA, SECOND, splitmix64
from launchbay.devices import can_pin

BLOCK = 2**15
"""Numbers that are drawn at a time: what they need on the way stays in a processor's cache."""
ON_DEVICE = 2**15
"""So many numbers are drawn on a GPU itself: fewer are sooner drawn here and copied than twenty kernels are begun."""
SEGMENTS = 2**16
"""Of the normal distribution: a float32 is in the one that its first 16 bits say, 128 for each power of 2."""
LAST_SEGMENT = 0x4F00
"""That of 2^31: no number of 32 bits with a sign is larger."""


def uniform(keys: Sequence[int], call: int, count: int, device: torch.device) -> Tensor:
    """Return float32 on [0, 1) in steps of 2^-24, `count` for each of `keys`: those of call number `call`, N×`count`,
    on `device`.
    """
    if draws_there(device, len(keys) * count):
        return (bits_there(keys, call, count, device) >> 40).bitwise_and_(2**24 - 1).float().mul_(2**-24)
    drawn = np.empty((len(keys), count), np.float32)
    for rows, columns, bits in bits_here(keys, call, count):
        drawn[rows, columns] = bits >> np.uint64(40)
    drawn *= np.float32(2**-24)
    return moved(drawn, device)


def normal(keys: Sequence[int], call: int, count: int, device: torch.device) -> Tensor:
    """Return standard normal float32, `count` for each of `keys`: those of call number `call`, N×`count`, on `device`.

    Two of each 64 random bits, by the inverse of the distribution, which is a straight line in each of its segments:
    right to 3e-6, out to 6 deviations. A logarithm and a cosine, as others take them, have no bits that are the same
    on all devices.
    """
    pairs = -(-count // 2)
    if draws_there(device, len(keys) * count):
        slopes, offsets = segments_on(device)
        number = bits_there(keys, call, pairs, device).view(torch.int32)[:, :count].float()
        place = (number.view(torch.int32) >> 16).bitwise_and_(SEGMENTS - 1).flatten()
        # A product and then a sum: done at once, on some devices, they would be rounded once.
        return number.mul_(slopes[place].view_as(number)).add_(offsets[place].view_as(number))
    slopes, offsets = segments()
    drawn = np.empty((len(keys), 2 * pairs), np.float32)
    for rows, columns, bits in bits_here(keys, call, pairs):
        number = bits.view(np.int32).astype(np.float32)
        place = (number.view(np.int32) >> 16) & (SEGMENTS - 1)
        number *= slopes.take(place)
        number += offsets.take(place)
        drawn[rows, 2 * columns.start : 2 * columns.stop] = number
    return moved(drawn[:, :count], device)


def draws_there(device: torch.device, numbers: int) -> bool:
    return device.type != "cpu" and numbers >= ON_DEVICE


def moved(drawn: NDArray[np.float32], device: torch.device) -> Tensor:
    """Return what was `drawn` here, on `device`."""
    tensor = torch.from_numpy(np.ascontiguousarray(drawn))
    # From pinned memory: copying anything else to a GPU would wait for it.
    return (tensor.pin_memory() if can_pin(device) else tensor).to(device, non_blocking=can_pin(device))


def bits_here(keys: Sequence[int], call: int, count: int) -> Generator[tuple[slice, slice, NDArray[np.uint64]]]:
    """Yield `count` times 64 bits for each of `keys` in blocks: their rows, their columns and the bits themselves."""
    places, seeds = np.arange(call << 32, (call << 32) + count, dtype=np.uint64), np.array(keys, np.uint64)[:, None]
    high = max(1, BLOCK // max(1, count))
    for top in range(0, len(keys), high):
        for left in range(0, count, BLOCK):
            rows, columns = slice(top, top + high), slice(left, min(left + BLOCK, count))
            yield rows, columns, splitmix64(seeds[rows], places[columns])


def bits_there(keys: Sequence[int], call: int, count: int, device: torch.device) -> Tensor:
    """Return what `bits_here` gives, int64 of the same bits, N×`count`, drawn on `device`: only the keys go there."""
    seeds = torch.from_numpy(np.array(keys, np.uint64).view(np.int64))
    seeds = (seeds.pin_memory() if can_pin(device) else seeds).to(device, non_blocking=can_pin(device))
    mixed = torch.arange(count, device=device).add_((call << 32) + 1).mul_(signed(GAMMA)) + seeds[:, None]
    for shift, factor in ((30, signed(FIRST)), (27, signed(SECOND))):
        mixed.bitwise_xor_(shifted(mixed, shift)).mul_(factor)
    return mixed.bitwise_xor_(shifted(mixed, 31))


def shifted(bits: Tensor, count: int) -> Tensor:
    """Return `bits`, int64, shifted to the right without their sign: zeros come in."""
    return (bits >> count).bitwise_and_(2 ** (64 - count) - 1)


def signed(factor: np.uint64) -> int:
    """Return the int64 of the same bits."""
    return int(factor.view(np.int64))


@lru_cache
def segments() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slopes and offsets of the lines that make a standard normal number of 32 random bits, as the float32 of an
    integer: its sign is that of the number, and its size, over 2^31, the chance of a larger one.
    """
    ends = (np.arange(LAST_SEGMENT + 1, dtype=np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    values = -torch.special.ndtri(torch.from_numpy(ends.clip(0.25) / 2**32)).numpy()  # 0 stands for a quarter
    lines = np.zeros((2, SEGMENTS))
    lines[0, :LAST_SEGMENT] = np.diff(values) / np.diff(ends)
    lines[1, :LAST_SEGMENT] = values[:-1] - lines[0, :LAST_SEGMENT] * ends[:-1]
    negative = SEGMENTS // 2
    lines[:, negative:] = lines[:, :negative] * [[1], [-1]]
    slopes, offsets = lines.astype(np.float32)
    return slopes, offsets


@lru_cache
def segments_on(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `segments` as tensors on `device`: made once, since copying them makes the host wait."""
    slopes, offsets = (torch.from_numpy(table).to(device) for table in segments())
    return slopes, offsets
