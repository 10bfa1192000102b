"""Any folder of photographs, in any depth of sub-folders."""

import time
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np

from launchbay import UserError, number_of
from launchbay.data.archives import Archive
from launchbay.data.files import DamagedPictures, Files, Listed, kind_of
from launchbay.data.headers import Headers
from launchbay.data.layout import class_of, classes_of, empty_classes, understand, unwrapped
from launchbay.data.listing import Listing, list_archive, list_folder
from launchbay.data.partners import look_like_pairs
from launchbay.data.reading import Problems, examine
from launchbay.data.walks import walk_once
from launchbay.data.words import plain_name, some_of


class Folder(Files, Listed):
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
        self.asked = time.time_ns()
        self.given, self.listing = root, look_into(root)
        self.root = self.listing.root
        self.layout = understand(self.listing)
        self.examined: tuple[Headers, Problems] | None = None
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
            raise DamagedPictures(lines, rest, kind_of(self.root))

    def _read(self, names: Sequence[str]) -> Problems:
        problems = super()._read(names)
        if self.classes:
            number = {name: place for place, name in enumerate(self.folders)}
            self.labels = np.array([number[class_of(name, self.layout.depth)] for name in self.files.names], np.int64)
        return problems

    def _total(self) -> int:
        return len(self.layout.splits["all"])

    def _examine(self, names: Sequence[str]) -> tuple[Headers, Problems]:
        if self.examined is None:
            self.examined = examine(self.root, self.layout.splits["all"], self.asked)  # for all splits at once
        headers, problems = self.examined
        place = {name: place for place, name in enumerate(self.layout.splits["all"])}
        found = headers.at(np.array([place[name] for name in names], np.int64))
        return found, {name: problems[name] for name in names if name in problems} if problems else {}

    def label(self, index: int) -> int | None:
        """Return the class of a picture: the place of its sub-folder among `classes`."""
        return int(self.labels[index]) if self.classes else None

    def _understood(self) -> str:
        names = f"{number_of(len(self.classes), 'class')} ({some_of(self.classes, 8)}), " if self.classes else ""
        inside = isinstance(self.root, Path) and self.root != self.given
        return f"{plain_name(self.root)}{', where all pictures are' * inside}: {names}"

    def _remarks(self) -> list[str]:
        empty = empty_classes(self.listing, self.layout, self.folders) if self.folders else []
        said = [self.layout.deeper] if self.layout.deeper else []
        if (
            self.unlabelled
            and len({class_of(name, self.layout.depth) for name in self.layout.splits["all"]} - {""}) > 1
        ):
            said.append(f"no classes: {self.unlabelled}")
        said += [f"no picture in {some_of([plain_name(name) for name in empty])}"] if empty else []
        return [f"if these are pairs: {self.pairs}", *said] if self.pairs else said

    @cached_property
    def pairs(self) -> str:
        """The options that would take these pictures as pairs, empty if they do not look like any."""
        names = self.listing.names
        return f"--data pairs --data-root {plain_name(self.root)}" if look_like_pairs(names) else ""


def look_into(root: Path) -> Listing:
    """Return what is in a folder, or in the archive `root`.

    Raises:
        UserError: there is no picture, or it is neither.
    """
    return unwrapped(list_archive(Archive(root)) if root.is_file() else walk_once(root, list_folder))


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
