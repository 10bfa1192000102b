"""Names and numbers of data as a person reads them: nothing that a terminal would obey, nothing longer than a line."""

from collections import Counter
from collections.abc import Sequence

from launchbay import printable

SHOWN = 10
"""Names that a message lists, before it says how many more there are."""
ONE = {
    "links": "link", "no regular files": "no regular file", "names that lead out of it": "name that leads out of it",
}  # fmt: skip
"""What one thing is called of those kinds that have another word for several."""


def plain_name(name: object) -> str:
    """Return a name, or what else is to be in one line, without anything that a terminal would obey."""
    return printable(name).replace("\n", r"\n")


def some_of(names: Sequence[str], most: int = SHOWN) -> str:
    """Return the first of `names`, and an … for the rest."""
    return ", ".join([*names[:most], *["…"] * (len(names) > most)])


def counted(counts: Counter[str], most: int = SHOWN) -> str:
    """Return "3 .heic, 1 .mov", the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = ((ONE.get(kind, kind) if count == 1 else kind, count) for kind, count in ordered)
    return some_of([f"{count:,} {plain_name(kind)}" for kind, count in named], most)


def listed(lines: Sequence[str], most: int = SHOWN) -> str:
    """Return the first of `lines`, one below the other, and how many more there are."""
    rest = len(lines) - most
    return "\n".join([*lines[:most], *([f"… and {rest:,} more"] if rest > 0 else [])])
