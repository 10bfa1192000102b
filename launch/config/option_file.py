"""Files of options: flat YAML, read and written. Unknown keys and wrong values are errors that name file and line."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml

from launchbay import UserError
from launchbay.launch.config.options import GROUPS, AnyConfig, Config, Dataclass, declaring_class, plain
from launchbay.launch.config.validation import validate_option
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json

C = TypeVar("C", bound=Dataclass)


class Loader(yaml.SafeLoader):
    """YAML 1.2: PyYAML alone reads `1e-3` as a string, and `off` as a truth value."""


CHANGED = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in CHANGED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d[\d_]*(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_task(file: Path) -> str | None:
    """Return the `task:` of a file of options, if it has one."""
    values, _ = read_values(file)
    task = values.get("task")
    return task if isinstance(task, str) else None


def read_values(file: Path) -> tuple[Json, dict[str, int]]:
    """Return the values of a file of options by their keys, and the line numbers by the same.

    Raises:
        UserError: the file cannot be read, is not valid YAML, or has a key twice.
    """
    try:
        loader = Loader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{file} holds no options by name", "write each option on its own line, as `name: value`")
        values: Json = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
            if name in lines:
                said = f"{file}:{line}: {name} is there twice, first in line {lines[name]}"
                raise UserError(said, "keep one of them")
            values[name], lines[name] = loader.construct_object(value, deep=True), line
        return values, lines
    except OSError as error:
        raise UserError(
            f"cannot read --config {file}: {error.strerror}", "give a file of options, such as a run's config.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is not valid YAML: {' '.join(str(error).split())}",
            "write each option on its own line, as `name: value`",
        ) from error


def read_options(file: Path, default: Config[C]) -> tuple[Config[C], dict[str, str]]:
    """Return `default` with the values of `file`, and "file:line" for each of its keys.

    Raises:
        UserError: it is not a valid file of options of this task.
    """
    values, lines = read_values(file)
    origins = {name: f"{file}:{line}" for name, line in lines.items()}
    if values.pop("task", default.task) != default.task:
        raise UserError(
            f"{origins['task']}: the file is for another task than --task {default.task}", "leave one of them out"
        )
    known, own_type = default.flat(), type(default.options)
    for name in values:
        if name not in known:
            raise UserError(
                f"{origins[name]}: {name} is not an option of task {default.task}" + did_you_mean(name, known),
                f"run.py --task {default.task} --help lists them",
            )
    given = {
        name: validate_option(declaring_class(name, own_type), name, value, f"{origins[name]}: {name}")
        for name, value in values.items()
    }
    shared = {name: value for name, value in given.items() if name in GROUPS}
    own = {name: value for name, value in given.items() if name not in GROUPS}
    train, options = default.train.with_values(**shared), replace(default.options, **own)  # pyright: ignore
    return Config(default.task, train, options), origins


def to_yaml(config: AnyConfig) -> str:
    """Return the whole configuration as YAML that `read_options` takes.

    Raises:
        UserError: YAML cannot hold the value of an option of the task.
    """
    # Without the run's name: what is in it may be run again, and a run folder is never written into twice.
    values = {name: plain(value) for name, value in config.flat().items() if name != "run"}
    try:
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    except yaml.representer.RepresenterError as error:
        said = f"config.yaml cannot hold an option of {type(config.options).__name__}: {error.args[-1]!r}"
        raise UserError(said, "use numbers, strings, truth values, None, paths and tuples of these") from error
