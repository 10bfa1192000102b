"""Files of pictures at one place, by their names: headers, pixels, and what is wrong with any."""

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.archives import Archive, Place, Unreachable
from launchbay.data.base import ImageSet, digest_of
from launchbay.data.decode import decode
from launchbay.data.headers import Headers
from launchbay.data.layout import Layout
from launchbay.data.listing import what_reads
from launchbay.data.reading import Paths, Problems, damaged_among, decode_all, examine
from launchbay.data.samples import bytes_beside
from launchbay.data.unsuitable import small_pictures
from launchbay.data.words import counted, listed, plain_name

KEEP_BYTES = 2**30
"""Sets whose decoded pictures fit in this many bytes are decoded once, at the start, and kept. It is what all processes
of a run on one machine may keep together.
"""


SKIP = "; --skip-damaged leaves out what is damaged"
SKIPPING: ContextVar[bool] = ContextVar("whether damaged pictures are looked for, to be left out", default=False)
LATER = (
    "; with a whole copy in its place the same command goes on. Or begin another run with --skip-damaged, which "
    "decodes every picture before the first step, and leaves out what is damaged"
)
"""What else can be done about a picture that turns out to be damaged in the middle of a run."""


class DamagedPictures(UserError):
    """Pictures that cannot be read: `lines` has one for each, `rest` is the data set without them, if any are left."""

    def __init__(self, lines: Sequence[str], rest: ImageSet | None, where: str, remedy: str = ""):
        self.lines, self.rest, self.where, self.remedy = lines, rest, where, remedy
        if len(lines) == 1:
            said, it = f"cannot read the picture {lines[0]}", "it"
        else:
            said, it = f"cannot use {len(lines):,} pictures:\n{listed(lines)}", "them"
        super().__init__(said, (remedy or f"repair {it} or take {it} out of the {where}") + SKIP)

    def with_small(self, smallest: int) -> "DamagedPictures":
        """Return this with those of the rest that have fewer than `smallest` pixels in width or height."""
        small = small_pictures(self.rest, smallest) if self.rest is not None else []
        needed = f", but {smallest}×{smallest} are needed"
        return DamagedPictures([*self.lines, *(line + needed for line in small)], self.rest, self.where, self.remedy)


def kind_of(root: Place) -> str:
    """Return what a person would take a picture out of."""
    return "folder" if isinstance(root, Path) else "archive" if isinstance(root, Archive) else "table"


KEEP_COUNT = 100_000
"""Of more pictures none is kept: decoding them all takes longer than a person waits for a run to start."""


