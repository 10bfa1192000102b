"""One configuration from defaults < YAML < command line. No torch in here."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, make_dataclass, replace
from keyword import iskeyword
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from launchbay import UserError
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.options import GROUP_TYPES, GROUPS, Config, Dataclass, TrainOptions, checked, flag

WIDEST = 120
"""Columns of a terminal in which tyro shows one column of help."""
C = TypeVar("C", bound=Dataclass)


def read_first(argv: list[str]) -> tuple[str | None, Path | None, list[str]]:
    """Return (--task or the file's `task:`, --config, the other arguments)."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--task")
    parser.add_argument("--config", type=Path)
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    name = known.task
    if known.config is not None:
        name = name or read_task(known.config)
    return name, known.config, rest


def parse(default: Config[C], argv: list[str], file: Path | None, *, quiet: bool) -> tuple[Config[C], list[str]]:
    """Return the configuration of a run, and a line on each value that is not the default: what it is and where it came
    from.

    `argv` has neither --task nor --config. Prints help or an error and exits (0, 2) where `argv` asks for it, as tyro
    does; `quiet` processes print nothing.
    """
    import tyro

    from_file, lines = read_options(file, default) if file else (default, {})
    own = type(default.options)
    for options in (*GROUP_TYPES.values(), own):
        join_lines(options)
    kind: Any = make_dataclass("Options", [(heading(default.task), own), *GROUP_TYPES.items()])
    about = sys.modules[own.__module__].__doc__ or ""
    with one_column():
        answers = tyro.cli(
            kind,
            args=argv,
            default=kind(from_file.options, *(getattr(from_file.train, group) for group in GROUP_TYPES)),
            prog=f"run.py --task {default.task}",
            description=paragraphs(f"{about}\n\nAny of these options can come from a YAML file: --config FILE."),
            console_outputs=not quiet,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    options, *groups = (getattr(answers, field.name) for field in fields(kind))
    parsed = settle_length(Config(default.task, TrainOptions(*groups), options), from_file, default)
    before = from_file.flat()
    for name, value in parsed.flat().items():
        if value != before[name]:
            checked(GROUP_TYPES.get(GROUPS.get(name, ""), own), name, value, flag(name))
    return parsed, changes(parsed, from_file, default, lines)


def heading(task: str) -> str:
    """Return what tyro heads the options of `task` with: its name, as an identifier that no group has."""
    name = re.sub(r"\W", "_", task)
    return name if name.isidentifier() and not iskeyword(name) and name not in GROUP_TYPES else f"task_{name}"


@contextmanager
def one_column() -> Generator[None]:
    """Have tyro show the groups of options one below the other: on wider terminals it sets them side by side."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(shutil.get_terminal_size().columns, WIDEST))
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def join_lines(options: type) -> None:
    """Write the help of each option as paragraphs into its metadata: tyro would keep a docstring's line breaks."""
    from docstring_parser import parse_from_object

    classes = [cls for cls in reversed(options.__mro__) if is_dataclass(cls)]
    documented = {
        parameter.arg_name: parameter.description or ""
        for cls in classes
        for parameter in parse_from_object(cls).params
    }
    for field in fields(options):
        if text := documented.get(field.name):
            field.metadata = MappingProxyType({"help": paragraphs(text), **field.metadata})


def paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def settle_length(parsed: Config[C], from_file: Config[C], default: Config[C]) -> Config[C]:
    """Of --steps and --epochs the one that was said last, on the command line or in the file, replaces the other."""
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


def changes(parsed: Config[C], from_file: Config[C], default: Config[C], lines: dict[str, str]) -> list[str]:
    """Return one line for each option that differs from the task's default."""
    before, file, now = default.flat(), from_file.flat(), parsed.flat()
    settled = [name for name in ("steps", "epochs") if now[name] is None]  # the other one was given
    changed = [name for name, value in now.items() if value != before[name] and name not in settled]
    origin = {name: lines.get(name, "") if now[name] == file[name] else "command line" for name in changed}
    return [f"{flag(name)} {now[name]}  ({origin[name]}; default {before[name]})" for name in changed]
