"""Check options: values by their types, a task's defaults, and what a task declares as options."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import get_type_hints

from launchbay import UserError
from launchbay.launch.config.options import GROUPS, TrainOptions, flag
from launchbay.launch.errors import did_you_mean

MOST_SHOWN = 200
"""Characters of a value."""
SEE_HELP = "--help tells what it is, and its default"


def validate_option(
    options: type, name: str, value: object, where: str, hint: str = SEE_HELP, *, strict: bool = False
) -> object:
    """Return `value`, converted to the type of the option `name` of the dataclass `options`.

    Args:
        where: the origin of the value, which begins the message: "--lr", "options.yaml:3: lr".
        strict: do not convert strings to numbers and the like.

    Raises:
        UserError: the value is of another type, not a finite number, or outside of the range in the type's `Annotated`.
    """
    from pydantic import TypeAdapter, ValidationError

    kind = get_type_hints(options, include_extras=True)[name]
    try:
        return TypeAdapter(kind, config={"allow_inf_nan": False}).validate_python(value, strict=strict)
    except ValidationError as error:
        needed = error.errors()[0]["msg"].replace("Input should be", "has to be")
        shown = repr(value) if len(repr(value)) <= MOST_SHOWN else f"{repr(value)[:MOST_SHOWN]}..."
        raise UserError(f"{where} {shown} {needed}", hint) from error


def train_defaults(task: str, defaults: Mapping[str, object]) -> TrainOptions:
    """Return the options that all tasks share, with the `defaults` of a `task`.

    Raises:
        UserError: one of them is not a shared option.
    """
    if unknown := [name for name in defaults if name not in GROUPS]:
        raise UserError(
            f"task {task!r} sets a default for {', '.join(map(str, unknown))}, which is not an option of all tasks"
            + did_you_mean(str(unknown[0]), GROUPS),
            "a task's own options have theirs where they are declared",
        )
    return TrainOptions().with_values(**defaults)


def check_options(task: str, options: type) -> None:
    """Check that the fields of `options`, the dataclass of a `task`, can be options of a command line.

    Raises:
        UserError: one has no default, or the name of a shared option.
    """
    own = fields(options)  # pyright: ignore[reportArgumentType]
    if taken := {"task", "config", *GROUPS} & {field.name for field in own}:
        raise UserError(
            f"task {task!r} declares {', '.join(map(flag, sorted(taken)))}, which all tasks share",
            "rename the option, or set the shared one's default in Task.defaults",
        )
    if missing := [field.name for field in own if field.default is MISSING and field.default_factory is MISSING]:
        raise UserError(f"{options.__name__} has no default for {', '.join(missing)}", "give every option one")
