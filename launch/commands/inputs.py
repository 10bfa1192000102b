"""Which pictures `launchbay apply` is given, and which files it makes of them; all of it known before any work."""

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchbay import UserError
from launchbay.data.decode import Header, count_frames, read_header, unreadable
from launchbay.data.listing import list_folder, what_reads
from launchbay.data.words import counted, plain_name, some_of
from launchbay.launch.commands.picture_files import kind_of, writable
from launchbay.launch.files import remedy, replacing


@dataclass(frozen=True)
class Input:
    """A picture, and its path below what was named: what it is called in a folder of results."""

    path: Path
    below: Path


@dataclass(frozen=True)
class Inputs:
    """Pictures in order, with their headers; those that cannot be read, in words; and what else is to be said."""

    headers: Mapping[Input, Header]
    damaged: Sequence[str]
    folder: bool
    """Whether more than one file was asked for, so that results go to a folder."""
    remarks: Sequence[str]


def find_inputs(words: Sequence[str]) -> Inputs:
    """Return the pictures that files, folders and patterns such as `photos/*.jpg` name.

    Raises:
        UserError: there is no such file, or no picture.
    """
    found, left_out, empty = list[Input](), Counter[str](), list[str]()
    named = [path for word in words for path in matches(word)]
    for path in named:
        if path.is_dir():
            listing = list_folder(path)
            left_out += listing.left_out
            empty += [plain_name(path / name) for name in listing.empty]
            top = Path(path.resolve().name) if len(named) > 1 else Path()
            found += [Input(path / name, top / name) for name in listing.names]
        else:
            found.append(Input(path, Path(path.name)))
    headers, damaged = dict[Input, Header](), list[str]()
    for one in dict.fromkeys(found):
        try:
            headers[one] = read_header(one.path)
        except Exception as error:  # whatever its bytes make of Pillow's parsers
            damaged.append(unreadable(one.path, error).message)
    remarks = [f"left out: {counted(left_out)}{what_reads(left_out)}"] if left_out else []
    remarks += [f"empty: {some_of(empty)}"] if empty else []
    frames = {one: count_frames(one.path) for one in headers}
    remarks += [f"{plain_name(one.path)}: the first of {count} frames" for one, count in frames.items() if count > 1]
    return Inputs(headers, damaged, len(named) > 1 or named[0].is_dir(), remarks)


def matches(word: str) -> list[Path]:
    """Return the file or folder that `word` names, or those that it stands for as a pattern."""
    path = Path(word)
    if path.exists():
        return [path]
    found = sorted(map(Path, glob.glob(word, recursive=True)))  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise UserError(f"there is no {plain_name(word)}", "name pictures, folders of them, or a pattern as '*.jpg'")
    return found


@dataclass(frozen=True)
class Naming:
    """How results are called, and what happens to those that are there."""

    suffix: str | None = None
    existing: str | None = None
    """overwrite or skip; None: refuse."""


def plan_outputs(
    inputs: Inputs, out: Path, names: Sequence[str], naming: Naming
) -> tuple[dict[Input, dict[str, Path]], int]:
    """Return the file for each picture that is made of each input, by its name, and how many inputs are left out since
    theirs are there.

    Raises:
        UserError: a file is there, two would be one, or one cannot be written.
    """
    folder = inputs.folder or out.is_dir()
    if inputs.folder and not out.is_dir() and out.suffix.lower() in writable():
        said = f"{plain_name(out)} has the ending of one picture, and a folder is to be written"
        raise UserError(said, "name one without such an ending")
    if naming.suffix and not folder:
        raise UserError(f"--suffix is for a folder, and {out} is one file", "give that the ending that you want")
    plan, taken, skipped = dict[Input, dict[str, Path]](), set[Path](), 0
    for one in inputs.headers:
        base = out / named(one.below, naming.suffix) if folder else out
        targets = {name: base.with_stem(f"{base.stem}-{name}") if name else base for name in names}
        for target in targets.values():
            kind_of(target)
            if target in taken:
                refuse(one.path, target, "more than one picture would become it")
            if any(target.exists() and target.samefile(other.path) for other in inputs.headers):
                refuse(one.path, target, "it is one of the pictures to read")
            if target.exists() and naming.existing is None:
                refuse(one.path, target, "it exists already", "--overwrite or --skip-existing, or ")
        taken |= set(targets.values())
        if naming.existing == "skip" and all(target.exists() for target in targets.values()):
            skipped += 1
        else:
            plan[one] = targets
    try_to_write(out if folder else out.parent)
    return plan, skipped


def named(below: Path, suffix: str | None) -> Path:
    """Return how a result is called: as its input, but for kinds that cannot be written."""
    return below.with_suffix(suffix or (below.suffix if below.suffix.lower() in writable() else ".png"))


def refuse(path: Path, target: Path, reason: str, instead: str = "") -> None:
    said = f"{plain_name(path)} would be written to {plain_name(target)}: {reason}"
    raise UserError(said, f"{instead}choose another name; nothing was written")


def try_to_write(folder: Path) -> None:
    """Raise a UserError if no file can be made in `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / ".tmp-launchbay"):
            pass
        (folder / ".tmp-launchbay").unlink()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}", f"{remedy(error)}, or another place") from error
