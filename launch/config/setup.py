"""From the name of a task to its class and its default options. No torch until a task is loaded."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING

from launchbay import UserError
from launchbay.launch.config import plugins
from launchbay.launch.config.options import GROUP_TYPES, GROUPS, AnyConfig, Config
from launchbay.launch.config.validation import check_options, train_defaults, validate_option

if TYPE_CHECKING:
    from launchbay.tasks.base import AnyTask


def task_of(name: str) -> "tuple[type[AnyTask], AnyConfig]":
    """Return the class of task `name` and its default configuration.

    Raises:
        UserError: there is no such task, or it cannot be loaded or configured.
    """
    found = plugins.load_plugin(plugins.find_plugin(plugins.TASKS, name))
    task_type = check_is_task(name, found)
    return task_type, default_config(name, task_type)


def check_is_task(name: str, found: object) -> "type[AnyTask]":
    """Return `found`, which was loaded under the `name` of a task.

    Raises:
        UserError: it is no task.
    """
    from launchbay.tasks.base import Task  # with torch, which the task has brought in

    if not (isinstance(found, type) and issubclass(found, Task)) or not is_dataclass(
        getattr(found, "config_type", None)
    ):
        raise UserError(
            f"{name} is not a task", "derive a class from Task[Options], where Options is a frozen dataclass"
        )
    return found


def default_config(name: str, task_type: "type[AnyTask]") -> AnyConfig:
    """Return the default configuration of `task_type`.

    Raises:
        UserError: its options cannot be options of a command line, or its defaults none of theirs.
    """
    from launchbay.tasks.authors import attribute_errors_to

    options = check_is_task(name, task_type).config_type
    with attribute_errors_to(task_type, "defaults"):
        check_defaults(task_type)
        train = train_defaults(name, task_type.defaults)
    with attribute_errors_to(options):
        check_options(name, options)
    if lacking := sorted(getattr(task_type, "__abstractmethods__", ())):
        with attribute_errors_to(task_type):
            raise UserError(
                f"{name} has no {' and no '.join(lacking)}",
                "define it; the docstring in its base class says what it returns",
            )
    return Config(name, train, options())


def check_defaults(task_type: "type[AnyTask]") -> None:
    """Check that `task_type.defaults` is a mapping whose values have the types of the shared options.

    Raises:
        UserError: it is not.
    """
    where, defaults = f"{task_type.__name__}.defaults", task_type.defaults
    if not isinstance(defaults, Mapping):
        raise UserError(
            f"{where} is a {type(defaults).__name__}, not a dict",
            'write it as {"batch_size": 64}: options, their values',
        )
    for option in [name for name in GROUPS if name in defaults]:
        hint = "give it a value of that kind"
        validate_option(GROUP_TYPES[GROUPS[option]], option, defaults[option], f"{where}: {option}", hint, strict=True)
