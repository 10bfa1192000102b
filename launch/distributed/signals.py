"""Stopping in good order: a signal, or --max-time, ends a run at the next step boundary with a checkpoint; where the
main thread may wait for long, a signal is obeyed at once."""

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from math import inf
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, ClassVar

from launchbay.launch.distributed.listener import Listener
from launchbay.launch.errors import Signalled

if TYPE_CHECKING:
    from accelerate import Accelerator

    from launchbay.launch.distributed.watchdog import Watch

NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
SIGNALS = tuple(signal.Signals[name] for name in NAMES if name in signal.Signals.__members__)
TIME_IS_UP, SAVE_FAILED = 1000, 1001
"""Other reasons to stop: beyond the number of any signal."""


class Stop(AbstractContextManager["Stop"]):
    """Within it, the first signal makes a note, and where it `interrupts` raises Signalled: until training has begun,
    and in what is `interruptible`. A second one ends the process at once.
    """

    current: ClassVar["Stop | None"] = None
    """The one that is entered."""

    def __init__(self, *, guest: bool = False):
        self.guest = guest
        self.end = inf
        self.noted = 0
        self.interrupts, self.raised = True, False
        self.ending = False
        self.folder: Path | None = None
        self.watch: Watch | None = None
        self.answer: Callable[[], float] = float

    def __enter__(self) -> "Stop":
        # Only the main thread may listen; elsewhere (in a notebook's thread) signals keep their usual effect.
        listening = threading.current_thread() is threading.main_thread()
        # nohup has SIGHUP ignored: the terminal may close.
        heard = [s for s in SIGNALS if s.name != "SIGHUP" or signal.getsignal(s) != signal.SIG_IGN]
        self.before = {s: signal.signal(s, self.note) for s in heard} if listening else {}
        self.listener = Listener(self, self.before) if listening and not self.guest else None
        Stop.current = self if listening else None
        return self

    def __exit__(self, *_: object) -> None:
        Stop.current = None
        if self.listener is not None:
            self.listener.close()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def limit(self, seconds: float) -> None:
        """Stop after so many seconds from now."""
        self.end = time.monotonic() + seconds

    def begin(self, folder: Path, watch: "Watch") -> None:
        """Take note that training begins in the run `folder`, whose steps `watch` sees.

        Raises:
            Signalled: there was a signal.
        """
        self.interrupts = False
        self.folder, self.watch = folder, watch
        if self.noted:
            raise Signalled(self.noted)

    def note(self, number: int, _: FrameType | None) -> None:
        if self.guest and self.noted == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.noted = self.noted or number
        if self.interrupts and not self.raised:
            self.raised = True
            raise Signalled(number)

    def asked(self, accelerator: "Accelerator") -> str:
        """Return why to stop now, the same on all processes; empty if nothing asks for it. With several processes it is
        what was so one step ago, since what they say of this one is still on its way.
        """
        code = self.noted or (TIME_IS_UP if time.monotonic() >= self.end else 0)
        if accelerator.num_processes > 1:
            import torch
            from torch.distributed import ReduceOp

            from launchbay.launch.distributed.collectives import all_reduce_async

            mine = torch.full((), code, device=accelerator.device)  # to copy it there would wait for a GPU
            before, self.answer = self.answer, all_reduce_async(mine, ReduceOp.MAX, accelerator)
            code = int(before())
        if not code:
            return ""
        self.ending = True
        return reason(code)


def reason(code: int) -> str:
    """Return why to stop, in words."""
    others = {TIME_IS_UP: "--max-time is over", SAVE_FAILED: "a checkpoint could not be saved"}
    return others.get(code) or signal.Signals(code).name


@contextmanager
def interruptible() -> Generator[None]:
    """Within it a signal is obeyed at once: for what may take long, and keeps nothing that is saved. With several
    processes it has to be within `on_main_process` or `raise_on_all`, which tell the others.

    Raises:
        Signalled: there is one, or was one before.
    """
    stop = Stop.current
    if stop is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before, stop.interrupts = stop.interrupts, True
    try:
        check()
        yield
    finally:
        stop.interrupts = before


def check() -> None:
    """Look, in what is `interruptible`, whether there was a signal that somebody else's code has swallowed.

    Raises:
        Signalled: there was one.
    """
    if Stop.current is not None and Stop.current.noted:
        raise Signalled(Stop.current.noted)


def end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the launcher dies: otherwise this process would train on, unseen. Linux only.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
