"""What is in a folder: its pictures in any depth of sub-folders, and what is left out, by kind. Nothing is opened."""

import errno
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path

from launchbay import UserError
from launchbay.data.archives import Archive, Place
from launchbay.data.formats import endings, unread_endings
from launchbay.data.words import counted, listed, plain_name

STRAYS = {
    "@eadir", "__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "$recycle.bin", "#recycle", "lost+found",
    "system volume information",
}  # fmt: skip
"""What systems leave in folders of people, beside what begins with a dot."""
HIDDEN, TWICE, SPECIAL, OTHER, EMPTY = "hidden", "linked twice", "no regular files", "of no known kind", "empty"
"""Kinds of what is left out, beside the suffixes of files."""


@dataclass(frozen=True)
class Listing:
    """What is in the folder or the archive `root`: the names of its pictures and of the folders in it, in order (paths
    below `root`, with /), and what is left out, by kind.
    """

    root: Place
    names: list[str]
    folders: list[str]
    left_out: Counter[str]
    empty: tuple[str, ...] = ()
    """Of what is left out, the names of empty files that are called like pictures."""


def list_folder(root: Path) -> Listing:
    """Return what is in the folder `root`, and behind links. Each folder is visited once, by its own path rather than a
    link's, however often it is linked; hidden ones are left out.

    Raises:
        UserError: there is no such folder, no picture in it, or a folder in it that cannot be read.
    """
    if root.is_symlink() and not root.exists():
        said = f"{plain_name(root)} is a link to {plain_name(root.readlink())}, which is not there"
        raise UserError(said, "mount or restore that, or name another folder")
    if not root.is_dir():
        hint = f"looked for it in {plain_name(Path.cwd())}; give an existing folder of photographs"
        raise UserError(f"{plain_name(root)} is not a folder", hint)
    walk = Walk(root)
    walk.down("")
    while walk.links:  # folders themselves come first: behind a link may be one of them
        walk.down("/".join(heappop(walk.links)))
    if walk.closed:
        raise UserError(listed(walk.closed), "make it readable, or move it away")
    listing = in_order(root, walk.names, walk.folders, walk.left_out)
    return replace(listing, empty=tuple(sorted(walk.empty)))


def list_archive(archive: Archive) -> Listing:
    """Return what is in an archive, by the same rules.

    Raises:
        UserError: there is no picture in it.
    """
    names, hidden, left_out = list[str](), set[str](), Counter(archive.left_out)
    for name, size in zip(archive.names, archive.sizes, strict=True):
        if top := hidden_part(name):
            hidden.add(top)
        elif kind := kind_left_out(name.rpartition("/")[2]) or ("" if size else EMPTY):
            left_out[kind] += 1
        else:
            names.append(name)
    left_out[HIDDEN] += len(hidden)
    folders = {name[:end] for name in names for end, sign in enumerate(name) if sign == "/"}
    folders |= {folder for folder in archive.folders if folder and not hidden_part(folder)}
    return in_order(archive, names, list(folders), +left_out)


def in_order(root: Place, names: list[str], folders: list[str], left_out: Counter[str]) -> Listing:
    """Return the listing of what was found.

    Raises:
        UserError: there is no picture.
    """
    if not names:
        instead = f", but {counted(left_out)}" if left_out else ""
        raise UserError(
            f"{plain_name(root)} holds no picture{instead}",
            f"put some there, or name another folder; known kinds: {' '.join(endings())}{what_reads(left_out)}",
        )
    names, folders = (sorted(found, key=lambda name: name.replace("/", "\0")) for found in (names, folders))
    return Listing(root, names, folders, left_out)


def hidden_part(name: str) -> str:
    """Return the uppermost part of a path that is hidden, with what is above it; empty if nothing is."""
    parts = name.split("/")
    end = next((place for place, part in enumerate(parts, 1) if kind_left_out(part) == HIDDEN), 0)
    return "/".join(parts[:end])


class Walk:
    """A walk through the folders in `root`: what was found so far, and the links to folders seen on the way."""

    def __init__(self, root: Path):
        self.root = root
        self.names, self.folders, self.closed, self.empty = list[str](), list[str](), list[str](), list[str]()
        self.links: list[list[str]] = []
        self.left_out: Counter[str] = Counter()
        self.seen: set[tuple[int, int]] = set()

    def down(self, top: str) -> None:
        """Visit the folder `top` and those in it, in any depth, but no link."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            path = Path(self.root, folder)
            try:
                known = path.stat()
                if (known.st_dev, known.st_ino) in self.seen:
                    self.left_out[TWICE] += 1
                    continue
                self.seen.add((known.st_dev, known.st_ino))
                if folder:
                    self.folders.append(folder)
                with os.scandir(path) as entries:
                    waiting += [name for entry in entries if self.is_folder(entry, name := below(folder, entry.name))]
            except OSError as error:
                self.closed.append(f"cannot look into {plain_name(path)}: {error.strerror}")

    def is_folder(self, entry: os.DirEntry[str], name: str) -> bool:
        """Take a note of what lies in a folder, `name` below the root, unless it is a folder to visit."""
        kind = kind_left_out(entry.name)
        if kind != HIDDEN and entry.is_dir(follow_symlinks=False):
            return True
        known = None if kind == HIDDEN else self.look_at(entry)
        if known and stat.S_ISDIR(known.st_mode):
            heappush(self.links, name.split("/"))
        elif kind or (known and (kind := kind_of_file(known))):
            self.left_out[kind] += 1
            self.empty += [name] if kind == EMPTY else []
        else:
            self.names.append(name)
        return False

    def look_at(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return what the system knows of what `entry` is or is a link for; nothing if that is nowhere, which is named
        when it is opened.
        """
        try:
            return entry.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                self.closed.append(f"cannot look into {plain_name(entry.path)}: {error.strerror}")
            return None


def kind_left_out(name: str) -> str:
    """Return as which kind a file called `name` (without its folder) is left out, empty if it is called like a picture
    that can be read here. A folder is left out if it is hidden.
    """
    if name.startswith(".") or name.lower() in STRAYS:
        return HIDDEN
    suffix = f".{name.rpartition('.')[2].lower()}"
    if suffix in endings():
        return ""
    return suffix if re.fullmatch(r".+\.\w{1,8}", name) else OTHER


def kind_of_file(known: os.stat_result) -> str:
    """Return as which kind a file that is called like a picture is left out, empty if it may be one."""
    if not stat.S_ISREG(known.st_mode):
        return SPECIAL
    return "" if known.st_size else EMPTY


def what_reads(left_out: Counter[str]) -> str:
    """Return in parentheses what would read pictures that are left out here, empty if there is nothing."""
    unread = {ending: unread_endings()[ending] for ending in sorted(left_out) if ending in unread_endings()}
    said = [f"{what} reads {', '.join(name for name in unread if unread[name] == what)}" for what in {*unread.values()}]
    return f" ({'; '.join(sorted(said))})" * bool(said)


def below(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`, both below the root."""
    return f"{folder}/{name}" if folder else name
