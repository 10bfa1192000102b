"""Any folder of photographs, in any depth of sub-folders."""

from collections.abc import Sequence
from copy import copy
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet, digest
from launchbay.data.decode import decode
from launchbay.data.layout import class_of, classes_of, empty_classes, understand
from launchbay.data.listing import list_folder, what_reads
from launchbay.data.reading import Paths, Problems, decode_all, examine
from launchbay.data.samples import bytes_beside
from launchbay.data.transforms import small_pictures
from launchbay.data.words import counted, listed, plain_name, some_of

KEEP_BYTES = 2**30
"""Folders whose decoded pictures fit in this many bytes are decoded once, at the start, and kept."""


class DamagedPictures(UserError):
    """Pictures that cannot be read: `lines` has one for each, `rest` is the data set without them, if any are left."""

    def __init__(self, lines: Sequence[str], rest: "Folder | None"):
        self.lines, self.rest = lines, rest
        if len(lines) == 1:
            super().__init__(f"cannot read the picture {lines[0]}", "repair it or take it out of the folder")
        else:
            said = f"cannot use {len(lines):,} pictures:\n{listed(lines)}"
            super().__init__(said, "repair them or take them out of the folder")

    def with_small(self, smallest: int) -> "DamagedPictures":
        """Return this with those of the rest that have fewer than `smallest` pixels in width or height."""
        small = small_pictures(self.rest, smallest) if self.rest is not None else []
        needed = f", but {smallest}×{smallest} are needed"
        return DamagedPictures([*self.lines, *(line + needed for line in small)], self.rest)


class Folder(ImageSet):
    """The pictures under `root`, by name. DIR/train and DIR/val, or with one of the usual synonyms, are splits; without
    these, validation holds out every tenth picture (at least one), training has the others. `split="all"` has them all.
    If every picture is in a sub-folder (of its split), and there are several, their names are the classes.

    Raises:
        UserError: no such folder, no picture in it, too few to hold one out, or some that cannot be read (named).
    """

    def __init__(self, split: str, root: Path | None = None):
        if root is None:
            raise UserError(
                "--data folder does not say which folder", "add --data-root DIR, the folder of your pictures"
            )
        self.root = root
        self.listing = list_folder(root)
        self.layout = understand(self.listing)
        self._take(split)

    def _take(self, split: str) -> None:
        """Become the pictures of `split`.

        Raises:
            UserError: there are none, or some cannot be read.
        """
        names = self.layout.splits[split]
        if not names:
            raise too_few(self)
        self.split = split
        self.folders, self.unlabelled = classes_of(self.layout, split)
        self.classes = tuple(map(plain_name, self.folders))
        problems = self._read(names)
        if problems:
            rest = copy(self) if self.files else None
            if split != "all":  # all is told at once, not one split after the other
                mine = set(names)
                other = [name for name in self.layout.splits["all"] if name not in mine]
                problems |= copy(self)._read(other)
            lines = [f"{plain_name(self.root / name)}: {reason}" for name, reason in sorted(problems.items())]
            raise DamagedPictures(lines, rest)

    def _read(self, names: Sequence[str]) -> Problems:
        """Become the pictures of these `names`. Return why some of their files cannot be read: they are left out."""
        headers, problems = examine(self.root, names)
        sides = [3 * header.height * header.width for header in headers]
        self.kept = None
        if sum(sides) <= KEEP_BYTES:
            self.kept = torch.empty(sum(sides), dtype=torch.uint8)
            problems |= decode_all(self.root, names, headers, self.kept)
        good = [place for place, name in enumerate(names) if name not in problems]
        starts = [0, *accumulate(sides)]
        self.files = Paths(self.root, [names[place] for place in good])
        self.headers = [headers[place] for place in good]
        self.starts = [starts[place] for place in good]
        self.uniform = len({(header.height, header.width) for header in self.headers}) <= 1
        if self.classes:
            number = {name: place for place, name in enumerate(self.folders)}
            self.labels = [number[class_of(names[place], self.layout.depth)] for place in good]
        return problems

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def label(self, index: int) -> int | None:
        """Return the class of a picture: the place of its sub-folder among `classes`."""
        return self.labels[index] if self.classes else None

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width), which was read from the file's header."""
        header = self.headers[index]
        return header.height, header.width

    def name(self, index: int) -> str:
        """Return the path of a picture."""
        return plain_name(self.files[index])

    def fingerprint(self) -> str:
        """Return what tells this set from another: from the paths within `root` and the sizes of all files."""
        known = zip(self.files.names, (header.bytes for header in self.headers), strict=True)
        return digest(*(part for each in known for part in each), *bytes_beside(self))

    def image(self, index: int) -> Tensor:
        """Return a picture, upright and in colour: uint8 3×H×W."""
        if self.kept is not None:
            (height, width), start = self.size(index), self.starts[index]
            return self.kept[start : start + 3 * height * width].view(height, width, 3).permute(2, 0, 1)
        image = decode(self.files[index])
        if image.shape[-2:] != self.size(index):
            raise UserError(f"{self.name(index)} has changed since the run started", "put it back as it was")
        return image


def sibling(images: Folder, split: str) -> Folder:
    """Return the pictures of another split, of the folder as it was when `images` was opened.

    Raises:
        UserError: as for any folder.
    """
    other = copy(images)
    other._take(split)  # pyright: ignore[reportPrivateUsage]
    return other


def describe(images: Folder, counts: Sequence[str], note: str) -> str:
    """Return a line on what was understood of the folder, `counts` of its pictures, a `note` on them, and what was left
    out.
    """
    layout, classes = images.layout, images.classes
    names = f"{len(classes)} classes ({some_of(classes, 8)}), " if classes else ""
    said = [f"{plain_name(images.root)}: {names}{', '.join(filter(None, counts))}"]
    together = f"from {layout.together}" if layout.together and images.split == "all" else note
    said += [together] if together else []
    if images.folders:
        empty = [plain_name(name) for name in empty_classes(images.listing, layout, images.folders)]
        said += [f"no picture in {some_of(empty)}"] if empty else []
    said += [f"left out: {counted(layout.left_out)}{what_reads(layout.left_out)}"] if layout.left_out else []
    return "; ".join(said)


def too_few(images: Folder) -> UserError:
    """Return what to tell a person if there is nothing for a split."""
    root, names = plain_name(images.root), images.listing.names
    if len(names) == 1:
        return UserError(
            f"{root} has one picture ({plain_name(names[0])}), which cannot serve training and validation both",
            "add more, or validate on other photographs with --val-root DIR",
        )
    tops = some_of(sorted({f"{name.partition('/')[0]}/" for name in images.layout.splits["all"]}))
    return UserError(f"{root} has {tops}, but no train/", "put the pictures to train on there")


def find_pictures(root: Path) -> list[Path]:
    """Return the pictures in the folder `root`, in any depth of sub-folders, in the order of their paths. What is
    hidden is left out.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    return [root / name for name in list_folder(root).names]
