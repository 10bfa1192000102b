"""Options that only some other choices have a use for."""

from collections.abc import Mapping, Sequence
from typing import Any

from launchbay import UserError


def refuse_unused(config: Any, choice: str, uses: Mapping[str, Sequence[str]]) -> None:
    """Whether what `config`, a dataclass of options, has for its option `choice`, such as "model", uses what else was
    chosen. `uses` has the values of `choice` that use an option, by its name.

    Raises:
        UserError: an option has another value than its default, and what was chosen does not use it.
    """
    chosen = getattr(config, choice)
    for option, users in uses.items():
        value = getattr(config, option)
        if value != getattr(type(config), option) and chosen not in users:
            raise UserError(
                f"--{option} {value} changes nothing with --{choice} {chosen}",
                f"leave it out, or choose --{choice} {' or '.join(users)}",
            )
