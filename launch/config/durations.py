"""Lengths of time, as options name them."""

from math import nan

LONGEST = 10_000 * 3600
"""Seconds that may be asked for, more than a year: clocks of the system and of libraries end somewhere."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""Seconds of each unit of time."""


def seconds_of(duration: str) -> float:
    """Return the seconds of a `duration` such as "90s", "45m", "11.5h" or "2d".

    Raises:
        ValueError: it is none of these.
    """
    seconds = float(duration[:-1]) * UNITS.get(duration[-1:], nan)
    if not 0.001 <= seconds <= LONGEST:
        raise ValueError(duration)
    return seconds
