"""Tables of files: a CSV, TSV or JSONL -> which file, of which class, for what, by the names of the columns."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from launchbay import UserError, number_of
from launchbay.data.formats import endings
from launchbay.data.preads import Preads
from launchbay.data.words import listed, plain_name, some_of

NAMES = {
    "file": (
        "file", "filename", "file_name", "filepath", "file_path", "path", "image_path", "image", "img", "picture",
        "photo", "image_name", "image_id", "id",
    ),
    "label": ("label", "labels", "class", "class_name", "classname", "target", "category", "species", "breed"),
    "split": ("split", "subset", "partition", "set", "usage", "is_valid"),
}  # fmt: skip
"""How columns are called that say which file, of which class, for what; the first that is there is used."""
SIGNS = ",;\t|"
"""What may stand between two columns."""


@dataclass(frozen=True)
class Row:
    """A row of a table; the label and what it is for are empty where the table does not say."""

    line: int
    file: str
    label: str
    split: str


@dataclass(frozen=True)
class Rows:
    """The rows of a table, and its columns that are not used."""

    rows: list[Row]
    unused: list[str]


def read_rows(table: Path) -> Rows:
    """Return the rows of `table`.

    Raises:
        UserError: it cannot be read, has no row, or does not say which column is what.
    """
    try:
        file = Preads(table)
        text = decoded(file.read(0, file.size))
        read = read_json if table.suffix.lower() in (".jsonl", ".ndjson") else read_csv
        names, cells = read(text, table)
    except UserError:
        raise
    except Exception as error:  # whatever bytes make of csv and json
        raise UserError(f"cannot read the table {plain_name(table)}: {plain_name(error)}", "mend it") from error
    if not cells:
        raise UserError(f"{plain_name(table)} has no row", "give one with a line for each picture")
    columns = {use: next((name for name in known if name in names), "") for use, known in NAMES.items()}
    if not columns["file"]:
        said = (
            f"{plain_name(table)} has the columns {some_of(list(map(plain_name, names)))}, none of which says the file"
        )
        raise UserError(said, f"call it {' or '.join(NAMES['file'][:6])}")
    rows = [
        Row(line, *(row.get(columns[use], "") for use in ("file", "label", "split"))) for line, row in cells.items()
    ]
    return Rows(rows, [plain_name(name) for name in names if name not in columns.values()])


def decoded(content: bytes) -> str:
    """Return the text of a table: UTF-8, or UTF-16 as spreadsheets save it; bytes of names that are neither stay."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    return content.decode("utf-8-sig", errors="surrogateescape")


Cells = tuple[Sequence[str], Mapping[int, Mapping[str, str]]]
"""The names of the columns, and by the number of its line each row."""


def read_csv(text: str, table: Path) -> Cells:
    """Return what a CSV or TSV has. Without a header there are a file and, perhaps, a label.

    Raises:
        ValueError: a row has more columns than the first, or there are more than two and no header.
    """
    first = text.partition("\n")[0]
    sign = "\t" if table.suffix.lower() == ".tsv" else max(SIGNS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
    numbered = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
    rows = {line: row for line, row in numbered if any(row)}
    if not rows:
        return [], {}
    start, head = next(iter(rows.items()))
    names = [name.lower() for name in head]
    if any(name in NAMES["file"] for name in names):
        del rows[start]
    else:
        names = without_header(head)
    if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    if long := [line for line, row in rows.items() if len(row) > len(names)]:
        raise ValueError(f"line {long[0]} has {number_of(len(rows[long[0]]), 'column')}, not {len(names)}")
    return names, {line: dict(zip(names, row, strict=False)) for line, row in rows.items()}


def without_header(row: Sequence[str]) -> list[str]:
    """Return the names of the columns of a table that begins with this row of values.

    Raises:
        ValueError: they cannot be told.
    """
    files = [place for place, cell in enumerate(row) if f".{cell.lower().rpartition('.')[2]}" in endings()]
    if len(row) > 2 or len(files) != 1:
        known = f"{NAMES['file'][0]} and {NAMES['label'][0]}"
        raise ValueError(f"its first line, {', '.join(row)}, has no name of a column; begin with one such as {known}")
    return ["file" if place == files[0] else "label" for place in range(len(row))]


def read_json(text: str, table: Path) -> Cells:
    """Return what a table has whose lines are objects of JSON.

    Raises:
        UserError: some are none, or have more than single values under a name that is used.
    """
    rows: dict[int, dict[str, str]] = {}
    wrong = list[str]()
    for line, part in enumerate(text.split("\n"), 1):
        if not part.strip():
            continue
        try:
            found: object = json.loads(part)
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
            continue
        if not isinstance(found, dict):
            wrong.append(f'line {line} is no object such as {{"file": "1.jpg", "label": "cat"}}')
            continue
        row = {name.lower(): value for name, value in cast(dict[str, object], found).items()}
        used = [name for known in NAMES.values() for name in known if name in row]
        wrong += [f"line {line}: {name} is no single value" for name in used if isinstance(row[name], dict | list)]
        rows[line] = {name: "" if value is None else str(value).strip() for name, value in row.items()}
    if wrong:
        raise UserError(f"cannot use the table {plain_name(table)}:\n{listed(wrong)}", "mend these lines")
    return list(dict.fromkeys(name for row in rows.values() for name in row)), rows
