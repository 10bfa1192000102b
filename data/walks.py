"""A walk through a large folder, made by one process of a machine for all of them. Nothing is opened."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from launchbay.data.known import FEW, MOST, alone, checked_since, index_file
from launchbay.data.listing import Listing


def walk_once(root: Path, walk: Callable[[Path], Listing]) -> Listing:
    """Return what `walk` finds in the folder `root`: where this machine has several processes, what one of them has
    found since this one has asked, if that is much.

    Raises:
        UserError: what `walk` raises.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE") or 1) == 1:
        return walk(root)
    asked, file = time.time_ns(), index_file(root, "", "walk").with_suffix(".json")
    with alone(file):
        found = read_walk(file, root) if checked_since(file, asked) else None
        if found is None:
            found = walk(root)
            if len(found.names) > FEW:
                write_walk(file, found)
        return found


def read_walk(file: Path, root: Path) -> Listing | None:
    try:
        names, folders, left_out, empty = json.loads(file.read_text(encoding="ascii"))
        return Listing(root, names, folders, Counter(left_out), tuple(empty))
    except (OSError, ValueError, TypeError):
        return None


def write_walk(file: Path, found: Listing) -> None:
    """Replace `file` at once. A disk that takes nothing is no harm: each process walks then."""
    said = json.dumps([found.names, found.folders, found.left_out, found.empty])  # in ASCII, whatever bytes a name has
    with suppress(OSError), TemporaryDirectory(dir=file.parent, prefix=".tmp-") as temporary:
        written = Path(temporary) / file.name
        written.write_text(said, encoding="ascii")
        written.replace(file)
        for old in sorted(file.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)[:-MOST]:
            old.unlink()
