"""What is said at the start of how pictures are loaded for a task, beside how many there are."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from launchbay.data.base import ImageSet
from launchbay.data.files import Files
from launchbay.data.held_out import Part
from launchbay.data.pairs import Pairs
from launchbay.data.words import some_of

DARK = 4095 * 255 // 65535 + 1
"""What white of 12 bits becomes where it is read as one of 16."""


class Colours(NamedTuple):
    """How many pictures there are, and how many of them are in colour; -1 where their files do not say so."""

    pictures: int
    coloured: int


def count_coloured(images: ImageSet) -> Colours:
    """Return how many of `images` are in colour, as the heads of their files say."""
    whole, places = (images.images, images.places) if isinstance(images, Part) else (images, None)
    files = whole.images if isinstance(whole, Pairs) else whole
    if not isinstance(files, Files):
        return Colours(len(images), -1)
    grey = files.headers.grey if places is None else files.headers.grey[np.array(places, np.int64)]
    return Colours(len(images), len(images) - int(grey.sum()))


def on_colours(sets: Iterable[tuple[ImageSet, int | None]], *, choosable: bool) -> str:
    """Return what to say of the colours of sets that are loaded with so many channels; empty if it is nothing.

    Args:
        choosable: --channels says how many.
    """
    counts = {1: Colours(0, 0), 3: Colours(0, 0)}
    for images, channels in sets:
        if images.channels == 3 and channels in counts:
            found, before = count_coloured(images), counts[channels]
            coloured = -1 if -1 in (found.coloured, before.coloured) else found.coloured + before.coloured
            counts[channels] = Colours(before.pictures + found.pictures, coloured)
    pictures, coloured = counts[1]
    if pictures and coloured > 0:
        which = f"{coloured:,} of" if coloured < pictures else "all"
        return f"{which} {pictures:,} pictures are saved in colour, and made grey (their luminance)"
    if pictures:
        return f"all {pictures:,} pictures are {'grey' if not coloured else 'made grey (their luminance)'}"
    if choosable and counts[3].pictures and not counts[3].coloured:
        return f"all {counts[3].pictures:,} pictures are grey, read as RGB; --channels 1 trains on one channel"
    return ""


def on_orientation(sets: Iterable[ImageSet]) -> str:
    """Return what to say of pictures whose EXIF has an orientation that is none; empty if no picture has."""
    names = list[str]()
    for images in sets:
        whole, places = (images.images, images.places) if isinstance(images, Part) else (images, range(len(images)))
        files = whole.images if isinstance(whole, Pairs) else whole
        if isinstance(files, Files) and files.headers.odd.any():
            names += [files.name(place) for place in places if files.headers.odd[place]]
    if not names:
        return ""
    return f"taken as they lie, since their EXIF has an orientation that is none: {some_of([*dict.fromkeys(names)], 3)}"


def on_darkness(images: ImageSet) -> str:
    """Return what to say of pictures that are kept decoded, if all are as dark as 12 bits look among 16."""
    whole = images.images if isinstance(images, Part) else images
    files = whole.images if isinstance(whole, Pairs) else whole
    if not isinstance(files, Files) or files.kept is None or not files.headers.grey.any():
        return ""
    if not 0 < (brightest := int(files.kept.max())) <= DARK:
        return ""
    return (
        f"the brightest pixel of all pictures has {brightest} of 255: where files do not say that they have 12 bits or "
        "fewer, they are taken to have 16; scale their values"
    )