def keep_bytes() -> int:
    """Return how many bytes of decoded pictures this process may keep of a set."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return KEEP_BYTES // max(1, int(processes) if processes.isdecimal() else 1)


class Files(ImageSet):
    """The pictures at the place `root` that are called `names`; what cannot be read is in `problems`, and left out."""

    def __init__(self, root: Place, names: Sequence[str]):
        self.root = root
        self.problems = self._read(names)

    def _read(self, names: Sequence[str]) -> Problems:
        """Become the pictures of these `names`. Return why some of their files cannot be read: they are left out."""
        self.headers, problems = self._examine(names)
        self.files = Paths(self.root, names)
        damaged = self._keep()
        problems |= {names[place]: reason for place, reason in damaged.items()}
        if problems:
            good = [place for place, name in enumerate(names) if name not in problems]
            self.files = Paths(self.root, [names[place] for place in good])
            self.headers, self.starts = self.headers.at(np.array(good, np.int64)), self.starts[good]
        self.uniform = self.headers.are_uniform()
        return problems

    def _examine(self, names: Sequence[str]) -> tuple[Headers, Problems]:
        """Return what the heads of the files `names` say, and why some cannot be read."""
        return examine(self.root, names)

    def _total(self) -> int:
        """Return how many pictures there are in all splits."""
        return len(self.headers)

    def _keep(self) -> dict[int, str]:
        """Decode all pictures and keep them, if they are not too many. Return why some cannot be decoded: of those that
        are too many, if such are to be left out.
        """
        sides = self.headers.pixels()
        self.starts, self.kept = np.cumsum(sides) - sides, None
        if self._total() > KEEP_COUNT or sides.sum() > keep_bytes():
            return self._look_through() if SKIPPING.get() else {}
        self.kept = torch.empty(int(sides.sum()), dtype=torch.uint8)
        return decode_all(self.files, self.headers, self.kept)

    def _look_through(self) -> dict[int, str]:
        """Return why some pictures cannot be decoded, by their places."""
        return damaged_among(self.root, self.files, self.files.names, self.headers)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width), which was read from the file's header."""
        return int(self.headers.height[index]), int(self.headers.width[index])

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (height, width) of each picture, by its name."""
        return {name: self.size(index) for index, name in enumerate(self.files.names)}

    def name(self, index: int) -> str:
        """Return the path of a picture."""
        return plain_name(self.files[index])

    def fingerprint(self) -> str:
        """Return what tells this set from another: from the paths within `root` and the sizes of all files."""
        known = zip(self.files.names, self.headers.bytes.tolist(), strict=True)
        return digest_of(chain((part for each in known for part in each), bytes_beside(self)))

    def image(self, index: int) -> Tensor:
        """Return a picture, upright and in colour: uint8 3×H×W."""
        if self.kept is not None:
            (height, width), start = self.size(index), int(self.starts[index])
            return self.kept[start : start + 3 * height * width].view(height, width, 3).permute(2, 0, 1)
        try:
            image = decode(self.files[index])
        except UserError as error:
            later = "" if isinstance(error.__cause__, Unreachable) else LATER
            raise UserError(error.message, error.hint + later) from error
        if image.shape[-2:] != self.size(index):
            raise UserError(f"{self.name(index)} has changed since the run started", "put it back as it was")
        return image


class Listed(ImageSet):
    """A set that was understood from names: it says how, and opens its other splits as it was when it was opened."""

    layout: Layout
    """What its pictures are for."""
    split: str
    skipped: tuple[str, int] = ("", 0)
    """What is said of damaged pictures that are left out, and how many there are."""

    @abstractmethod
    def _take(self, split: str) -> None:
        """Become the pictures of `split`.

        Raises:
            UserError: there are none, or some cannot be used.
        """
        ...

    @abstractmethod
    def _understood(self) -> str:
        """Return what the pictures are, in a few words, before how many there are."""
        ...

    def _remarks(self) -> list[str]:
        """Return what else is to be said of them."""
        return []

    def sibling(self, split: str) -> Self:
        """Return the pictures of another split.

        Raises:
            UserError: as for any split.
        """
        other = copy(self)
        other._take(split)
        return other

    def describe(self, counts: Sequence[str], note: str) -> str:
        """Return a line on what was understood, `counts` of the pictures, a `note` on them, and what was left out."""
        layout, left_out = self.layout, self.layout.left_out + Counter(dict([self.skipped]))
        together = f"from {layout.together}" if layout.together and self.split == "all" else note
        said = [f"{self._understood()}{', '.join(filter(None, counts))}", *filter(None, [together]), *self._remarks()]
        if left_out:
            said.append(f"left out: {counted(left_out)}{what_reads(left_out)}")
        return "; ".join(said)


class LabelledFiles(Files):
    """Files of pictures, and the class of each; with none, why not.

    Raises:
        DamagedPictures: some cannot be read.
    """

    def __init__(
        self, root: Place, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], unlabelled: str = ""
    ):
        super().__init__(root, names)
        self.classes, self.unlabelled = tuple(map(plain_name, classes)), unlabelled
        known = dict(zip(names, labels, strict=True))
        self.labels = [known[name] for name in self.files.names]
        if self.problems:
            lines = [f"{plain_name(root / name)}: {reason}" for name, reason in sorted(self.problems.items())]
            raise DamagedPictures(lines, self if self.files else None, kind_of(root))

    def label(self, index: int) -> int | None:
        """Return the class of a picture, a number below that of the `classes`."""
        return self.labels[index] if self.classes else None


def without_damaged(open: Callable[[], ImageSet]) -> ImageSet:
    """Return the set that `open` gives, or what is left of it without damaged pictures. These are counted with what was
    left out.

    Raises:
        UserError: none is left.
    """
    before = SKIPPING.set(True)
    try:
        return open()
    except DamagedPictures as error:
        if error.rest is None:
            said = f"no picture is left without those that are damaged:\n{listed(error.lines)}"
            raise UserError(said, "repair some, or name other data") from error
        said = f"damaged ({error.lines[0]}{', ...' * (len(error.lines) > 1)})"
        if isinstance(error.rest, Listed):
            error.rest.skipped = (said, len(error.lines))
        else:
            error.rest.note += f"; left out: {len(error.lines):,} {said}"
        return error.rest
    finally:
        SKIPPING.reset(before)
