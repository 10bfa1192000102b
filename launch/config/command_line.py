"""Parse the command line: one configuration from defaults < YAML < command line."""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass, make_dataclass, replace
from functools import cache
from keyword import iskeyword
from pathlib import Path
from textwrap import fill
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from launchbay import UserError
from launchbay.launch.config.data_names import check_names
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.options import GROUP_TYPES, Config, Dataclass, TrainOptions, all_of, declaring_class, flag
from launchbay.launch.config.run_options import marked
from launchbay.launch.config.validation import validate_option

WIDEST = 120
"""Columns of the help. From 130 on, tyro would lay out the groups of options side by side; it has no setting."""
SWITCHES = {"true": "", "false": "no_"}
C = TypeVar("C", bound=Dataclass)


def read_first(argv: list[str]) -> tuple[str | None, Path | None, list[str]]:
    """Return (--task or the file's `task:`, --config, the other arguments). --task may be left out before the name of
    a task where that comes first.

    Raises:
        UserError: the file is wrong, or names code that the command line does not; or there are two tasks.
    """
    argv = ["--task", *argv] if argv and not argv[0].startswith("-") else argv
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--task", action="append", default=[])
    parser.add_argument("--config", type=Path)
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(str(error), "write --task NAME [--config FILE] [options]; --help lists them") from error
    if len(known.task) > 1:
        raise UserError(f"two tasks are named: {' and '.join(known.task)}", "a run has one: leave the other out")
    task = known.task[0] if known.task else None
    if known.config is None:
        return task, None, rest
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in argv if word.startswith("--")}
    name = read_task(known.config, given, shlex.join(argv))
    return task or name, known.config, rest


def check_given(argv: list[str]) -> None:
    """Check the names of data that the command line gives, at once. Whether the rest of it is right is found out later.

    Raises:
        UserError: one means nothing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--data", default=())
    parser.add_argument("--val-data", "--val_data", nargs="*", default=())
    with suppress(argparse.ArgumentError):
        given, _ = parser.parse_known_args(argv)
        check_names([*all_of(given.data), *given.val_data])


def parse(
    default: Config[C], argv: list[str], file: Path | None, *, quiet: bool, command: str = "run.py --task"
) -> tuple[Config[C], list[str]]:
    """Return the configuration of a run, and a line for each option that differs from its default: value and origin.

    Prints help or an error and exits with 0 or 2 where `argv` asks for it, as tyro does.

    Args:
        argv: the arguments without --task and --config.
        file: the --config.
        quiet: print nothing.
        command: what the name of the task follows, for the help.

    Raises:
        UserError: the file is wrong, or a value is out of its range.
    """
    import tyro

    from_file, lines = read_options(file, default) if file else (default, {})
    own = type(default.options)
    prepare(own)
    kind: Any = make_dataclass("Options", [(heading(default.task), own), *GROUP_TYPES.items()])
    about = sys.modules[own.__module__].__doc__ or ""
    with one_column():
        answers = tyro.cli(
            kind,
            args=[as_switch(word, default) for word in argv],
            default=kind(from_file.options, *(getattr(from_file.train, group) for group in GROUP_TYPES)),
            prog=f"{command} {default.task}",
            description=wrapped(f"{about}\n\nAny of these options can come from a YAML file: --config FILE."),
            console_outputs=not quiet,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    options, *groups = (getattr(answers, field.name) for field in fields(kind))
    parsed = settle_length(Config(default.task, TrainOptions(*groups), options), from_file, default)
    before = from_file.flat()
    for name, value in parsed.flat().items():
        if value != before[name]:
            validate_option(declaring_class(name, own), name, value, flag(name))
    return parsed, changes(parsed, from_file, default, lines)


def prepare(own: type) -> None:
    """Have tyro show the options of all tasks and a task's `own` as we do."""
    from launchbay.tasks.options import Mark  # with torch, which the task has brought in

    join_lines(own, tuple(marked(own, Mark.EVALUATION)))
    for options in GROUP_TYPES.values():
        join_lines(options)
    for options in (*GROUP_TYPES.values(), own):
        make_switches(options)


