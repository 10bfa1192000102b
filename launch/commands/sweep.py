"""`launchbay sweep NAME --lr 1e-3 3e-3 --seed 0 1 2`: a run for each combination of values, and a table at the end."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from math import prod
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from rich.console import Console

from launchbay import UserError, number_of, printable
from launchbay.launch import errors
from launchbay.launch.commands.figures import figures_of
from launchbay.launch.commands.report import write_report
from launchbay.launch.commands.runs import sorted_by
from launchbay.launch.commands.trainings import Planned, Trainings
from launchbay.launch.commands.trials import Axis, Range, Search, each_once, read_range
from launchbay.launch.config.command_line import parse, read_first
from launchbay.launch.config.options import AnyConfig, RunOptions, declaring_class, flag
from launchbay.launch.config.setup import task_of
from launchbay.launch.files import write_text
from launchbay.launch.record.reader import read_run_folder
from launchbay.launch.record.report.page import REPORT
from launchbay.launch.record.run_folder import SWEEP

OWN = ("run", "output_dir", "resume")
"""Options that a sweep gives its runs itself."""
ODD = re.compile(r"[^\w.+-]")
"""What a value may have, such as a path, that the name of a folder has not."""
LONG = re.compile(r"\d+\.\d{5,}(e-?\d+)?")
"""A number that is drawn, whose digits make no name."""
CHOSEN = (
    "the best run and each best step were chosen by these figures, which flatter them a little: --hold-out 0.1 lets "
    "others choose"
)
MOST = 10_000
"""Runs that a sweep may have."""


@dataclass(frozen=True)
class How:
    """How the runs of a sweep are trained."""

    name: str = ""
    """Of the sweep, one that was begun goes on; empty for a new one."""
    jobs: int = 1
    """Runs at the same time."""
    launcher: str = ""
    """What starts a run, before -m launchbay.launch.run."""
    trials: int | None = None
    """How many runs choose their values by how well those before did; None: a run for each combination."""


def sweep(argv: Sequence[str], how: How, console: Console) -> int:
    """Train a run for each combination of the values in `argv`, or for so many trials of them, in folders of their own
    below that of the sweep; then print their figures. Return the exit code: 0 if all came to their end, 75 if it was
    stopped, 1 if one failed.

    Raises:
        UserError: a value is wrong, there is nothing to choose from, or a sweep of that name has other values.
    """
    task, fixed, axes = read_axes(argv, ranges=bool(how.trials))
    command = shlex.join(argv)
    folder = open_sweep(how.name, task, f"{command} --trials" if how.trials else command)
    begin = [*(shlex.split(how.launcher) or [sys.executable]), "-m", "launchbay.launch.run"]
    again = f"launchbay sweep {command}{f' --trials {how.trials}' * bool(how.trials)} --name {folder.name}"
    trainings = Trainings(folder, begin, console)
    train: list[Callable[[], tuple[str, int]]]
    if how.trials:
        search = Search(folder, axes)
        train = [partial(try_next, search, trainings, task, fixed)] * max(0, how.trials - search.finished)
    else:
        train = [partial(train_one, trainings, run) for run in grid(task, fixed, axes, folder)]
    console.print(f"{number_of(len(train), 'run')} of {task}, {how.jobs} at a time -> {folder}", highlight=False)
    with trainings, ThreadPoolExecutor(how.jobs) as pool:
        waiting = [pool.submit(one) for one in train]
        try:
            ended = [each.result() for each in waiting]
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            trainings.stop()
            if not isinstance(error, KeyboardInterrupt):
                raise
            console.print(f"stopped; {again} goes on", highlight=False, soft_wrap=True)
            return errors.STOPPED
    show_outcome(folder, console)
    failed = [name for name, code in ended if code]
    if failed:
        console.print(
            f"{len(failed)} of {number_of(len(train), 'run')} did not end well; logs are in {folder}: {failed[0]}.log"
        )
        console.print(f"{again} goes on with them", highlight=False, soft_wrap=True)
    return errors.BUG if failed else errors.DONE


def train_one(trainings: Trainings, run: Planned) -> tuple[str, int]:
    """Train `run`. Return its name and its exit code."""
    return run.name, trainings.train(run)


def try_next(search: Search, trainings: Trainings, task: str, fixed: Sequence[str]) -> tuple[str, int]:
    """Train the next trial of `search`. Return its name and its exit code."""
    trial, values = search.ask()
    run = planned(task, fixed, values, trainings.folder, f"{trial.number:03d},")
    folder = trainings.folder / run.name
    code = trainings.train(run, lambda: search.is_hopeless(trial, folder))
    if code == errors.DONE and not trainings.stopped:
        search.tell(trial, folder)
    return run.name, code


def show_outcome(folder: Path, console: Console) -> None:
    """Print the figures of the runs of the sweep in `folder`, and which is the best one."""
    rows = [read_run_folder(run) for run in sorted(folder.iterdir()) if (run / "config.yaml").exists()]
    whole = [row for row in rows if row.summary]
    console.print(figures_of(whole), highlight=False)
    by = next((row.summary.best_by for row in whole if row.summary), "")
    if by and len(whole) > 1:
        best = sorted_by(whole, by)[0]
        console.print(f"the best one, by {by}, is {folder / best.name}", highlight=False, soft_wrap=True)
        if best.flatters:
            console.print(CHOSEN, highlight=False, soft_wrap=True)
    if rows:
        write_report([folder], folder / REPORT, console)


def read_axes(argv: Sequence[str], *, ranges: bool) -> tuple[str, list[str], dict[str, Axis]]:
    """Return the task, the arguments that all runs have, and the values of each option that has several, or a range of
    them. An option that takes several values itself is no choice.

    Raises:
        UserError: one cannot be chosen so, or none is.
    """
    task, file, rest = read_first(list(argv))
    if task is None:
        raise UserError("no task was named", "launchbay sweep NAME --OPTION VALUE VALUE...")
    _, default = task_of(task)
    fixed, axes = ["--config", str(file)] * bool(file), dict[str, Axis]()
    starts = [place for place, word in enumerate(rest) if word.startswith("--")]
    if rest and starts[:1] != [0]:
        raise UserError(f"what is {rest[0]!r} for?", "launchbay sweep NAME --OPTION VALUE VALUE...")
    for start, end in zip(starts, [*starts[1:], len(rest)], strict=True):
        word, values = rest[start], rest[start + 1 : end]
        option = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if option in OWN:
            raise UserError(f"{word} is given to each run by the sweep", "--name names the sweep and its folder")
        span = read_range(word, values[0], is_whole(default, option)) if len(values) == 1 else None
        if span and not ranges:
            raise UserError(f"{word} {values[0]} is a range", "say how many values are to be tried: --trials 20")
        if span:
            axes[word] = span
        elif len(values) > 1 and not takes_several(default, option):
            axes[word] = each_once(word, values)
        else:
            fixed += rest[start:end]
    if not axes:
        raise UserError("there is nothing to choose from", "give an option several values: --seed 0 1 2")
    tried = {word: axis.ends() if isinstance(axis, Range) else axis for word, axis in axes.items()}
    if not ranges and (number := prod(map(len, tried.values()))) > MOST:
        raise UserError(f"these are {number:,} runs", f"give fewer values; at most {MOST:,} runs are one sweep")
    first = {word: values[0] for word, values in tried.items()}
    for word, values in tried.items():  # each value once: all combinations would take minutes
        for value in values:
            parse(
                default,
                [*fixed[2 * bool(file) :], *words({**first, word: value})],
                file,
                quiet=False,
                command="launchbay train",
            )
    return task, fixed, axes


def takes_several(default: AnyConfig, option: str) -> bool:
    """Return whether one run may have several values of `option`."""
    if option not in default.flat():
        return False  # unknown: said by the parser
    kind: object = get_type_hints(declaring_class(option, type(default.options)), include_extras=False)[option]
    return any(get_origin(part) is tuple for part in (kind, *get_args(kind)))


def is_whole(default: AnyConfig, option: str) -> bool:
    """Return whether the values of `option` are whole numbers."""
    if option not in default.flat():
        return False
    kind: object = get_type_hints(declaring_class(option, type(default.options)))[option]
    return int in (kind, *get_args(kind)) and float not in get_args(kind)


def words(values: dict[str, str]) -> list[str]:
    return [word for pair in values.items() for word in pair]


def grid(task: str, fixed: Sequence[str], axes: Mapping[str, Axis], folder: Path) -> list[Planned]:
    """Return a run for each combination of values; numbered, where two of them would have the same name."""
    choices = [values for values in axes.values() if not isinstance(values, Range)]
    combinations = [dict(zip(axes, values, strict=True)) for values in product(*choices)]
    runs = [planned(task, fixed, one, folder) for one in combinations]
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [planned(task, fixed, one, folder, f"{place:03d},") for place, one in enumerate(combinations)]


def planned(task: str, fixed: Sequence[str], values: dict[str, str], folder: Path, prefix: str = "") -> Planned:
    """Return the run that has `values` of its own."""
    shortened = {word: f"{float(value):.4g}" if LONG.fullmatch(value) else value for word, value in values.items()}
    name = prefix + ",".join(f"{word.removeprefix('--')}={ODD.sub('_', value)}" for word, value in shortened.items())
    where = [flag("run"), name, flag("output_dir"), str(folder)]
    return Planned(name, ["--task", task, *fixed, *words(values), *where])


def open_sweep(name: str, task: str, command: str) -> Path:
    """Return the folder of the sweep `name`, new or begun by the same `command`; with a number if it has no name.

    Raises:
        UserError: another command began it, or it is something else.
    """
    root, own = RunOptions.output_dir, task.rpartition(":")[2].lower()
    folder = root / (name or next(f"{own}-sweep-{n}" for n in count(1) if not (root / f"{own}-sweep-{n}").exists()))
    if folder.parent != root or folder.name.startswith("."):
        raise UserError(f"--name {name!r} has to be a plain folder name", "its folder is in runs/")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SWEEP).exists():
        if any(folder.iterdir()):
            raise UserError(f"{folder} exists already, and is no sweep", "choose another --name")
        write_text(folder / SWEEP, f"{command}\n")
    elif (before := (folder / SWEEP).read_text().strip()) != command:
        raise UserError(
            f"{folder} was begun with {printable(before, 500)}", "go on with that, or choose another --name"
        )
    return folder
