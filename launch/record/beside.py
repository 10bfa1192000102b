"""Runs beside each other: what options are their own, and which of them repeat each other."""

from collections.abc import Sequence

from launchbay.launch.files import Json, to_json
from launchbay.launch.record.reader import RunFolder
from launchbay.launch.record.run_folder import PLACE_OPTIONS


def differing_options(rows: Sequence[RunFolder]) -> list[str]:
    """Return the names of the options that are not the same in all of `rows`."""
    names = dict.fromkeys(name for row in rows for name in row.own_options)
    return [name for name in names if any(row.options.get(name) != rows[0].options.get(name) for row in rows)]


def repeated(rows: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Return the groups of runs that have the same options but for their seed."""
    groups: dict[str, dict[object, RunFolder]] = {}
    for row in rows:
        groups.setdefault(to_json(but_seed(row.options)), {})[row.options.get("seed")] = row
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def but_seed(options: Json) -> Json:
    kept = (name for name in sorted(options) if name == "task" or name not in ("seed", *PLACE_OPTIONS))
    return {name: options[name] for name in kept}
