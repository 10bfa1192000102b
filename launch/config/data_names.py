"""What the name of a data set means, as --data and --val-data give it. Nothing is imported before it is opened.

A name is, in this order: PREFIX:NAME of a library (`PREFIXES`), module:Class, an installed data set, or a path: of a
file, by its suffix (`FILES`), or of a folder, by what lies in it (`FOLDERS`): see data_kinds.py. "A+B" is the pairs of
two; TABLE@COLUMN chooses a column.
"""

import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launchbay import UserError
from launchbay.launch.config.data_kinds import (
    ADDRESS,
    CODE,
    FILES,
    FOLDERS,
    MEANT,
    PICTURES,
    PREFIXES,
    SCHEMES,
    Kind,
)
from launchbay.launch.config.plugins import DATASETS, Plugin, find_plugin, installed
from launchbay.launch.config.torchvision_names import OTHERS

if TYPE_CHECKING:
    from launchbay.data import ImageSet

DATA = ("data", "val_data")
"""Options whose values are such names."""


@dataclass(frozen=True)
class Named:
    """What a name means: opened by a plugin, or by a kind with what the name gives it."""

    meaning: Plugin | Kind
    rest: str = ""
    """What stands after the prefix; after a path, the column that its name chooses."""
    path: Path | None = None
    """Where the data are, if the name says it."""


def parts_of(name: str) -> list[str]:
    """Return the two names of the pair "A+B", or the one.

    Raises:
        UserError: there are more, or one is empty.
    """
    parts = [name] if mode_of(name) or "://" in name else name.split("+")
    if len(parts) > 2 or not all(parts):
        raise UserError(f"--data {name} is not a pair of data sets", "two can be paired: A+B, such as glyphs+photos")
    return parts


def sort_of(name: str) -> Literal["prefix", "code", "installed", "path"]:
    """Return how one `name` is to be understood. What lies on the disk does not matter to that."""
    prefix, colon, _ = name.partition(":")
    if colon and prefix in PREFIXES:
        return "prefix"
    if colon and not set(name) & {"/", "\\"}:
        return "code"
    return "installed" if any(plugin.name == name for plugin in installed(DATASETS)) else "path"


def is_code(name: str) -> bool:
    """Return whether opening `name` would import what is not installed as a data set."""
    return any(sort_of(part) == "code" for part in name.split("+"))


def placeless(value: object) -> object:
    """Return the value of an option that names data, without where on a machine these are."""
    if isinstance(value, list | tuple):
        return [placeless(name) for name in value]
    if not isinstance(value, str):
        return value
    return "+".join("folder" if sort_of(part) == "path" else part for part in value.split("+"))


def takes_root(name: str) -> bool:
    """Return whether --data-root says where the data of one `name` are."""
    match sort_of(name):
        case "prefix":
            return PREFIXES[name.partition(":")[0]].takes_root
        case sort:
            return sort != "path"


def title_of(name: str) -> str:
    """Return what to call a data set before its figures, and in names of files: without prefix and folders."""
    titles = {"prefix": lambda part: part.partition(":")[2].rpartition("/")[2].replace(":", "-"), "path": name_of_path}
    return "+".join(titles.get(sort_of(part), str)(part) for part in name.split("+"))


def name_of_path(path: str) -> str:
    return Path(path).resolve().name


def check_names(names: Iterable[str]) -> None:
    """Check that all `names` mean something, before anything is imported.

    Raises:
        UserError: one does not.
    """
    for name in names:
        for part in parts_of(name):
            find(part)


def find(name: str) -> Named:
    """Return what one `name` means.

    Raises:
        UserError: nothing of that name is here.
    """
    match sort_of(name):
        case "prefix":
            found = find_in_library(name)
        case "path":
            found = find_path(name)
        case "code" if meant := MEANT.get(name.partition(":")[0].lower()):
            said = f"there is no {name}; did you mean {meant}:{name.partition(':')[2]}?"
            raise UserError(said, f"write {PREFIXES[meant].written}")
        case _:
            return Named(find_plugin(DATASETS, name))
    check_library(found.meaning, name)
    return found


def check_library(kind: Plugin | Kind, name: str) -> None:
    """Raise a UserError if what opens `name` is not installed."""
    if isinstance(kind, Kind) and kind.library and find_spec(kind.library) is None:
        said = f"{name} is opened by the library {kind.library}, which is not installed"
        raise UserError(said, f"pip install 'launchbay[{kind.library}]'")


def find_in_library(name: str) -> Named:
    """Return what `name` means, which begins with a prefix.

    Raises:
        UserError: the library has nothing of that name, or nothing that would be of use.
    """
    prefix, _, rest = name.partition(":")
    kind = PREFIXES[prefix]
    if rest and (not kind.names or rest in kind.names):
        return Named(kind, rest)
    said = f"there is no data set {name!r}{suggestion(name)}"
    set_name, _, variant = rest.partition(":")
    if variant and set_name in kind.names:
        variants = [f"{prefix}:{each}" for each in kind.names if each.startswith(f"{set_name}:")]
        hint = f"write {' or '.join([f'{prefix}:{set_name}', *variants])}"
        raise UserError(f"{prefix}:{set_name} has no variant {variant!r}", hint)
    if prefix == "torchvision" and (has := [what for what, names in OTHERS.items() if rest in names.split()]):
        said = f"{name} has {has[0]}, not a class for each picture"
    raise UserError(said, f"write {kind.written}" + f", one of {', '.join(kind.names)}" * bool(kind.names))


