"""The sample pictures of a run as the page has them: some steps of each, cut into cells, as WebP in data: addresses."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Len
from PIL import Image
from pydantic import TypeAdapter

from launchbay.launch.record.drawing import LAYOUT
from launchbay.models.reading import Unfit, check, open_regular, parse
from launchbay.models.saved import Count, Word

MOST_STEPS = 12
"""Of each picture, the first and the last among them."""
MOST_PIXELS = 50_000_000
"""Of a picture that is read. A grid of 20 samples has 3 million."""
LARGEST_CELL = 1000
"""Pixels of the longer side of a cell."""
SMALL = 96
"""Pixels of a side up to which a cell is kept without loss."""
QUALITY, EFFORT = 82, 20
"""Of WebP that loses something, and of that which does not: with the second METHOD a quarter of the time of the default
one, for 2 to 4 % more bytes."""
METHOD = 2
MOST_SHEETS = 36
"""Of one name that are encoded for a page."""
MOST_CELLS = 1000
"""That are kept, in case the same comes again."""
Box = tuple[Count, Count, Count, Count]
MOST_SAMPLES = 24
SHARES = (
    (12, MOST_SAMPLES),
    (8, MOST_SAMPLES),
    (6, MOST_SAMPLES),
    (6, 6),
    (4, 6),
    (3, 4),
    (2, 4),
    (2, 2),
    (1, 2),
    (1, 1),
)
"""How many steps and samples are shown: the first of these that has room."""


@dataclass(frozen=True)
class Layout:
    """Where the pictures of a grid are."""

    headings: Annotated[list[Word], Len(1, 100)]
    samples: list[list[Box]]


LAYOUT_SCHEMA = TypeAdapter(Layout)


@dataclass(frozen=True)
class Cell:
    """A picture on the page."""

    webp: bytes
    width: int
    height: int
    """As it is to be shown, which is a multiple of what it has where its pixels are to be seen."""

    def plain(self) -> tuple[str, int, int]:
        return f"data:image/webp;base64,{b64encode(self.webp).decode()}", self.width, self.height


@dataclass(frozen=True)
class Sheet:
    """A picture file, cut: for each sample a cell below each of the headings."""

    headings: Sequence[str]
    samples: Sequence[Sequence[Cell]]

    def of(self, samples: int) -> "Sheet":
        """Return the first `samples` of it."""
        return Sheet(self.headings, self.samples[:samples])


class Album:
    """The pictures of a run, by name and step: of at most MOST_STEPS steps each, however many there were."""

    def __init__(self):
        self.files: dict[str, dict[int, Path]] = {}
        self.sheets: dict[Path, Sheet | None] = {}  # as far as they were wanted; None for what cannot be read
        self.shown = SHARES[0]
        self.encoded: dict[bytes, Cell] = {}  # by digests of pixels: inputs and targets are the same at each step
        self.counts: Counter[str] = Counter()

    def add(self, step: int, files: Mapping[str, Path]) -> None:
        """Take note of pictures of `step`, which comes after those of before."""
        for name, file in files.items():
            kept = self.files.setdefault(name, {})
            kept[step] = file
            self.counts[name] += 1
            for gone in set(kept) - set(spread(list(kept), MOST_STEPS)):
                self.sheets.pop(kept.pop(gone), None)

    def read(self, steps: int, samples: int) -> dict[str, dict[int, Sheet]]:
        """Return the sheets of at most so many `steps` of each picture."""
        self.shown = steps, samples
        found: dict[str, dict[int, Sheet]] = {}
        for name, kept in self.files.items():
            sheets = {step: self.sheet(kept[step]) for step in spread(list(kept), steps)}
            found[name] = {step: sheet.of(samples) for step, sheet in sheets.items() if sheet}
        return found

    def sheet(self, file: Path) -> Sheet | None:
        if file not in self.sheets:
            try:
                self.sheets[file] = self.cut(file)
            except (Unfit, OSError, ValueError, SyntaxError):  # the last two are Pillow's
                self.sheets[file] = None
        return self.sheets[file]

    def cut(self, file: Path) -> Sheet:
        """Return the cells of the picture `file`.

        Raises:
            Unfit, OSError, ValueError, SyntaxError: it cannot be read.
        """
        headings, samples = cut(file)
        return Sheet(headings, [[self.encode(picture) for picture in row] for row in samples])

    def encode(self, picture: Image.Image) -> Cell:
        digest = blake2b(picture.tobytes()).digest()
        if digest not in self.encoded:
            if len(self.encoded) > MOST_CELLS:
                self.encoded.clear()
            self.encoded[digest] = encode(picture)
        return self.encoded[digest]

    def unread(self) -> int:
        """Return how many pictures cannot be read."""
        return sum(sheet is None for sheet in self.sheets.values())

    def is_cut(self) -> bool:
        """Return whether there are steps or samples of which no picture is shown."""
        steps, samples = self.shown
        return any(
            count > steps or any(sheet and len(sheet.samples) > samples for sheet in self.sheets.values())
            for count in self.counts.values()
        )


def spread(steps: Sequence[int], most: int) -> list[int]:
    """Return at most so many of `steps`, evenly spread: the last one, then the first, are kept longest."""
    kept = list(steps)
    while len(kept) > most:
        gaps = [after - before for before, after in zip(kept, kept[2:], strict=False)]
        kept.pop(1 + gaps.index(min(gaps)) if gaps else 0)
    return kept


Shown = dict[str, dict[int, Sheet]]
"""The sheets of a run by name and step."""


def fit(albums: Sequence[Album], most: int) -> list[Shown]:
    """Return what is shown of each of `albums`, so that all together have no more than `most` bytes. Where one step of
    each is too much, the last ones have none.
    """
    found: list[Shown] = []
    for steps, samples in SHARES:
        if steps > max(1, MOST_SHEETS // len(albums)):
            continue  # encoding all of them would take long
        found = [album.read(steps, samples) for album in albums]
        if bytes_of(found) <= most:
            return found
    while bytes_of(found) > most:
        last = max(place for place, own in enumerate(found) if own)
        found[last] = {}
    return found


def bytes_of(found: Sequence[Shown]) -> int:
    sheets = (sheet for own in found for of in own.values() for sheet in of.values())
    return sum(map(len, {cell.webp for sheet in sheets for row in sheet.samples for cell in row}))


def cut(file: Path) -> tuple[list[str], list[list[Image.Image]]]:
    """Return the headings of the picture `file`, and what is below them of each sample: itself, if it does not say.

    Raises:
        Unfit, OSError, ValueError, SyntaxError: it cannot be read.
    """
    with open_regular(file) as opened, Image.open(opened, formats=["PNG"]) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise Unfit(f"has {picture.width}×{picture.height} pixels")
        picture.load()
        text = picture.info.get(LAYOUT)
        whole = picture.convert("RGB")
    if not isinstance(text, str):
        return [""], [[whole]]
    layout = check(parse(text.encode()), LAYOUT_SCHEMA)
    for row in layout.samples:
        for left, top, width, height in row:
            if not (width and height and left + width <= whole.width and top + height <= whole.height):
                raise Unfit("has a sample outside of it")
        if len(row) != len(layout.headings):
            raise Unfit("has a sample with other pictures than the headings say")
    crop = [[whole.crop((x, y, x + width, y + height)) for x, y, width, height in row] for row in layout.samples]
    return layout.headings, crop


def encode(picture: Image.Image) -> Cell:
    """Return `picture` as WebP. What is enlarged pixel by pixel is kept as small as it is, and small ones are exact."""
    picture.thumbnail((LARGEST_CELL, LARGEST_CELL))
    small, file = unenlarged(picture), BytesIO()
    if max(small.size) <= SMALL or small.getcolors(64):
        small.save(file, "WEBP", lossless=True, quality=EFFORT, method=METHOD)
    else:
        small.save(file, "WEBP", quality=QUALITY, method=METHOD)
    return Cell(file.getvalue(), *picture.size)


def unenlarged(picture: Image.Image) -> Image.Image:
    """Return `picture` as it was before each pixel became a square of them."""
    pixels = np.asarray(picture)
    for times in range(16, 1, -1):
        if picture.width % times or picture.height % times:
            continue
        small = pixels[::times, ::times]
        if (small.repeat(times, axis=0).repeat(times, axis=1) == pixels).all():
            return Image.fromarray(np.ascontiguousarray(small))
    return picture
