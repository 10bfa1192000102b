"""Pictures that a table lists: a CSV, TSV or JSONL of file and label. Paths begin where the table lies."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from launchbay import UserError, number_of
from launchbay.data.base import digest
from launchbay.data.columns import Row, read_rows
from launchbay.data.files import DamagedPictures, Files, Listed
from launchbay.data.layout import HOLD_OUT, ROLES, Layout
from launchbay.data.listing import kind_left_out
from launchbay.data.reading import Problems
from launchbay.data.words import listed, plain_name, some_of

SPLITS = {**ROLES, "true": "val", "false": "train", "1": "val", "0": "train", "": ""}
"""What a row is for, by what its column says; that may be called is_valid."""


class Table(Files, Listed):
    """The pictures that the table at `root` lists, in its order. A column `split` says which are to train and which to
    validate on; without one, every tenth is for validation. A label is a name or a number.

    Raises:
        UserError: the table cannot be read, or some of its rows cannot be used: they are named, all at once.
    """

    def __init__(self, split: str, root: Path):
        self.table = root
        found = read_rows(root)
        self.unused = found.unused
        finder, problems = Finder(root.parent), dict[int, str]()
        lines = dict[str, int]()
        self.rows = dict[str, Row]()
        for row in found.rows:
            name, problem = finder.find(row.file)
            if not problem and name in lines:
                problem = f"is the same picture as line {lines[name]}"
            if not problem and row.split.lower() not in SPLITS:
                problem = f"is for {plain_name(row.split)!r}, which is none of train, val, test"
            if problem:
                problems[row.line] = f"{plain_name(row.file) or 'no file'} {problem}"
            else:
                lines[name], self.rows[name] = row.line, row
        lacking = [row for row in self.rows.values() if not row.label]
        if len(lacking) < len(self.rows):
            problems |= {row.line: f"{plain_name(row.file)} has no label" for row in lacking}
        self.problems_of_rows = [f"line {line}: {problem}" for line, problem in sorted(problems.items())]
        super().__init__(root.parent, [])
        self._take(split)

    def _take(self, split: str) -> None:
        self.layout = layout_of(self.rows)
        names = self.layout.splits[split]
        if not names and not self.problems_of_rows:
            said = f"{plain_name(self.table)} has no picture to {'train' if split == 'train' else 'validate'} on"
            raise UserError(said, "add some, or give others to validate on with --val-data")
        self.split = split
        self.problems = self._read(names)
        if self.problems or self.problems_of_rows:
            rest = Files(self.root, [name for name in self.layout.splits["all"] if name not in {*names}])
            raise self._unusable(self.problems | rest.problems)
        self._label()

    def _unusable(self, damaged: Problems) -> UserError:
        """Return what to tell a person about rows: those whose pictures are `damaged`, and those that are wrong."""
        if not self.problems_of_rows:
            if self.files:
                self._label()
            lines = [f"{plain_name(self.root / name)}: {reason}" for name, reason in sorted(damaged.items())]
            return DamagedPictures(lines, self if self.files else None, "table")
        lines = [f"{plain_name(name)}: {reason}" for name, reason in sorted(damaged.items())]
        lines = [*self.problems_of_rows, *lines]
        said = f"{plain_name(self.table)} has {len(lines):,} rows that cannot be used:\n{listed(lines)}"
        if len(lines) == 1:
            said = f"{plain_name(self.table)}: {lines[0]}"
        return UserError(said, "mend them, or take them out of the table")

    def _label(self) -> None:
        """Find out the classes."""
        of_split = {split: {self.rows[name].label for name in names} for split, names in self.layout.splits.items()}
        everything = of_split["all"] - {""}
        self.classes, self.unlabelled = (), ""
        new = sorted(of_split["val"] - of_split["train"]) if self.split != "all" else []
        if len(everything) < 2:
            self.unlabelled = (
                "all rows have the same label" if everything else f"{plain_name(self.table)} has no column label"
            )
        elif any(is_fraction(label) for label in everything):
            self.unlabelled = "the labels are fractions, which are no classes"
        elif new:
            self.unlabelled = f"{plain_name(new[0])} is the label of a picture to validate, but of none to train"
        else:
            self.labels_in_order = sorted(everything, key=numbers_first)
            self.classes = tuple(map(plain_name, self.labels_in_order))
            number = {label: place for place, label in enumerate(self.labels_in_order)}
            self.labels = [number[self.rows[name].label] for name in self.files.names]

    def label(self, index: int) -> int | None:
        return self.labels[index] if self.classes else None

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), *(self.rows[name].label for name in self.files.names))

    def _understood(self) -> str:
        classes = f"{number_of(len(self.classes), 'class')} ({some_of(self.classes, 8)}), " if self.classes else ""
        return f"{plain_name(self.table)}: {classes}"

    def _remarks(self) -> list[str]:
        has_labels = any(row.label for row in self.rows.values())
        said = [f"no classes: {self.unlabelled}"] if self.unlabelled and has_labels else []
        return [*said, f"columns not used: {some_of(self.unused)}"] if self.unused else said


def layout_of(rows: dict[str, Row]) -> Layout:
    """Return what pictures are for: what the column says, or every tenth for validation."""
    of_role = {
        role: [name for name, row in rows.items() if SPLITS[row.split.lower()] == role] for role in SPLITS.values()
    }
    names = list(rows)
    if not of_role["val"] and not of_role["test"]:
        training = [name for place, name in enumerate(names) if place % HOLD_OUT]
        return Layout({"train": training, "val": names[::HOLD_OUT], "all": names}, 0, Counter())
    training = [name for name in names if SPLITS[rows[name].split.lower()] in ("", "train")]
    note = f"{len(of_role['test']):,} to test not used" if of_role["val"] and of_role["test"] else ""
    note = note or "figures are of those to test" * (not of_role["val"])
    return Layout({"train": training, "val": of_role["val"] or of_role["test"], "all": names}, 0, Counter(), note)


def is_fraction(label: str) -> bool:
    try:
        return not float(label).is_integer()
    except (ValueError, OverflowError):
        return False


def numbers_first(label: str) -> tuple[int, int, str]:
    """Return by what labels are put in order: numbers by their value."""
    return (0, int(label), "") if label.isascii() and label.isdigit() else (1, 0, label)


class Finder:
    """Finds the files of a table in `folder`: by their path, or, if that is not there, by a name that is there once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.by_name: dict[str, list[str]] | None = None

    def find(self, file: str) -> tuple[str, str]:
        """Return the path of a picture, below the folder unless the table says it in full; or instead what is wrong."""
        if not file or "\0" in file:
            return "", "is named nowhere" if not file else "is no name of a file"
        for name in dict.fromkeys((file, file.replace("\\", "/"))):
            if stat.S_ISREG(self.mode_of(name)):
                return str(Path(name)), ""
        if "://" in file:
            return "", "is an address: download it, and give its path"
        found = self.known().get(file.replace("\\", "/").rpartition("/")[2], [])
        if len(found) == 1 and "/" not in file:
            return found[0], ""
        if "/" not in file and found:
            return "", f"may be {some_of([plain_name(each) for each in found], 3)}"
        return "", "is no regular file" if self.mode_of(file) else "is not there"

    def mode_of(self, name: str) -> int:
        """Return the kind of what is there, 0 if nothing is, or nothing that can be read."""
        try:
            return (self.folder / name).stat().st_mode
        except OSError:
            return 0

    def known(self) -> dict[str, list[str]]:
        """Return the pictures in the folder and in those in it, two deep, by their names with and without suffix."""
        if self.by_name is None:
            self.by_name = defaultdict(list)
            for name in pictures_in(self.folder, 2):
                last = name.rpartition("/")[2]
                for key in {last, last.rpartition(".")[0]}:
                    self.by_name[key].append(name)
        return self.by_name


def pictures_in(folder: Path, deep: int, above: str = "") -> Iterable[str]:
    """Give the paths of the pictures in `folder` and in the folders in it, so many `deep`, in order."""
    with os.scandir(folder / above) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{above}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if deep and not entry.name.startswith("."):
                yield from pictures_in(folder, deep - 1, f"{name}/")
        elif entry.is_file() and not kind_left_out(entry.name):
            yield name
