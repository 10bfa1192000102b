"""How far work on many pictures is, once it takes more than a moment."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

SOON, OFTEN = 2.0, 10.0
"""Seconds until something is shown; and between lines, where no bar can move."""


@contextmanager
def progress(what: str, count: int) -> Generator[Callable[[int], None]]:
    """Give what takes how many of `count` are done, and shows it after two seconds."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    bar = Progress(*columns, console=Console(), transient=True)
    task, shown = bar.add_task(what, total=count), time.monotonic() + SOON

    def done(number: int) -> None:
        nonlocal shown
        bar.update(task, completed=number)
        if time.monotonic() < shown:
            return
        if bar.console.is_terminal:
            bar.start()  # does nothing where it has begun
        else:
            print(f"{what}: {number:,} of {count:,}", flush=True)
            shown = time.monotonic() + OFTEN

    try:
        yield done
    finally:
        if bar.live.is_started:
            bar.stop()