def heading(task: str) -> str:
    """Return the heading of the options of `task` in the help: its name, as an identifier that no group has."""
    name = re.sub(r"\W", "_", task)
    return name if name.isidentifier() and not iskeyword(name) and name not in GROUP_TYPES else f"task_{name}"


@contextmanager
def one_column() -> Generator[None]:
    """Have tyro lay out the groups of options in one column: it takes the terminal for no wider than `WIDEST`."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(shutil.get_terminal_size().columns, WIDEST))
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


@cache
def join_lines(options: type, evaluated: tuple[str, ...] = ()) -> None:
    """Write the help of each option into its metadata, without the line breaks of its docstring, which tyro would keep.
    Those that are `evaluated` are for `launchbay evaluate`, too.

    The help of an inherited option is found in the class that declares it.
    """
    from docstring_parser import parse_from_object

    classes = [cls for cls in reversed(options.__mro__) if is_dataclass(cls)]
    documented = {
        parameter.arg_name: parameter.description or ""
        for cls in classes
        for parameter in parse_from_object(cls).params
    }
    for field in fields(options):
        if text := documented.get(field.name):
            text += " Also for `launchbay evaluate`." * (field.name in evaluated)
            field.metadata = MappingProxyType({"help": paragraphs(text), **field.metadata})


@cache
def make_switches(options: type) -> None:
    """Have tyro take options of type `bool | None` as switches, --name or --no-name, as it takes those of `bool`."""
    from tyro.conf import DisallowNone

    for cls in [cls for cls in options.__mro__ if is_dataclass(cls)]:
        for name, kind in get_type_hints(cls, include_extras=True).items():
            if kind == bool | None and name in cls.__annotations__:
                cls.__annotations__[name] = DisallowNone[bool | None]


def as_switch(word: str, default: Config[C]) -> str:
    """Return "--name=True" of a switch as --name, "--name=False" as --no-name: so other programs write them, such as
    `wandb agent`. Other words stay as they are.
    """
    name, _, value = word.removeprefix("--").partition("=")
    option = name.replace("-", "_")
    if not word.startswith("--") or value.lower() not in SWITCHES or option not in default.flat():
        return word
    kind = get_type_hints(declaring_class(option, type(default.options)))[option]
    return flag(SWITCHES[value.lower()] + option) if kind in (bool, bool | None) else word


def paragraphs(text: str) -> str:
    """Return `text` with each of its paragraphs on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def wrapped(text: str) -> str:
    """Return `text` with its lines broken where the terminal ends. All but the first of a paragraph are indented: tyro
    joins a line that begins with a letter to the one before it."""
    columns = shutil.get_terminal_size().columns
    return "\n\n".join(fill(line, columns, subsequent_indent="  ") for line in paragraphs(text).split("\n\n"))


def settle_length(parsed: Config[C], from_file: Config[C], default: Config[C]) -> Config[C]:
    """Return `parsed` with either --steps or --epochs: the one given last (defaults, file, command line).

    Raises:
        UserError: both were given in the same place.
    """
    length = parsed.train.optimization
    if length.steps is None or length.epochs is None:
        return parsed
    for earlier in (from_file.train.optimization, default.train.optimization):
        said = [name for name in ("steps", "epochs") if getattr(length, name) != getattr(earlier, name)]
        if len(said) == 2:
            break
        if len(said) == 1:
            other = {"steps": "epochs", "epochs": "steps"}[said[0]]
            return replace(parsed, train=parsed.train.with_values(**{other: None}))
    raise UserError(
        f"--steps {length.steps} and --epochs {length.epochs:g} both say how long to train", "give one of them"
    )


def changes(
    parsed: Config[C], from_file: Config[C], default: Config[C], lines: dict[str, str], given: str = "command line"
) -> list[str]:
    """Return a line for each option that differs from the default of the task: value, origin (a line of the file, or
    `given`) and default."""
    before, file, now = default.flat(), from_file.flat(), parsed.flat()
    settled = [name for name in ("steps", "epochs") if now[name] is None]  # the other one was given
    changed = [name for name, value in now.items() if value != before[name] and name not in settled]
    origin = {name: lines.get(name, "") if now[name] == file[name] else given for name in changed}
    return [f"{flag(name)} {now[name]}  ({origin[name]}; default {before[name]})" for name in changed]
