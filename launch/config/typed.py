"""A configuration as somebody types it: the options of a command line that give it."""

from collections.abc import Collection, Mapping

from launchbay.launch.config.options import AnyConfig, flag

LENGTHS = ("steps", "epochs")
"""One of them is None: the other was given."""


def words_of(
    config: AnyConfig, default: AnyConfig, instead: Mapping[str, str] = {}, but: Collection[str] = ()
) -> list[str]:
    """Return the words of a command line that make `config` of the `default` of its task.

    Args:
        instead: what to write for the values of some options.
        but: options to leave out.
    """
    words, before = list[str](), default.flat()
    for name, value in config.flat().items():
        if value == before[name] or name in ("task", *but) or (value is None and name in LENGTHS):
            continue
        words += [flag(name), instead[name]] if name in instead else typed(name, value)
    return words


def typed(name: str, value: object) -> list[str]:
    """Return the words of a command line that give the option `name` this value."""
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name).removeprefix('--')}"]
    return [flag(name), *map(str, value if isinstance(value, tuple | list) else (value,))]
