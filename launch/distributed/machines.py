"""Whether the machines of a run see the same: one run folder, and the same data."""

import platform
import secrets
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from accelerate import Accelerator

from launchbay.launch.distributed.collectives import are_same, gather_lists, largest, on_main_process
from launchbay.launch.errors import tell_all
from launchbay.launch.files import appears, writing
from launchbay.launch.others import named, speaks


def check_same_folder(folder: Path, accelerator: Accelerator) -> None:
    """Check that all machines see the run `folder` that the main process writes to.

    Raises:
        Missing: one does not; said on each machine.
    """
    if accelerator.num_processes == 1:
        return
    with ExitStack() as stack:
        mark = on_main_process(lambda: stack.enter_context(marked(folder)))
        sees = appears(folder / mark) if speaks() else True
        all_see = not largest(int(not sees), accelerator)  # the file stays until all have looked
    if all_see:
        return
    found = gather_lists([(platform.node(), "" if sees else what_else(folder))])
    others = [f"{host} sees {what}" for host, what in found if what]
    said = f"{found[0][0]} writes to {folder}, and {', '.join(dict.fromkeys(others))}"
    tell_all(
        f"the machines do not share the run's folder: {said}",
        "give a folder on a disk that all of them share: --output-dir",
    )


def check_same_data(fingerprints: Mapping[str, str], accelerator: Accelerator) -> None:
    """Check that all processes have the data of these `fingerprints`.

    Raises:
        Missing: one has not; said on each machine.
    """
    if accelerator.num_processes == 1 or are_same(sha256(repr(sorted(fingerprints.items())).encode()).hexdigest()):
        return
    found = gather_lists([(platform.node(), dict(fingerprints))])
    for split in dict.fromkeys(split for _, own in found for split in own):
        if others := [rank for rank, (_, own) in enumerate(found) if own.get(split) != found[0][1].get(split)]:
            who = f"{named(others)} ({', '.join(dict.fromkeys(found[rank][0] for rank in others))})"
            tell_all(f"the {split} pictures of {who} are not those of process 0", "put the same on each machine")


@contextmanager
def marked(folder: Path) -> Generator[str]:
    """Make a file of a new name in `folder`, which nobody has looked for before, and return the name."""
    mark = folder / f".tmp-{secrets.token_hex(8)}"
    with writing(folder, "choose another folder with --output-dir"):
        mark.touch()
    try:
        yield mark.name
    finally:
        with suppress(OSError):
            mark.unlink()


def what_else(folder: Path) -> str:
    return f"another folder, {folder.resolve()}" if folder.is_dir() else "no such folder"
