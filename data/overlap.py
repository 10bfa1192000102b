"""Pictures that two data sets have in common: the same pixels, or, of photographs, the same at another size, mirrored
or saved anew, found by their thumbnails.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from launchbay.data.base import ImageSet
from launchbay.data.files import Files
from launchbay.data.randomness import Index

THUMBNAIL, ALIKE = 16, 0.95
"""Side in pixels, and the correlation from which photographs are alike. Of some 300 of super-resolution, the same one
at another size correlates by 0.99, no two others by more than 0.9, mirrored either."""
SMALLEST = 48
"""Pixels that a photograph's side has at least. Smaller pictures, as of digits, are alike by nature."""
OPENING = 64 * 64
"""Pixels that could be looked at while a file is opened."""


def find_alike(images: ImageSet, others: ImageSet, budget: float = float("inf")) -> list[tuple[int, int]]:
    """Return pairs of indices of pictures of `images` and of `others` that are the same.

    Args:
        budget: pixels to look at; of sets that have more, as large a part of each, evenly spread.
    """
    share = min(1.0, budget / max(1, count_pixels(images) + count_pixels(others)))
    if min(images.size(0)) < SMALLEST or min(others.size(0)) < SMALLEST:
        known = {row: index for index, row in bytes_of(others, share)}
        return [(index, known[row]) for index, row in bytes_of(images, share) if row in known]
    (of_images, mine), (of_others, theirs) = (thumbnails(one, share) for one in (images, others))
    mirrored = mine.unflatten(1, (THUMBNAIL, THUMBNAIL)).flip(-1).flatten(1)
    alike = torch.maximum(mine @ theirs.T, mirrored @ theirs.T) > ALIKE
    return [(of_images[row], of_others[column]) for row, column in alike.nonzero().tolist()]


def count_pixels(images: ImageSet) -> int:
    """Return about how many pixels `images` have; a file that is opened for them counts as so many, too."""
    height, width = images.size(0)
    opened = isinstance(images, Files) and images.kept is None
    return len(images) * max(height * width, OPENING * opened)


def pictures(images: ImageSet, share: float) -> Iterator[tuple[int, Tensor]]:
    """Give a `share` of the pictures, evenly spread, each with its index."""
    count = max(1, int(len(images) * share))
    chosen = [number * len(images) // count for number in range(count)]
    together = 256 if images.uniform else 1
    for start in range(0, count, together):
        part = chosen[start : start + together]
        values = images.__getitems__([Index(index, index) for index in part])["image"]
        yield from zip(part, values, strict=True)


def bytes_of(images: ImageSet, share: float) -> Iterator[tuple[int, bytes]]:
    for index, picture in pictures(images, share):
        yield index, picture.cpu().numpy().tobytes()


def thumbnails(images: ImageSet, share: float) -> tuple[list[int], Tensor]:
    """Return indices, and N×D: grey thumbnails of mean 0 and length 1."""
    chosen, rows = [], []
    for index, picture in pictures(images, share):
        chosen.append(index)
        rows.append(adaptive_avg_pool2d(picture.cpu().float().mean(dim=0)[None], THUMBNAIL).flatten())
    stacked = torch.stack(rows)
    return chosen, normalize(stacked - stacked.mean(dim=1, keepdim=True), dim=1)
