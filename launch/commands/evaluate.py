"""`launchbay evaluate RUN`: the figures of a trained run, on its own validation sets or on others."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Unpack

from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress

from launchbay import UserError
from launchbay.data import ImageSet, Load, LoadOptions
from launchbay.data.sources import OnDemand, Open, Source, describe_all
from launchbay.data.transforms import at_once
from launchbay.launch.commands.evaluated import Form, Outcome, Part, show, write_each
from launchbay.launch.commands.extremes import draw_extremes, judged_by
from launchbay.launch.commands.inputs import try_to_write
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.config import data_names
from launchbay.launch.config.assembly import open_sources
from launchbay.launch.config.loading import check_used, datasets
from launchbay.launch.config.options import HELD_OUT, OWN_DATA, AnyConfig, DataOptions, TrainOptions
from launchbay.launch.distributed.collectives import on_main_process
from launchbay.launch.engine.evaluation import Beat, evaluate_sets, figures_of_each
from launchbay.models.checkpoints import read_state
from launchbay.tasks.base import AnyTask, Moment

BATCH_VALUES, LARGEST_PICTURE = 2**24, 2**28
"""Values in the pictures of a batch and in one picture. What a run says was meant for the machine that trained it, or
is what a stranger likes."""

INSTEAD = "see --checkpoint last, other pictures (--val-data), or a run with --hold-out 0.1, where others choose"


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


@dataclass(frozen=True)
class Wanted:
    """In which form figures are printed, and what is written beside: a table of each picture's figures, and a picture
    of the worst and the best."""

    form: Form = "table"
    per_picture: Path | None = None
    extremes: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """A run in evaluation: its task as a checkpoint has it, its configuration, the sets and their sources."""

    task: AnyTask
    config: AnyConfig
    accelerator: Accelerator
    moment: Moment
    sets: Mapping[str, ImageSet]
    sources: Mapping[str, Source]
    data: Mapping[str, str]
    """The fingerprints of the pictures that the run was trained with."""

    def data_name(self) -> str:
        """Return the name of the data that figures are of."""
        loaded = any("val" in source.opened for source in self.sources.values())
        return self.config.train.data.validation_data() if loaded else OWN_DATA


def evaluate_run(
    run: Path,
    pointer: str,
    named: Named,
    console: Console,
    *,
    argv: Sequence[str] = (),
    wanted: Wanted = Wanted(),
) -> None:
    """Print the figures of `run` on its own validation sets, or on all of others; `argv` are options of its task. With
    several processes each does a share, and the main one prints.
    """
    opened = open_sets(run, pointer, named, argv)
    task, config, accelerator, sets = opened.task, opened.config, opened.accelerator, opened.sets
    main = accelerator.is_main_process
    beside = console if wanted.form == "table" else Console(stderr=True)  # what a program reads is the figures alone
    notes = beside if main else Console(quiet=True)
    options, size = for_this_machine(config.train, sets, notes)
    size = named.batch_size or size
    each = bool(wanted.per_picture or wanted.extremes)
    if each:
        on_main_process(lambda: check_outputs(task, sets, wanted, accelerator, options))
    with bar_of(sets, accelerator, size, notes) as beat:
        given = task, sets, accelerator, size, options
        _, found = evaluate_sets(*given, moment=opened.moment, beat=beat, each=each)
    for line in describe_all(opened.sources.values()):
        notes.print(line, highlight=False, markup=False, soft_wrap=True)
    of_sets = [Part(name or opened.data_name(), len(sets[name]), found[name].figures) for name in sets]
    chosen = note_on_choice(opened) if pointer == "best" else ""
    note = "; ".join(filter(None, (chosen, note_on_training(config.train.data, named))))
    outcome = Outcome(run.resolve().name, config.task, pointer, opened.moment.step, task.baseline_name, of_sets, note)
    if main:
        show(outcome, wanted.form, console)
    if wanted.per_picture:
        on_main_process(partial(write_each, wanted.per_picture, opened.sets, found, of_sets, notes))
    if wanted.extremes:
        on_main_process(lambda: draw_extremes(opened, found, of_sets, wanted, notes))
    if note:
        notes.print(note, highlight=False, markup=False)


def open_sets(run: Path, pointer: str, named: Named, argv: Sequence[str]) -> Evaluated:
    """Return `run` and the sets to evaluate it on, as the command line names them."""
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
    return Evaluated(task, config, accelerator, moment, sets, sources, read_state(checkpoint).data)


def note_on_choice(opened: Evaluated) -> str:
    """Return what a reader of the figures of the best checkpoint has to know: of which of these sets the pictures have
    chosen it. Empty if those of none.
    """
    sets, wanted = opened.sets, opened.task.monitor.removeprefix("-")
    of_run = {name.removesuffix("validation").strip(): of for name, of in opened.data.items() if name != "training"}
    if not wanted or not of_run:
        return ""
    chooser = next((name for name in of_run if name and wanted.startswith(f"{name}/")), next(iter(of_run)))
    chosen = [name for name, images in sets.items() if images.fingerprint() == of_run[chooser]]
    if not chosen:
        return ""
    if HELD_OUT in chosen:
        return chosen_on(HELD_OUT)
    return f"{chosen_on('' if len(chosen) == len(sets) else chosen[0])}: {INSTEAD}"


def chosen_on(name: str) -> str:
    """Return that the pictures of the set `name` have chosen the checkpoint; of all sets where it is empty."""
    pictures = f"the pictures of {name}" if name else "these pictures"
    return f"this checkpoint was chosen on {pictures}, whose figures flatter it a little"


def note_on_training(data: DataOptions, named: Named) -> str:
    """Return that sets which the command line names have the pictures that the run was trained on, too, as far as their
    names say so; empty if they do not.
    """
    kinds, roots = named.data or ["folder"] * len(named.roots), named.roots
    each = roots if len(roots) == len(kinds) else [roots[0] if roots else None] * len(kinds)
    trained = place_of(data.data, data.data_root)
    known = [place for place in map(place_of, kinds, each) if place == trained]
    name = known[0].name if known and isinstance(known[0], Path) else "".join(map(str, known[:1]))
    return f"the run was trained on most pictures of {name}: their figures say little of new ones" if known else ""


def place_of(kind: str, root: Path | None) -> str | Path:
    """Return what tells one data set from another: its name, or where its files are."""
    if kind in ("folder", "pairs") and root is not None:
        return root.resolve()
    return Path(kind).resolve() if data_names.sort_of(kind) == "path" and "://" not in kind else kind


@contextmanager
def bar_of(sets: Mapping[str, ImageSet], accelerator: Accelerator, size: int, console: Console) -> Generator[Beat]:
    """Yield what shows, when it is told of a batch, how far the evaluation has come; on terminals only."""
    share = accelerator.num_processes
    total = sum(ceil(len(images) / (at_once(images, size) * share)) for images in sets.values())
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("evaluating", total=total)
        yield lambda phase, _: bar.advance(row, phase == "evaluate")


def check_outputs(
    task: AnyTask, sets: Mapping[str, ImageSet], wanted: Wanted, accelerator: Accelerator, options: TrainOptions
) -> None:
    """Raise a UserError if the files that are `wanted` cannot be written, or `task` says no figure of each picture."""
    for path, ending in ((wanted.per_picture, ".csv"), (wanted.extremes, ".png")):
        if path is None:
            continue
        if path.suffix.lower() != ending:
            raise UserError(f"{path} does not end in {ending}, which is what is written", f"name it *{ending}")
        if os.path.lexists(path):
            raise UserError(f"{path} exists already", "name another file; nothing was written")
        try_to_write(path.parent)
    for name, images in sets.items():
        names = figures_of_each(task, images, accelerator, options)
        if not names:
            said = f"task {type(task).__name__} says no figure of each picture{f' of {name}' * bool(name)}"
            raise UserError(said, "leave --per-picture and --worst-and-best out")
        if wanted.extremes and judged_by(task, names) is None:
            said = (
                f"pictures are the worst and the best by {task.monitor.removeprefix('-') or 'what chooses checkpoints'}"
            )
            hint = "leave --worst-and-best out, or --metrics that are without it"
            raise UserError(f"{said}, and the figures of each are {', '.join(names)}", hint)


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
