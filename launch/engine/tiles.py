"""A network on pictures of any size: in tiles that overlap by what it sees, so that nothing differs from the whole."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from launchbay.devices import free_memory

ALIGN = 32
"""Tiles begin at multiples of it, so that networks that halve sides a few times see the same grid as in the whole."""
PROBED = (32, 96, 224)
"""How far, in pixels, it is looked for what a network sees, one after the other."""
SMALLEST = 64
"""Pixels of a side that a tile has at least, without its overlap."""
MEMORY = 2**27
"""Bytes that a tile takes on a CPU, at most."""
COPIES = 3
"""How many times what the largest layer takes and gives is held, about: sums, what is kept for later, work space."""

Answering = Callable[[Tensor], Mapping[str, Tensor]]
"""N×C×H×W -> pictures of that size, or so many times larger, by name."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `side` pixels, and how far each sees into its neighbours. `side` 0: the whole picture at once. `local`
    says whether no pixel sees more than that.
    """

    side: int
    overlap: int
    pixels: int
    """How many are computed at a time, about."""
    local: bool = True

    def takes_whole(self, height: int, width: int) -> bool:
        """Return whether a picture of this size is computed at once."""
        return not self.side or height * width <= (self.side + 2 * self.overlap) ** 2


def find_tiling(network: nn.Module, answer: Answering, channels: int, device: torch.device, side: int = 0) -> Tiling:
    """Return tiles for this network: of `side` pixels, or as the memory suggests."""
    reach: int | None = None
    per_pixel = 0
    for distance in PROBED:
        reach, per_pixel = probe(network, answer, channels, distance, device)
        if reach is not None or per_pixel * (4 * distance + SMALLEST) ** 2 > 4 * budget(device):
            break
    pixels = max(1, budget(device) // per_pixel)
    overlap = -(-(reach or SMALLEST) // ALIGN) * ALIGN
    if reach is None and not side:
        return Tiling(0, 0, pixels, local=False)
    wanted = side or isqrt(pixels) - 2 * overlap
    return Tiling(max(ALIGN if side else SMALLEST, wanted // ALIGN * ALIGN), overlap, pixels, local=reach is not None)


def budget(device: torch.device) -> int:
    """Return how many bytes a tile may take."""
    if (free := free_memory(device)) is not None:
        return free // 4
    return min(MEMORY, psutil.virtual_memory().available // 4)


def probe(
    network: nn.Module, answer: Answering, channels: int, distance: int, device: torch.device
) -> tuple[int | None, int]:
    """Return how many pixels away the output of a network depends on a pixel, None if that is `distance` or more, or
    cannot be said; and about how many bytes it takes for each pixel of a picture.

    What is not a number makes whatever is computed from it no number either: it marks all that depends on a square of
    `SMALLEST` pixels, whatever the weights are.
    """
    length = SMALLEST + 2 * distance
    picture = torch.full((1, channels, length, length), 0.5, device=device)
    picture[..., distance:-distance, distance:-distance] = torch.nan
    most = [0]

    def count(layer: nn.Module, given: tuple[Any, ...], made: object) -> None:
        tensors = [value for value in (*given, made) if isinstance(value, Tensor)]
        most.append(sum(value.numel() * value.element_size() for value in tensors))

    hooks = [part.register_forward_hook(count) for part in network.modules() if not list(part.children())]
    try:
        outputs = answer(picture)
    finally:
        for hook in hooks:
            hook.remove()
    most.append(sum(value.numel() * value.element_size() for value in outputs.values()))
    found = [reach_in(output, distance) for output in outputs.values()]
    known = [reach for reach in found if reach is not None]
    return (max(known) if len(known) == len(found) else None), max(1, COPIES * max(most) // length**2)


def reach_in(output: Tensor, distance: int) -> int | None:
    """Return how far from the marked square of `probe` the `output` is marked, in pixels of the input."""
    marked = output.isnan().flatten(0, 1).any(dim=0)
    scale = output.shape[-1] / (SMALLEST + 2 * distance)
    most = 0
    for axis in (0, 1):
        places = marked.any(dim=axis).nonzero().flatten()
        if not len(places) or places[0] == 0 or places[-1] == marked.shape[1 - axis] - 1:
            return None
        first, last = places[0].item() / scale, (places[-1].item() + 1) / scale
        most = max(most, int(distance - first + 1), int(last - distance - SMALLEST + 1))
    return most


@dataclass(frozen=True)
class Box:
    """A tile: rows and columns of a picture that are computed, and those of them that are kept."""

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]


def boxes(height: int, width: int, tiling: Tiling) -> Generator[Box]:
    """Yield the tiles of a picture, row by row."""
    side, overlap = tiling.side, tiling.overlap
    if tiling.takes_whole(height, width):
        whole = slice(0, height), slice(0, width)
        yield Box(whole, whole)
        return
    for top in range(0, height, side):
        for left in range(0, width, side):
            starts, lengths = (top, left), (height, width)
            both = tuple(zip(starts, lengths, strict=True))
            seen = [slice(max(0, at - overlap), min(length, at + side + overlap)) for at, length in both]
            kept = [slice(at, min(length, at + side)) for at, length in both]
            yield Box((seen[0], seen[1]), (kept[0], kept[1]))


def kept_part(output: Tensor, box: Box) -> Tensor:
    """Return of the `output` for what a tile has seen, ...×H×W, that which is kept."""
    parts: list[slice] = []
    for length, seen, kept in zip(output.shape[-2:], box.seen, box.kept, strict=True):
        scale = length // (seen.stop - seen.start)
        parts.append(slice((kept.start - seen.start) * scale, (kept.stop - seen.start) * scale))
    return output[..., parts[0], parts[1]]
