"""Options that only some networks have a use for."""

from collections.abc import Mapping, Sequence
from typing import Any

from launchbay import UserError


def refuse_unused(config: Any, models: Mapping[str, Sequence[str]]) -> None:
    """Whether `config`, a dataclass of options, chooses a model that uses what else was chosen. `models` has those that
    use an option, by its name.

    Raises:
        UserError: an option has another value than its default, and `config.model` does not use it.
    """
    for option, users in models.items():
        value = getattr(config, option)
        if value != getattr(type(config), option) and config.model not in users:
            raise UserError(
                f"--{option} {value} changes nothing in --model {config.model}",
                f"leave it out, or choose --model {' or '.join(users)}",
            )
