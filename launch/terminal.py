"""What a person sees of a run never ends it, nor holds it up: where nobody reads any more, it is quiet."""

import io
import logging
import os
import select
import sys
from collections.abc import Generator
from contextlib import contextmanager
from errno import EIO, EPIPE
from typing import Any, TextIO

LOGGER = logging.getLogger("launchbay")
PATIENCE = 10
"""Seconds to wait for a reader that is there and does not read. After that, what it does not take is left out."""


class Terminal(io.FileIO):
    """A terminal, a pipe or a file that takes what can be written to it, and forgets the rest."""

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "w", closefd=False)
        self.patience, self.complained = PATIENCE, False

    def write(self, data: Any) -> int:  # any buffer: typeshed has a name for it that does not exist at run time
        view = memoryview(data).cast("B")
        try:
            for start in range(0, len(view), select.PIPE_BUF):  # a pipe that is ready takes so much without a wait
                if not select.select([], [self], [], self.patience)[1]:
                    self.patience = 0
                    raise TimeoutError(f"it has taken nothing for {PATIENCE} s")
                self.write_all(view[start : start + select.PIPE_BUF])
            self.patience = PATIENCE
        except OSError as error:
            self.leave_out(error)
        return len(view)

    def write_all(self, part: memoryview) -> None:
        while part:
            part = part[super().write(part) or 0 :]

    def leave_out(self, error: OSError) -> None:
        if error.errno in (EPIPE, EIO):  # gone for good: also for what other libraries and processes write
            silence(self.fileno())
        if not self.complained:  # not a warning, which without a log would come here again
            LOGGER.info("the terminal, or whatever this run prints to, takes no more (%s); training goes on", error)
        self.complained = True


@contextmanager
def unbreakable() -> Generator[None]:
    """Within it, sys.stdout and sys.stderr are Terminals, if they are the process' own (a notebook has others)."""
    before = sys.stdout, sys.stderr
    if not hasattr(select, "PIPE_BUF"):  # Windows: nothing waits for a pipe, and its code pages lack signs of ours
        for stream in before:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        yield
        return
    for descriptor, own, name in ((1, sys.__stdout__, "stdout"), (2, sys.__stderr__, "stderr")):
        if getattr(sys, name) is own:
            setattr(sys, name, open_terminal(descriptor, own))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def open_terminal(descriptor: int, stream: TextIO | None) -> TextIO:
    """Return `stream` of file `descriptor` as a Terminal; without one, as after `>&-`, nobody is to take its number."""
    if stream is None:
        silence(descriptor)
        return io.TextIOWrapper(io.BufferedWriter(Terminal(descriptor)), encoding="utf-8")
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Terminal(descriptor)),
        stream.encoding,
        stream.errors,
        line_buffering=bool(stream.line_buffering),
        write_through="PYTHONUNBUFFERED" in os.environ,
    )


def silence(descriptor: int) -> None:
    """Have what is written to `descriptor` from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:  # it is, where that was closed and is the lowest that is free
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
