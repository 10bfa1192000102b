"""Write files whole: a reader finds the old content or the new, and a power cut leaves one of them."""

import json
import os
import re
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from math import isfinite
from pathlib import Path
from typing import Any

from launchbay import UserError

Json = dict[str, Any]
"""The content of a JSON file of ours, by name; the kind of the values depends on the file."""
TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}(\.\w+)?", re.ASCII)
"""The names of files that `replacing` has begun."""
SECONDS_TO_APPEAR = 5.0
"""That a shared disk may take to show on one machine what another one has made."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary file beside `path`; what is written there takes the place of `path` at the end of the block, at
    once, and is on disk then. Where the block fails, `path` stays as it was. Nobody else can know, or hold, its name.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        synchronize(temporary)
        temporary.replace(path)
        synchronize(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left of files that they had begun in `folder`."""
    for path in folder.glob(".tmp-*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()


def synchronize(path: Path) -> None:
    """Wait until the file or folder `path` is on disk. Windows flushes what is open for writing, and no folders."""
    is_folder = path.is_dir()
    if is_folder and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def appears(path: Path) -> bool:
    """Return whether there is `path`, which another machine may have made, or comes to be soon."""
    end = time.monotonic() + SECONDS_TO_APPEAR
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON as the standard has it: a number that is not finite (nan, infinity) becomes null."""

    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    return json.dumps(plain(value), indent=indent, allow_nan=False)


@contextmanager
def writing(folder: Path, hint: str = "") -> Generator[None]:
    """Turn what the disk refuses within the block into a UserError that names `folder`. Without a `hint` of the
    caller's it says what to do about a run's folder.
    """
    try:
        yield
    except OSError as error:
        instead = hint or f"{remedy(error)}; checkpoints already saved are intact"
        raise UserError(f"cannot write to {folder}: {error}", instead) from error


def remedy(error: OSError) -> str:
    """Return what to do where a file could not be written."""
    full = error.errno in (ENOSPC, EDQUOT) or "No space left" in str(error)  # safetensors gives no number
    return "free some disk space" if full else "look after that disk or folder"
