"""Pairs from folders of the same names: what is given and what it should become, or pictures and their masks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet, digest
from launchbay.data.files import DamagedPictures, Files, Listed, kind_of
from launchbay.data.folder import look_into
from launchbay.data.held_out import Part
from launchbay.data.layout import HOLD_OUT, Layout
from launchbay.data.listing import Listing, what_reads
from launchbay.data.masks import Masks
from launchbay.data.partners import SAID, Partners, find_partners
from launchbay.data.unsuitable import UnsuitablePictures
from launchbay.data.words import counted, listed, plain_name, some_of

USUAL = 4
"""How many times smaller inputs are taken to be where there are several, before a task says which it takes."""


class Pairs(Listed):
    """Pairs of pictures below `root`, a folder or an archive, found by their names (see `launchbay.data.partners`):
    "image" and, beside it, "input", as large or a whole number of times smaller; or "image" and "mask", whose values
    stay as they are. Splits are as in any folder.

    Raises:
        UserError: the names do not say what belongs together, or some pictures have no partner, several, or one of
            another size: they are named, all at once.
    """

    unlabelled: str = "pairs have none"
    """Why there are no classes."""

    def __init__(self, split: str, root: Path | None = None):
        if root is None:
            raise UserError("--data pairs does not say which", "add --data-root DIR, with folders such as low and high")
        self.listing = look_into(root)
        self.root = self.listing.root
        partners = find_partners(self.listing.names)
        if partners is None:
            raise not_told(self.root, self.listing)
        self.partners = partners
        self.essential = (partners.kind,)
        self.given = USUAL if USUAL in partners.pairs else max(partners.pairs, default=0)
        self.cut: dict[str, int] = {}
        self._take(split)

    def _take(self, split: str) -> None:
        pairs = self.partners.pairs.get(self.given, [])
        self.layout = layout_of(pairs, self.partners, self.listing.left_out)
        self.split, names = split, self.layout.splits[split]
        if not names and pairs:
            said = f"{plain_name(self.root)} has no pairs to {'train' if split == 'train' else 'validate'} on"
            raise UserError(said, "add some; without folders train and val every tenth pair is held out")
        damaged, wrong = self._look(pairs, names)
        if not damaged and not wrong and not self.partners.problems:
            return
        mine = {*names}
        other = copy(self)._look(pairs, [name for name in self.layout.splits["all"] if name not in mine])
        damaged, wrong = damaged | other[0], [*self.partners.problems, *wrong, *other[1]]
        if not wrong:
            kept = {*self.names} - damaged.keys()
            self._look(pairs, [name for name in names if name in kept])
            raise DamagedPictures(list(damaged.values()), self if kept else None, kind_of(self.root))
        lines = [*wrong, *damaged.values()]
        if len(lines) == 1:
            raise UserError(f"{plain_name(self.root)}: {lines[0]}", "mend it, or take it away")
        said = f"{plain_name(self.root)} has {len(lines):,} pictures that make no pair"
        raise UserError(f"{said}:\n{listed(lines)}", "mend them, or take them away")

    def _look(self, pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Become those of `pairs` whose pictures are called `names`. Return a line on each that is damaged, by this
        name, and what else is wrong.
        """
        partner = dict(pairs)
        self._read(names, [partner[name] for name in names])
        damaged = self.images.problems | self.others.problems
        lines = {name: self._damage(name, other, damaged) for name, other in zip(names, self.beside, strict=True)}
        lines = {name: line for name, line in lines.items() if line}
        refused = self.others.refused if isinstance(self.others, Masks) else {}
        wrong = [f"{plain_name(name)}: {reason}" for name, reason in sorted(refused.items())]
        good = [pair for pair in zip(names, self.beside, strict=True) if pair[0] not in lines]
        return lines, [*wrong, *self._wrong(good)]

    def _damage(self, name: str, other: str, damaged: Mapping[str, str]) -> str:
        """Return which of a pair cannot be read, and why; empty if both can."""
        return "; ".join(f"{plain_name(self.root / one)}: {damaged[one]}" for one in (name, other) if one in damaged)

    def _read(self, names: Sequence[str], others: Sequence[str]) -> None:
        """Become the pairs of these names."""
        self.names, self.beside = names, others
        self.images = Files(self.root, names)
        self.others: Files | Masks
        if self.partners.kind == "mask":
            self.others, self.masks = Masks(self.root, others, keep=self.images.kept is not None), ("mask",)
        else:
            self.others, self.pictures = Files(self.root, others), ("image", "input")
        self.uniform = self.images.uniform and self.others.uniform

    def _wrong(self, good: Sequence[tuple[str, str]]) -> list[str]:
        """Find out the scale of the pairs that can be read. Return which have another one."""
        images, others = self.images.sizes(), self.others.sizes()
        sizes = [(*images[name], *others[other]) for name, other in good]
        ratios = Counter(height // rows for height, width, rows, columns in sizes if height // rows == width // columns)
        likely = max(1, ratios.most_common(1)[0][0]) if ratios else 1
        scale = 1 if self.partners.kind == "mask" else self.given or likely
        self.scales = {"input": scale} if scale > 1 else {}
        self.cut[self.split] = sum(1 for height, width, _, _ in sizes if height % scale or width % scale)
        needed = f"{scale} times smaller" if scale > 1 else "as large"
        return [
            f"{plain_name(name)} has {width}×{height} pixels, {plain_name(other)} {columns}×{rows}, "
            f"which is not {needed}"
            for (name, other), (height, width, rows, columns) in zip(good, sizes, strict=True)
            if (height // scale, width // scale) != (rows, columns)
        ]

    def at(self, scale: int) -> "Pairs":
        """Return the pairs whose inputs are `scale` times smaller than their targets.

        Raises:
            UnsuitablePictures: there are none.
        """
        if self.partners.kind == "mask" or self.scales.get("input", 1) == scale:
            return self
        if scale in self.partners.pairs:
            other = copy(self)
            other.given, other.cut = scale, {}
            other._take(self.split)
            return other.at(scale)
        there = sorted({self.scales.get("input", 1), *filter(None, self.partners.pairs)})
        said = f"the inputs in {plain_name(self.root)} are {' or '.join(map(str, there))} times smaller, not {scale}"
        said = said.replace("are 1 times smaller", "are as large as the targets").replace("not 1", "not as large")
        smaller = " or ".join(str(each) for each in there if each > 1)
        ways = [f"superres with --scale {smaller}"] * bool(smaller) + ["denoise"] * (1 in there)
        hint = f"choose {' or '.join(ways)}"
        raise UnsuitablePictures(said, hint, "scale")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.images)

    @property
    def channels(self) -> int:
        """C of the pictures, not of what is beside them."""
        return self.images.channels

    def image(self, index: int) -> Tensor:
        """Return the picture of a pair: uint8 3×H×W."""
        return self.images.image(index)

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of the picture."""
        return self.images.size(index)

    def name(self, index: int) -> str:
        """Return the path of the picture."""
        return self.images.name(index)

    def fingerprint(self) -> str:
        """Return what tells these pairs from others: names and sizes of all files."""
        return digest(self.images.fingerprint(), self.others.fingerprint())

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """{"image": uint8 N×3×H×W} and {"input": uint8 N×3×h×w} or {"mask": N×H×W}, which is uint8, or int32 where it
        has more than 8 bits.
        """
        beside = torch.stack([self.others.image(index) for index in indices])
        return {**super().__getitems__(indices), self.partners.kind: beside}

    def _understood(self) -> str:
        others, images = self.partners.places
        scale = self.scales.get("input", 1)
        smaller = f", {scale} times smaller" if scale > 1 else ""
        what = "masks" if self.partners.kind == "mask" else "inputs"
        return f"{plain_name(self.root)}: pairs, {images} with {what} from {others}{smaller}: "

    def _remarks(self) -> list[str]:
        scale = self.scales.get("input", 1)
        return [f"{cut:,} cut to a multiple of {scale} pixels"] if (cut := sum(self.cut.values())) else []


def layout_of(pairs: Sequence[tuple[str, str]], partners: Partners, left_out: Counter[str]) -> Layout:
    """Return what pairs are for: what their folders say, or every tenth for validation."""
    names = [name for name, _ in pairs]
    of_role = {role: [name for name in names if partners.roles[name] == role] for role in ("", "train", "val", "test")}
    left_out = left_out + partners.left_out
    if not of_role["val"] and not of_role["test"]:
        training = [name for place, name in enumerate(names) if place % HOLD_OUT]
        return Layout({"train": training, "val": names[::HOLD_OUT], "all": names}, 0, left_out)
    training = [name for name in names if partners.roles[name] in ("", "train")]
    note = f"{len(of_role['test']):,} to test not used" if of_role["val"] and of_role["test"] else ""
    splits = {"train": training, "val": of_role["val"] or of_role["test"], "all": names}
    return Layout(splits, 0, left_out, note or "figures are of those to test" * (not of_role["val"]))


def at_scale(images: ImageSet, scale: int) -> ImageSet:
    """Return `images`, whose inputs are `scale` times smaller, if there are any.

    Raises:
        UnsuitablePictures: they are not.
    """
    if isinstance(images, Pairs):
        return images.at(scale)
    if isinstance(images, Part):
        return Part(at_scale(images.images, scale), images.places)
    if "input" in images.pictures and images.scales.get("input", 1) != scale:
        said = f"the data set gives inputs that are {images.scales.get('input', 1)} times smaller, not {scale}"
        raise UnsuitablePictures(said, "choose another data set, or another --scale", "scale")
    return images


def not_told(root: object, listing: Listing) -> UserError:
    """Return what to tell a person whose names do not say what belongs together."""
    tops = sorted({name.rpartition("/")[0] or name for name in listing.names})
    there = some_of([plain_name(top) for top in tops], 5)
    words = {side: said.split() for side, said in SAID.items()}
    left = f"; left out: {counted(listing.left_out)}{what_reads(listing.left_out)}" if listing.left_out else ""
    return UserError(
        f"{plain_name(root)} does not say what belongs together: it has {there}{left}",
        f"call two folders by what they are: {', '.join(words['input'][:6])} … for what is given, "
        f"{', '.join(words['target'][:6])} … for what it should become; or images and masks",
    )
