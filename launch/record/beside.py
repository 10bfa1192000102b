"""Runs beside each other: what options are their own, and which of them repeat each other."""

from collections.abc import Sequence
from math import isclose

from launchbay.launch.files import Json, to_json
from launchbay.launch.record.reader import RunFolder
from launchbay.launch.record.run_folder import PLACE_OPTIONS

ABSENT = "–"
"""What tables have where there is nothing."""
ROUNDING = 1e-5
"""By which a figure may differ where other pictures were computed at once."""


def common_baseline(rows: Sequence[RunFolder]) -> dict[str, float]:
    """Return those figures of the baseline that are the same for all of `rows` that have them, but for rounding."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.figures().baseline.items():
            found.setdefault(name, []).append(value)
    return {
        name: values[0]
        for name, values in found.items()
        if all(isclose(value, values[0], rel_tol=ROUNDING, abs_tol=ROUNDING) for value in values)
    }


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
