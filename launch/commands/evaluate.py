"""`launchbay evaluate RUN`: the figures of a trained run, on its own validation sets or on others."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Unpack

from rich.console import Console

from launchbay import UserError
from launchbay.data import ImageSet, Load, LoadOptions
from launchbay.data.sources import OnDemand, Open, Source, describe_all
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.config import data_names
from launchbay.launch.config.assembly import open_sources
from launchbay.launch.config.loading import check_used, datasets
from launchbay.launch.config.options import OWN_DATA, TrainOptions
from launchbay.launch.engine.evaluation import evaluate_sets
from launchbay.launch.record.progress import results

BATCH_VALUES, LARGEST_PICTURE = 2**24, 2**28
"""Values in the pictures of a batch and in one picture. What a run says was meant for the machine that trained it, or
is what a stranger likes."""

FLATTERED = (
    "this checkpoint was chosen on these pictures, and its figures flatter it a little: see --checkpoint last, other "
    "pictures (--val-data), or a run with --hold-out 0.1, where others choose"
)


@dataclass(frozen=True)
class Named:
    """The task, the data and the size of batches as the command line names them, if it does. `task` and `training` have
    to be those of the run, which may say so only of what is installed."""

    task: str | None = None
    training: str | None = None
    data: Sequence[str] = ()
    roots: Sequence[Path] = ()
    batch_size: int | None = None
    skip_damaged: bool = False


def evaluate_run(run: Path, pointer: str, named: Named, console: Console, *, argv: Sequence[str] = ()) -> None:
    """Print the figures of `run` on its own validation sets, or on all of others; `argv` are options of its task."""
    others = named.data or named.roots
    given = {*(("data", "val_data") if others else ()), *(("data",) if named.training else ())}
    task, config, accelerator, checkpoint = build_trained(run, pointer, named.task, given, argv=argv)
    asked = config.train.data.data
    if named.training not in (None, asked):
        raise UserError(f"the run was trained with --data {asked}, not {named.training}", "--val-data names other data")
    if others:
        values = {"val_data": tuple(named.data) or None, "val_root": tuple(named.roots) or None, "hold_out": 0.0}
        config = replace(config, train=config.train.with_values(**values))
    if named.skip_damaged:
        config = replace(config, train=config.train.with_values(skip_damaged=True))
    closed = not_opened(asked) if data_names.is_code(asked) and not named.training else None
    sources = open_sources(config.train.data, closed)
    _, sets = datasets(task, {name: on_demand(source) for name, source in sources.items()})
    check_used(sources)
    moment = restore(task, checkpoint, accelerator.device, strict=True)  # what `datasets` sets, too
    options, size = for_this_machine(config.train, sets, console)
    size = named.batch_size or size
    figures, _ = evaluate_sets(task, sets, accelerator, size, options, moment=moment)
    for line in describe_all(sources.values()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    loaded = any("val" in source.opened for source in sources.values())
    data_name = config.train.data.validation_data() if loaded else OWN_DATA
    console.print(results(config.task, figures, task.baseline_name, data_name))
    if pointer == "best" and task.monitor and not others and not config.train.data.hold_out:
        console.print(FLATTERED, highlight=False)


def not_opened(name: str) -> Open:
    """Return what refuses to open the training pictures of a run: their `name` is code, and the command line does not
    say that it may run."""

    def refuse(split: str, root: Path | None = None) -> ImageSet:
        raise UserError(
            f"training pictures are needed too, and --data {name} is code, which a run cannot choose",
            f"if you know the code and trust it, add --data {name}",
        )

    return refuse


def for_this_machine(options: TrainOptions, sets: Mapping[str, ImageSet], console: Console) -> tuple[TrainOptions, int]:
    """Return `options` and the size of batches, no more than this machine and the pictures in `sets` suggest. Figures
    depend on neither. Prints what is lowered.

    Raises:
        UserError: a picture alone is too large.
    """
    uniform = [images for images in sets.values() if images.uniform]  # others are evaluated one by one
    largest = max((images.channels * prod(images.size(0)) for images in uniform), default=1)
    if largest > LARGEST_PICTURE:
        said = f"the run's options make pictures of {largest:,} values of those to evaluate"
        raise UserError(said, "put back the config.yaml that the run was trained with")
    asked = min(options.optimization.batch_size, max(map(len, sets.values()))), options.data.workers
    size, workers = min(asked[0], max(1, BATCH_VALUES // largest)), min(asked[1], max(8, os.cpu_count() or 1))
    for name, before, now in (("batch-size", asked[0], size), ("workers", asked[1], workers)):
        if now < before:
            console.print(f"--{name} {before} of the run: {now} here, with the same figures", highlight=False)
    return options.with_values(workers=workers), size


def on_demand(source: Source) -> Load:
    """Return a `load` that opens no training set before a picture of it is wanted."""

    def load(split: str, **how: Unpack[LoadOptions]) -> ImageSet:
        return source(split, **how) if split == "val" else OnDemand(lambda: source(split, **how))

    return load
