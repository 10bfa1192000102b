"""Files of options: flat YAML, read and written. Unknown keys and wrong values are errors that name file and line."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml

from launchbay import UserError
from launchbay.launch.config import data_names
from launchbay.launch.config.options import GROUPS, AnyConfig, Config, Dataclass, all_of, declaring_class, flag, plain
from launchbay.launch.config.validation import SEE_HELP, validate_option
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json
from launchbay.yaml12 import Dumper, Loader, read_text, text_of

C = TypeVar("C", bound=Dataclass)
PLUGINS = ("task", *data_names.DATA)
"""Options that name what is imported and called."""
WITH = {"val_data": "val_root"}
"""An option that is given anew together with one of these."""
REMEDY = "write each option on its own line, as `name: value`"


def read_task(file: Path, given: Collection[str], command: str) -> str | None:
    """Return the `task:` of a file of options, if it has one, after a check that the file names no code: installed
    tasks and data sets alone, but for options that were `given` on the command line, or are not used.

    Args:
        command: what was typed, for the hint.

    Raises:
        UserError: it names code that is not installed, as module:Class; nothing was imported.
    """
    values, lines = read_values(file)
    code = {name: names_in(values[name]) for name in PLUGINS if name in values and name not in given}
    code = {name: names for name, names in code.items() if any(is_code(name, each) for each in names)}
    if code:
        added = {
            option: names_in(values.get(option))
            for name in code
            for option in (name, *([WITH[name]] if name in WITH else []))
        }
        words = [word for option, names in added.items() if names for word in (flag(option), *names)]
        said = [f"{file}:{lines[name]}: {name} is {' '.join(names)}" for name, names in code.items()]
        raise UserError(
            "\n".join([*said, "that is code, and a file can only name tasks and data sets that are installed"]),
            f"if you know the code and trust it, name it yourself: {command} {shlex.join(words)}",
        )
    task = values.get("task")
    return task if isinstance(task, str) else None


def is_code(option: str, name: str) -> bool:
    """Return whether the value `name` of an option would import what is not installed."""
    return ":" in name if option == "task" else data_names.is_code(name)


def names_in(value: object) -> tuple[str, ...]:
    """Return the names in the value of an option: one, several or none."""
    return tuple(str(name) for name in all_of(tuple(value) if isinstance(value, list) else value))


def read_values(file: Path) -> tuple[Json, dict[str, int]]:
    """Return the values of a file of options by their keys, and the line numbers by the same.

    Raises:
        UserError: the file cannot be read, is not valid YAML, or has a key twice.
    """
    text = read_text(file)
    try:
        loader = Loader(text, str(file))
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{file} holds no options by name", REMEDY)
        values: Json = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{file}:{line}: what stands before the colon is no name", REMEDY)
            name = text_of(loader, key).replace("-", "_")
            if name in lines:
                said = f"{file}:{line}: {name} is there twice, first in line {lines[name]}"
                raise UserError(said, "keep one of them")
            values[name], lines[name] = loader.value_of(value), line
        return values, lines
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: "\UFFFFFFFF", a version of 5000 digits
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}", REMEDY) from error


def read_options(file: Path, default: Config[C]) -> tuple[Config[C], dict[str, str]]:
    """Return `default` with the values of `file`, and "file:line" for each of its keys.

    Raises:
        UserError: it is not a valid file of options of this task.
    """
    values, lines = read_values(file)
    origins = {name: f"{file}:{line}" for name, line in lines.items()}
    if (task := values.pop("task", default.task)) != default.task:
        raise UserError(
            f"{origins['task']}: the file is for task {task}, not for --task {default.task}", "leave one of them out"
        )
    for name in values:
        if name not in default.flat():
            raise UserError(
                f"{origins[name]}: {name} is not an option of task {default.task}" + did_you_mean(name, default.flat()),
                f"launchbay train {default.task} --help lists them",
            )
    return with_options(default, values, {name: f"{where}: {name}" for name, where in origins.items()}), origins


def with_options(config: Config[C], values: Json, where: Mapping[str, str], hint: str = SEE_HELP) -> Config[C]:
    """Return `config` with other `values` for some of its options, which are checked.

    Args:
        where: where each comes from, which begins the message about it: "options.yaml:3: lr".

    Raises:
        UserError: one is no value of its option.
    """
    own_type = type(config.options)
    given = {
        name: validate_option(declaring_class(name, own_type), name, value, where[name], hint)
        for name, value in values.items()
    }
    shared = {name: value for name, value in given.items() if name in GROUPS}
    own = {name: value for name, value in given.items() if name not in GROUPS}
    train, options = config.train.with_values(**shared), replace(config.options, **own)  # pyright: ignore
    return Config(config.task, train, options)


def to_yaml(config: AnyConfig) -> str:
    """Return the whole configuration as YAML that `read_options` takes.

    Raises:
        UserError: YAML cannot hold the value of an option of the task.
    """
    # Without the run's name: what is in it may be run again, and a run folder is never written into twice.
    values = {name: plain(value) for name, value in config.flat().items() if name != "run"}
    remedy = "use numbers, strings, truth values, None, paths and tuples of these"
    try:
        text = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        loader = Loader(text, "config.yaml")
        loader.value_of(loader.get_single_node())
        return text
    except yaml.representer.RepresenterError as error:
        said = f"config.yaml cannot hold an option of {type(config.options).__name__}: {error.args[-1]!r}"
        raise UserError(said, remedy) from error
    except yaml.MarkedYAMLError as error:
        raise UserError(f"config.yaml cannot hold the options: {' '.join(str(error).split())}", remedy) from error