def find_path(name: str) -> Named:
    """Return what the file or folder `name` is.

    Raises:
        UserError: it is not there, or of no known kind.
    """
    path, mode = Path(name), mode_of(name)
    if not mode and "://" in name:
        return find_address(name)
    if stat.S_ISDIR(mode):
        return Named(next((kind for pattern, kind in FOLDERS.items() if any(path.glob(pattern))), PICTURES), path=path)
    base, at, column = name.rpartition("@")
    if not mode and at and mode_of(base):
        return with_column(find_path(base), column, base)
    if not mode:
        raise missing(name)
    suffix = max((suffix for suffix in FILES if name.lower().endswith(suffix)), key=len, default="")
    if not suffix or not stat.S_ISREG(mode):
        raise UserError(f"{name} is no data set", f"give a folder{', or a file: ' * bool(FILES)}{' '.join(FILES)}")
    return Named(FILES[suffix], path=path)


def with_column(table: Named, column: str, name: str) -> Named:
    """Return the table called `name`, of which `column` is chosen.

    Raises:
        UserError: it is none that has columns to choose from.
    """
    assert isinstance(table.meaning, Kind)
    if table.meaning.library != "datasets":
        said = f"{name}@{column} chooses a column, and {name} is {table.meaning.about}"
        raise UserError(said, f"only of a table of pictures (.parquet) a column is chosen: --data {name}")
    return Named(table.meaning, column, table.path)


def find_address(name: str) -> Named:
    """Return what the address `name` means: a pack.

    Raises:
        UserError: it is of an unknown kind, or what reads that kind is not installed.
    """
    scheme, _, rest = name.partition("://")
    if scheme not in SCHEMES or not rest or "::" in rest:
        raise UserError(f"{name} is no address of a pack", f"known kinds: {', '.join(SCHEMES)}")
    from fsspec import get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        hint = "pip install 'launchbay[remote]' for s3, http and https; for others what is named"
        raise UserError(f"{name} cannot be read: {error}", hint) from error
    return Named(ADDRESS, name)


def mode_of(path: str) -> int:
    """Return the kind of file that `path` is, 0 if there is none."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return 0


def missing(name: str) -> UserError:
    """Return what to say of a `name` that is neither an installed data set nor there."""
    with suppress(OSError, ValueError):  # it is no link
        where = Path(name).readlink()
        return UserError(f"{name} is a link to {where}, which is not there", "restore that, or name other data")
    if set(name) & {"/", "\\"} or name.startswith("."):
        hub = f"; of the Hugging Face hub: hf:{name}" if name.count("/") == 1 and name[0].isalnum() else ""
        return UserError(f"there is no {name}", f"looked for it in {Path.cwd()}; give a folder or file there{hub}")
    known = ", ".join(plugin.name for plugin in installed(DATASETS)) or "none; is launchbay installed?"
    ways = ", ".join(kind.written for kind in (*PREFIXES.values(), CODE))
    hint = f"installed: {known}. Others: {ways}, or the path of a folder or file, looked for in {Path.cwd()}"
    return UserError(f"there is no data set {name!r}{suggestion(name)}", hint)


def suggestion(name: str) -> str:
    """Return what to add to a message about an unknown `name`: what is like it, of all that could be meant."""
    full = {plugin.name: plugin.name for plugin in installed(DATASETS)}
    for prefix, kind in PREFIXES.items():
        full |= {each.lower(): f"{prefix}:{each}" for each in kind.names if each.lower() not in full}
    with suppress(OSError):
        full |= {path.name.lower(): path.name for path in Path().iterdir() if path.is_dir() or path.suffix in FILES}
    wanted = name.rpartition(":")[2].lower()
    near = [*get_close_matches(wanted, full, n=1), *get_close_matches(wanted.replace("-", ""), full, n=1)]
    return f"; did you mean {full[near[0]]!r}?" if near else ""


def namesake(name: str) -> str:
    """Return a line on what lies here under the name of an installed data set; empty if nothing does."""
    here = [part for part in name.split("+") if sort_of(part) == "installed" and mode_of(part)]
    return f"note: {here[0]} is a data set of that name; for what lies here: --data ./{here[0]}" if here else ""


def open_named(named: Named, split: str, root: Path | None) -> "ImageSet":
    """Open a `split` of what a kind means. `root` is used by those that take one.

    Raises:
        UserError: it cannot be opened.
    """
    assert isinstance(named.meaning, Kind)
    module, _, attribute = named.meaning.opener.partition(":")
    opener = getattr(import_module(module), attribute)
    if named.path is not None:
        return opener(split, named.path, *filter(None, [named.rest]))
    return opener(named.rest, split, root) if named.meaning.takes_root else opener(named.rest, split)
