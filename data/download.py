"""Data sets that are downloaded: once, by one process of a machine, checked, and whole or not there at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from launchbay import UserError


def downloads() -> Path:
    """Where data sets are kept that were given no --data-root."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launchbay"


def fetch(name: str, folder: str, downloader: Callable[[], tuple[Any, list[str], str]], root: Path | None) -> Path:
    """The root that has `folder`, after downloading it there if need be. `downloader` gives torchvision's data set
    class, which verifies checksums and shows its progress, the addresses of the files, and where under the root they go
    when they are unpacked by hand.

    Raises:
        UserError: it is not there and cannot be downloaded.
    """
    root = root or downloads()
    if (root / folder).is_dir():
        return root
    missing = [path for path in (root, *root.parents) if not path.exists()]
    open, addresses, by_hand = downloader()
    lock = root / f".{folder}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # the other processes of this machine wait here, then find it done
            if not (root / folder).is_dir():
                print(f"downloading {name} to {root}", flush=True)
                with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
                    open(temporary, download=True)
                    shutil.move(Path(temporary) / folder, root / folder)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
        remove_unused(missing, lock)
        raise UserError(
            f"{name} is not in {root / folder} and cannot be downloaded: {error}",
            f"on a machine with a network fetch {' '.join(addresses)} and unpack what they hold into {root / by_hand}, "
            "or name the folder above it with --data-root; without either, --data glyphs and --data photos are here",
        ) from error
    return root


def remove_unused(folders: list[Path], lock: Path) -> None:
    """Remove `folders`, which were made for nothing, innermost first, if `lock` is all there is in them."""
    with suppress(OSError):
        if folders and list(folders[0].iterdir()) == [lock]:
            lock.unlink()
            for folder in folders:
                folder.rmdir()


def read(name: str, folder: Path, open: Callable[[], Any]) -> Any:
    """What `open` makes of the files in `folder`.

    Raises:
        UserError: they are damaged or not all there.
    """
    try:
        return open()
    except Exception as error:
        raise UserError(
            f"{name} in {folder} is damaged or not complete: {type(error).__name__}: {error}",
            f"remove {folder}, and it will be downloaded again",
        ) from error
