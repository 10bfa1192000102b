"""Options as keywords of a call in Python: their names with underscores, checked like those of the command line."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from launchbay import UserError
from launchbay.launch.config.command_line import changes, settle_length
from launchbay.launch.config.data_names import check_names
from launchbay.launch.config.option_file import read_options, with_options
from launchbay.launch.config.options import Config, Dataclass, all_of
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json

C = TypeVar("C", bound=Dataclass)
PATHS = ("data", "val_data", "weights", "resume", "run")
"""Options that take names or paths: these are strings, as on the command line."""


def configure(default: Config[C], values: Json, file: Path | None) -> tuple[Config[C], list[str]]:
    """Return the configuration of a run from defaults < the `file` of options < `values`, and a line for each option
    that differs from its default.

    Raises:
        UserError: a name is no option, or a value none of its option.
    """
    check_known(values, default.flat(), default.task)
    values = {name: as_text(value) if name in PATHS else value for name, value in values.items()}
    check_names([str(name) for option in ("data", "val_data") for name in listed(values.get(option))])
    from_file, lines = read_options(file, default) if file else (default, {})
    hint = f"`launchbay train {default.task} --help` tells what it is, and its default"
    config = with_options(from_file, values, {name: name for name in values}, hint)
    config = settle_length(config, from_file, default)
    return config, changes(config, from_file, default, lines, "Python")


def check_known(values: Json, known: Iterable[str], task: str) -> None:
    """Raise a UserError if one of `values` is none of the `known` options."""
    names = [name for name in known if name != "task"]
    for name in values:
        if name not in names:
            said = f"{name} is not an option of task {task}{did_you_mean(name, names)}"
            raise UserError(said, f"`launchbay train {task} --help` lists them, with - for _")


def as_text(value: object) -> object:
    """Return `value` with the paths in it as strings."""
    if isinstance(value, list | tuple):
        return tuple(map(as_text, value))
    return str(value) if isinstance(value, Path) else value


def listed(value: object) -> tuple[object, ...]:
    return all_of(tuple(value) if isinstance(value, list) else value)
