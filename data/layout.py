"""How people keep pictures in a folder: which are to train and which to validate on, and what their classes are."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launchbay import UserError
from launchbay.data.archives import Archive
from launchbay.data.listing import Listing
from launchbay.data.words import plain_name, some_of

ROLES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What sub-folders are for that are called so, in capitals or not."""
HOLD_OUT = 10
"""Every so many pictures one is for validation, where no sub-folder says which."""


@dataclass(frozen=True)
class Layout:
    """What the pictures of a folder are for."""

    splits: dict[str, list[str]]
    """Their names, by split: train, val, all."""
    depth: int
    """How many folders lie between the root and those of the classes."""
    left_out: Counter[str]
    """What none of the splits has, by kind."""
    note: str = ""
    """What training and validation do with a folder called test, if there is one."""
    together: str = ""
    """The folders that `all` is of, if there are several."""
    deeper: str = ""
    """What is to be said of folders that are called as splits are, and are none."""


def unwrapped(listing: Listing) -> Listing:
    """Return `listing` as it is in the folder that all pictures are in, if there is such a one: most archives and what
    is unpacked of them are of a folder. One called train stays, and says what it is for; so does a folder of pictures
    with no other folder in it, which may be a class.
    """
    tops = {top_of(name) for name in listing.names}
    top = tops.pop()
    if tops or not top or any(folder.lower() in ROLES for folder in listing.folders):
        return listing
    start = f"{top}/"
    names = [name.removeprefix(start) for name in listing.names]
    if isinstance(listing.root, Path) and not all(map(top_of, names)):
        return listing
    root = listing.root.inside(top) if isinstance(listing.root, Archive) else Path(str(listing.root), top)
    folders = [folder.removeprefix(start) for folder in listing.folders if folder.startswith(start)]
    return unwrapped(Listing(root, names, folders, listing.left_out))


def top_of(name: str) -> str:
    """Return the uppermost folder in the path of a picture, empty if it is in none."""
    return name.partition("/")[0] if "/" in name else ""


def understand(listing: Listing) -> Layout:
    """Return what the pictures in a folder are for.

    DIR/{train,val,test}/ are splits if two of them are there; without val, test is what figures are of. So they are in
    each folder of a class, DIR/cat/{train,val}/, if all pictures are in such. Otherwise every tenth picture is for
    validation, at least one. A single such folder with nothing beside it is no class.

    Raises:
        UserError: two folders are for the same, or one of them is empty.
    """
    tops = [folder for folder in listing.folders if "/" not in folder]
    roles = {folder: ROLES[folder.lower()] for folder in tops if folder.lower() in ROLES}
    if len(roles) > 1:
        return split_by_folders(listing, roles)
    places = {top_of(name) for name in listing.names}
    if by_word := roles_by_word(places):
        layout = split_by_folders(listing, by_word)
        said = f"splits are {some_of([f'{folder}/' for folder in by_word])}"
        return replace(layout, note="; ".join(filter(None, [said, layout.note])))
    if not roles and any(folder.partition("/")[2].lower() in ROLES for folder in listing.folders):
        below = [ROLES.get(top_of(name.partition("/")[2]).lower(), "") for name in listing.names]
        if "train" in below and "" not in below and len({*below}) > 1:
            return split_in_classes(listing, below)
    training = [name for place, name in enumerate(listing.names) if place % HOLD_OUT]
    splits = {"train": training, "val": listing.names[::HOLD_OUT], "all": listing.names}
    depth = int(places <= roles.keys() and len(places) == 1)
    deeper = deeper_splits(listing)
    if not depth and not deeper and (taken := [folder for folder in roles if f"{folder}/" in parents(listing)]):
        deeper = f"{plain_name(taken[0])}/ is taken for a class, with pictures beside it: move these away if it is none"
    if depth and not deeper and (alone := [folder for folder, role in roles.items() if role != "train"]):
        deeper = f"there is no train/ beside {plain_name(alone[0])}/, so it is taken for all pictures"
    return Layout(splits, depth, listing.left_out, deeper=deeper)


def parents(listing: Listing) -> set[str]:
    """Return the uppermost folders that have others in them, each with a / behind it."""
    return {f"{folder.partition('/')[0]}/" for folder in listing.folders if "/" in folder}


def roles_by_word(places: Collection[str]) -> dict[str, str]:
    """Return what folders with pictures are for, such as train2017 and val2017, if all of them say so, each something
    else; nothing otherwise.
    """
    words = {place: re.split(r"[-._ 0-9]+", place.lower()) for place in sorted(places)}
    roles = {place: next((ROLES[word] for word in parts if word in ROLES), "") for place, parts in words.items()}
    is_plain = "" not in roles.values() and len({*roles.values()}) == len(roles) > 1
    return roles if is_plain and "train" in roles.values() else {}


