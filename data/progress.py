"""How far work on many pictures is, once it takes more than a moment."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

SOON, OFTEN = 2.0, 10.0
"""Seconds until something is shown; and between lines, where no bar can move."""


@contextmanager
def progress(what: str, count: int) -> Generator[Callable[[int], None]]:
    """Give what takes how many of `count` are done, and shows it after two seconds."""
    with bar_of(what, count, MofNCompleteColumn()) as (bar, task):
        shown = time.monotonic() + SOON

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

        yield done


@contextmanager
def bytes_bar(what: str) -> Generator[Callable[[int, int], bool]]:
    """Give what takes how many bytes of how many have come (0: that is not known), and shows it where there is a
    terminal. It returns whether there is one.
    """
    with bar_of(what, None, DownloadColumn(), TransferSpeedColumn()) as (bar, task):

        def come(number: int, count: int) -> bool:
            if bar.console.is_terminal:
                bar.start()
            bar.update(task, completed=number, total=count or None)
            return bar.console.is_terminal

        yield come


@contextmanager
def bar_of(what: str, count: int | None, *columns: ProgressColumn) -> Generator[tuple[Progress, TaskID]]:
    """Give a bar that has not begun, and its task; it is gone in the end."""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=Console(), transient=True)
    task = bar.add_task(what, total=count)
    try:
        yield bar, task
    finally:
        if bar.live.is_started:
            bar.stop()
