"""Stopping in good order: a signal, or --max-time, ends a run at the next step boundary with a checkpoint."""

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator


SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))
TIME_IS_UP, SAVE_FAILED = 1000, 1001
"""Other reasons to stop: beyond the number of any signal."""


class Stop(AbstractContextManager["Stop"]):
    """Within it, a signal only makes a note; Ctrl-C does so once training `has_begun`, and a second one ends the run at
    once.
    """

    def __init__(self):
        self.end = inf
        self.noted = 0
        self.has_begun = False
        self.answer: Callable[[], float] = float

    def __enter__(self) -> "Stop":
        # Only the main thread may listen; elsewhere (in a notebook's thread) signals keep their usual effect.
        listening = threading.current_thread() is threading.main_thread()
        self.before = {s: signal.signal(s, self.note) for s in SIGNALS} if listening else {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def limit(self, seconds: float) -> None:
        """Stop after so many seconds from now."""
        self.end = time.monotonic() + seconds

    def note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and (not self.has_begun or self.noted == number):
            raise KeyboardInterrupt
        self.noted = number

    def asked(self, accelerator: "Accelerator") -> str:
        """Return why to stop now, the same on all processes; empty if nothing asks for it. With several processes it is
        what was so one step ago, since what they say of this one is still on its way.
        """
        code = self.noted or (TIME_IS_UP if time.monotonic() >= self.end else 0)
        if accelerator.num_processes > 1:
            import torch
            from torch.distributed import ReduceOp

            from launchbay.launch.distributed.collectives import all_reduce_async

            mine = torch.tensor(code, device=accelerator.device)
            before, self.answer = self.answer, all_reduce_async(mine, ReduceOp.MAX, accelerator)
            code = int(before())
        if not code:
            return ""
        others = {TIME_IS_UP: "--max-time is over", SAVE_FAILED: "a checkpoint could not be saved"}
        return others.get(code) or signal.Signals(code).name


def end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the launcher dies: otherwise this process would train on, unseen. Linux only.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
