"""`launchbay pack DATA OUT`: a data set as a few tars with an index, which very many pictures are read from fastest."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from launchbay import UserError, number_of, printable
from launchbay.data import ImageSet
from launchbay.data.packing import write_pack
from launchbay.data.sources import Source
from launchbay.data.words import some_of
from launchbay.launch.config.assembly import open_dataset
from launchbay.launch.config.data_names import title_of
from launchbay.launch.files import synchronize, writing


def pack_data(data: str, root: Path | None, target: Path, console: Console, *, skip_damaged: bool = False) -> None:
    """Write what `--data` and `--data-root` name to the folder `target`, which is there whole or not at all. With
    `skip_damaged`, pictures that cannot be read are left out and counted.

    Raises:
        UserError: it is there already, cannot be written, or there is something wrong with the data.
    """
    if os.path.lexists(target):
        raise UserError(f"{target} exists already", "name another folder; nothing was written")
    if not target.resolve().parent.is_dir():
        raise UserError(f"there is no folder {target.resolve().parent}", "make it first")
    source = Source(open_dataset(data, skip_damaged=skip_damaged), root, skip_damaged=skip_damaged)
    sets = {split: source.open(split) for split in ("train", "val")}
    for damaged in source.damaged.values():
        raise damaged
    for line in source.describe() or [plainly(data, sets)]:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
    with writing(target.resolve().parent, "choose a folder on another disk"):
        with TemporaryDirectory(dir=target.resolve().parent, prefix=".tmp-pack-") as temporary:
            whole = Path(temporary) / "pack"
            whole.mkdir()
            found = write_pack(sets, title_of(data), whole)
            for file in whole.iterdir():
                synchronize(file)
            whole.rename(target)
        synchronize(target.resolve().parent)
    total = sum(shard.bytes for shard in found.shards)
    counts = ", ".join(f"{count:,} {split}" for split, count in found.splits.items())
    size = f"{number_of(len(found.shards), 'shard')}, {total / 2**20:,.1f} MiB"
    said = f"{target}: {counts}, {size}. Train on it: --data {target}"
    console.print(printable(said), highlight=False, markup=False, soft_wrap=True)


def plainly(data: str, sets: Mapping[str, ImageSet]) -> str:
    """Return a line on data that say nothing of themselves: their classes, and how many are for what."""
    classes = next(iter(sets.values())).classes
    said = [f"{number_of(len(classes), 'class')} ({some_of(classes, 8)})"] if classes else []
    for split, use in (("train", "train"), ("val", "validate")):
        said.append(f"{len(sets[split]):,} to {use}")
    return f"{data}: {', '.join(said)}"