def deeper_splits(listing: Listing) -> str:
    """Return a line on folders deeper down that are called as splits are, and are none; empty if there is no such."""
    known = defaultdict[str, dict[str, str]](dict)
    for folder in listing.folders:
        above, _, last = folder.rpartition("/")
        if above and last.lower() in ROLES:
            known[above].setdefault(ROLES[last.lower()], plain_name(folder))
    for above, of_role in known.items():
        if "train" in of_role and len(of_role) > 1:
            folders = some_of([f"{folder}/" for folder in of_role.values()])
            return f"{folders} are not taken as splits, with pictures beside {plain_name(above)}/: move these away"
    return ""


def split_in_classes(listing: Listing, roles: Sequence[str]) -> Layout:
    """Return what the pictures of `listing` are for: `roles` has it for each, by the folders in those of classes."""
    of_role = {role: [n for n, own in zip(listing.names, roles, strict=True) if own == role] for role in {*roles}}
    note, tested = "", len(of_role.get("test", []))
    if tested:
        note = f"{tested:,} to test not used" if "val" in of_role else "figures are of those to test"
    validation = of_role.get("val") or of_role["test"]
    splits = {"train": of_role["train"], "val": validation, "all": listing.names}
    folders = {name.split("/")[1] for name in listing.names}
    return Layout(splits, 0, listing.left_out, note, some_of([f"*/{folder}/" for folder in sorted(folders)]))


def split_by_folders(listing: Listing, roles: dict[str, str]) -> Layout:
    """Return what the pictures of `listing` are for, of which `roles` says it by their folders.

    Raises:
        UserError: two folders are for the same, or one of them is empty.
    """
    found: dict[str, list[str]] = {folder: [] for folder in roles}
    together, left_out = list[str](), Counter(listing.left_out)
    for name in listing.names:
        if (top := top_of(name)) in roles:
            found[top].append(name)
            together.append(name)
        else:
            left_out[f"beside {some_of([f'{folder}/' for folder in roles])}"] += 1
    folders = folders_by_role(listing, roles, found)
    of_role = {role: found[folder] for role, folder in folders.items()}
    note = ""
    if test := folders.get("test"):
        note = f"{len(found[test]):,} in {test}/ not used" if "val" in folders else f"figures are of {test}/"
    validation = of_role.get("val") or of_role.get("test", [])
    splits = {"train": of_role.get("train", []), "val": validation, "all": together}
    return Layout(splits, 1, left_out, note, some_of([f"{folder}/" for folder in roles]))


def folders_by_role(listing: Listing, roles: dict[str, str], found: dict[str, list[str]]) -> dict[str, str]:
    """Return the folder for each role.

    Raises:
        UserError: there are two for one, or it is empty.
    """
    folders: dict[str, str] = {}
    for folder, role in roles.items():
        if role in folders:
            said = f"{plain_name(listing.root)} has {folders[role]}/ and {folder}/, which are for the same"
            raise UserError(said, "move the pictures of both into one of them")
        if not found[folder]:
            raise UserError(
                f"{plain_name(listing.root)}/{folder} holds no picture",
                "put some there, or move that folder away; without any for validation every tenth picture is held out",
            )
        folders[role] = folder
    return folders


def classes_of(layout: Layout, split: str) -> tuple[list[str], str]:
    """Return the classes of the pictures of a split, which are the same for train and val, in order; if there are none,
    why, where that may surprise.
    """
    training, validation = (layout.splits["all"], []) if split == "all" else both(layout)
    learned, validated = (
        {class_of(name, layout.depth): name for name in reversed(names)} for names in (training, validation)
    )
    everything = {**validated, **learned}
    if "" in everything:
        reason = f"{plain_name(everything[''])} is in no folder of a class" if len(everything) > 1 else ""
        return [], reason
    if learned and (more := sorted(validated.keys() - learned.keys())):
        return (
            [],
            f"{plain_name(validated[more[0]])} is for validation, but no picture of {plain_name(more[0])} to train",
        )
    if len(everything) == 1:
        return [], f"all pictures are of one class, {plain_name(next(iter(everything)))}"
    return sorted(everything), ""


def both(layout: Layout) -> tuple[Sequence[str], Sequence[str]]:
    return layout.splits["train"], layout.splits["val"]


def class_of(name: str, depth: int) -> str:
    """Return the folder of a picture's class, empty if it is in none."""
    parts = name.split("/", depth + 1)
    return parts[depth] if len(parts) > depth + 1 else ""


def empty_classes(listing: Listing, layout: Layout, classes: Sequence[str]) -> list[str]:
    """Return folders that stand where those of the classes do, but have no picture."""
    places = [folder for folder in listing.folders if folder.count("/") == layout.depth]
    if layout.depth:
        tops = {name.partition("/")[0] for name in layout.splits["all"]}
        places = [folder for folder in places if folder.partition("/")[0] in tops]
    return sorted({place.rpartition("/")[2] for place in places} - set(classes))
