"""Pictures that belong together, found by their names: what is given and what it should become, or picture and mask."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from launchbay.data.layout import ROLES
from launchbay.data.words import plain_name, some_of

Side = Literal["input", "target", "mask", "picture", ""]
SAID: dict[Side, str] = {
    "input": "low lr lq lowres lowlight input inputs noisy noise blur blurry blurred rain rainy haze hazy dark "
    "degraded compressed damaged corrupted",
    "target": "high hr hq highres target targets clean clear sharp gt truth groundtruth original reference norain "
    "normal",
    "mask": "mask masks label labels annotation annotations segmentation segmentations segmentationclass gtfine "
    "gtcoarse labelids",
    "picture": "image images img imgs picture pictures photo photos jpegimages leftimg leftimg8bit",
}
"""What a folder has, or a file is, that has one of these words in its name."""
WORDS: dict[str, Side] = {word: side for side, words in SAID.items() for word in words.split()}
MANY = 20_000
"""Of more pictures partners are not looked for where nobody asked for pairs."""
BETWEEN = r"[_\-. ]"
SCALE = rf"(?:x|srf{BETWEEN}?)(\d{{1,2}})|(\d{{1,2}})x"
"""How names say that a picture is so many times smaller than its partner: x4, X4, SRF_4, 4x."""


@dataclass(frozen=True)
class Named:
    """What the name of a picture says, below the root."""

    name: str
    side: Side
    said: str
    """By what it says the side, in a few words."""
    scale: int
    """How many times smaller than its partner it is; 0 where nothing says so."""
    ending: int
    """The same by how it ends, which may mean anything where its folder says the side."""
    role: str
    """What it is for: train, val or test, empty where nothing says so."""
    rest: tuple[str, ...]
    """The other folders."""
    stem: str

    @property
    def bare(self) -> str:
        """The stem without what tells the two of a pair from each other."""
        kept = "_".join(word for word in re.split(f"{BETWEEN}+", self.stem.lower()) if word not in WORDS)
        return re.sub(rf"_?(?:{SCALE})(?:[mwd]\d?)?$", "", kept) or self.stem


def read_name(name: str) -> Named:
    """Return what the path of a picture says, below the root."""
    *folders, file = name.split("/")
    stem = file.rpartition(".")[0]
    side: Side = ""
    said, scale, role, rest = "", 0, "", list[str]()
    for folder in folders:
        of_side, of_scale, of_role = read_folder(folder)
        if not (of_role and not role) and not (of_side and not side) and not of_scale:
            rest.append(folder)
        if of_side and not side:
            side, said = of_side, f"{folder}/"
        role, scale = role or of_role, of_scale or scale
    if not side and (of_stem := side_in(stem)):
        words = re.split(BETWEEN, stem)
        side, said = of_stem, next((f"*{word}*" for word in words if WORDS.get(word.lower()) == of_stem), f"*{stem}*")
    ending = scale_in(stem)
    return Named(name, side, said, scale or (0 if said.endswith("/") else ending), ending, role, tuple(rest), stem)


@lru_cache
def read_folder(folder: str) -> tuple[Side, int, str]:
    """Return what the name of a folder says: the side, the scale, and what its pictures are for."""
    side, scale = side_in(folder), scale_in(folder)
    role = next((ROLES[word] for word in words_of(folder) if word in ROLES), "")
    return "" if side == "picture" and scale else side, scale, role  # image_SRF_4/ has both sides


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def side_in(text: str) -> Side:
    """Return the side that a word of `text` says; pictures are what is not said to be anything else."""
    sides: list[Side] = [WORDS[word] for word in words_of(text) if word in WORDS]
    for side in sides:
        if side != "picture":
            return side
    return sides[0] if sides else ""


def look_like_pairs(names: Sequence[str]) -> bool:
    """Return whether folders are called as the two sides of pairs are, and half of the pictures `names` have partners
    at least.
    """
    places = {name.rpartition("/")[0] for name in names}
    sides = {side_in(folder) for place in places for folder in place.split("/")}
    if not {"input", "target"} <= sides and not {"picture", "mask"} <= sides:
        return False
    if len(names) > MANY:
        return True
    found = find_partners(names)
    return found is not None and 4 * max(map(len, found.pairs.values()), default=0) >= len(names)


def scale_in(text: str) -> int:
    found = re.search(rf"(?:^|{BETWEEN})(?:{SCALE})(?=$|{BETWEEN})", text.lower())
    found = found or re.search(r"(?<=[a-z0-9])x(\d{1,2})()[mwd]?\d?$", text.lower())
    return int(found[1] or found[2]) if found else 0


@dataclass
class Partners:
    """Pairs of names by what they say of the scale, 0 if that is nothing: first the picture, then what is beside it."""

    kind: Literal["input", "mask"]
    pairs: dict[int, list[tuple[str, str]]]
    roles: dict[str, str]
    """What pictures are for, by their names: train, val or test, empty where nothing says so."""
    places: tuple[str, str]
    """Where both sides are, in a few words."""
    left_out: Counter[str]
    problems: list[str]
    """What has no partner, or several."""


def find_partners(names: Sequence[str]) -> Partners | None:
    """Return the pairs among `names`; None if they do not say which are on which side."""
    sides = defaultdict[str, list[Named]](list)
    for each in map(read_name, names):
        sides[each.side].append(each)
    kind = "input" if sides["input"] else "mask"
    order = ("target", "picture", "") if kind == "input" else ("picture", "", "target")
    chosen = next((side for side in order if sides[side]), "")
    if not sides[kind] or not sides[chosen]:
        return None
    pictures, others = sides[chosen], sides[kind]
    left_out = Counter(
        {
            f"beside {of_side or 'these'}": len(found)
            for of_side, found in sides.items()
            if of_side not in (kind, chosen) and found
        }
    )
    pairs, problems = match(pictures, others)
    roles = {each.name: each.role for each in pictures}
    return Partners(kind, pairs, roles, (said_of(others), said_of(pictures)), left_out, problems)


def said_of(side: Sequence[Named]) -> str:
    return some_of([plain_name(said) for said in dict.fromkeys(each.said for each in side)], 3) or "the others"


KEYS: tuple[Callable[[Named], tuple[object, ...]], ...] = (
    lambda each: (each.role, each.rest, each.stem),
    lambda each: (each.role, each.rest, each.bare),
    lambda each: (each.role, each.bare),
)
"""By what partners are found, the first by which there are any."""


def match(pictures: Sequence[Named], others: Sequence[Named]) -> tuple[dict[int, list[tuple[str, str]]], list[str]]:
    """Return the pairs of `pictures` with `others`, in their order, by scale, and what is wrong."""
    known = [grouped(pictures, key) for key in KEYS]
    found = defaultdict[int, dict[str, list[str]]](lambda: defaultdict(list))
    problems, told = list[str](), set[str]()
    for other in others:
        level = next((level for level, key in enumerate(KEYS) if key(other) in known[level]), 0)
        scale = other.scale or (other.ending if level else 0)
        candidates = [each for each in known[level].get(KEYS[level](other), []) if agree(each.scale, scale)]
        if len(candidates) == 1:
            found[scale][candidates[0].name].append(other.name)
        else:
            problems.append(f"{plain_name(other.name)} has {alternatives(each.name for each in candidates)}")
            told |= {each.name for each in candidates}
    pairs = dict[int, list[tuple[str, str]]]()
    for scale, partners in sorted(found.items()):
        wanted = [each.name for each in pictures if agree(each.scale, scale)]
        single = [name for name in wanted if len(partners.get(name, ())) == 1]
        pairs[scale] = [(name, partners[name][0]) for name in single]
        alone = [name for name in wanted if len(partners.get(name, ())) != 1 and name not in told]
        at = f" {scale} times smaller" if len(found) > 1 else ""
        problems += [f"{plain_name(name)} has {alternatives(partners.get(name, ()))}{at}" for name in alone]
    return pairs, problems


def agree(scale: int, other: int) -> bool:
    """Return whether two names say the same of the scale, or one of them nothing."""
    return not scale or not other or scale == other


def grouped(side: Iterable[Named], key: Callable[[Named], tuple[object, ...]]) -> dict[tuple[object, ...], list[Named]]:
    groups = defaultdict[tuple[object, ...], list[Named]](list)
    for each in side:
        groups[key(each)].append(each)
    return groups


def alternatives(names: Iterable[str]) -> str:
    shown = [plain_name(name) for name in names]
    return f"{len(shown)} candidates: {some_of(shown, 3)}" if shown else "no partner"
