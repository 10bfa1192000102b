"""Files that a stranger may have written, as they are read: regular ones, opened without following a link, of a bounded
size, and parsed once into a checked schema. What does not hold is `Unfit`, in words.
"""

import json
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from math import isfinite
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from launchbay import UserError

T = TypeVar("T")
CAREFULLY = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))
"""A link is not followed; a FIFO that nobody writes to, or a device, does not keep the reader waiting."""
MOST_DEEP, MOST_VALUES = 64, 1_000_000
"""Of JSON. No file of ours comes near: a network of 10,000 tensors has some 100,000 values."""


class Unfit(ValueError):
    """A file is not what it has to be: why, in words."""


def open_regular(path: Path) -> BufferedReader:
    """Open the regular file `path` to read.

    Raises:
        OSError: it cannot be opened.
        Unfit: it is a link, a folder, a FIFO or a device.
    """
    try:
        file = os.fdopen(os.open(path, CAREFULLY), "rb")
    except OSError as error:
        if path.is_symlink():
            raise Unfit("is a link") from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Unfit("is no regular file")
    return file


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of the regular file `path`.

    Raises:
        Unfit: it cannot be read, or has more than `most` bytes.
    """
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Unfit(f"cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise Unfit(f"has more than {most:,} bytes")
    return data


def read_json(path: Path, schema: TypeAdapter[T], most: int) -> T:
    """Return what the JSON file `path` holds, as `schema` has it.

    Raises:
        Unfit: it cannot be read, or is none.
    """
    return check(parse(read_bytes(path, most)), schema)


def parse(data: bytes) -> object:
    """Return the JSON in `data`, as the standard has it: numbers are finite, no key is there twice.

    Raises:
        Unfit: it is none, or is nested too deeply.
    """
    try:
        value: object = json.loads(data.decode(), object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
        check_extent(value)
    except RecursionError as error:
        raise Unfit("is nested too deeply") from error
    except ValueError as error:
        raise Unfit(f"is not JSON: {error}") from error
    return value


def check(value: object, schema: TypeAdapter[T]) -> T:
    """Return `value`, as JSON has it, as `schema` has it.

    Raises:
        Unfit: it does not fit.
    """
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unfit(f"has something else than it should at {where or 'its top'}: {first['msg']}") from error


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a key is there twice")
    return named


def finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def check_extent(value: object) -> None:
    """Check that JSON is neither too deep nor too much.

    Raises:
        ValueError: it is not so.
    """
    level: list[object] = [value]
    count = 0
    for _ in range(MOST_DEEP):
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        level = [inside for outer in level for inside in parts(outer)]
        if not level:
            return
    raise ValueError("nested too deeply")


def parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def refuse_link(*paths: Path) -> None:
    """Refuse what would lead out of a run's folder.

    Raises:
        UserError: one of the `paths` is a link.
    """
    for path in paths:
        if path.is_symlink():
            refuse(path, f"is a link to {os.readlink(path)}")  # noqa: PTH115 as it is written there


def refuse(path: Path, what: str) -> NoReturn:
    raise UserError(f"{path} {what}: a run keeps its files in its own folder", "move it away, or name another run")
