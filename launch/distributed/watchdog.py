"""Processes that hold a run up: each one watches itself, and the first that can speaks for all."""

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from math import inf
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from launchbay.launch import errors, others
from launchbay.launch.distributed import collectives

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

LOGGER = logging.getLogger("launchbay")
"""Writes to the log of this process (see launch/record/log.py)."""
WAITING = ("torch/distributed/", "torch/nn/parallel/", "torch/autograd/graph.py", collectives.__file__)
"""Where a process is that waits for others: in a collective, in the wrapper of a network or a backward pass that shares
gradients, or where an answer of the others is read."""
WAIT_ASIDE = {function.__code__ for function in collectives.WAIT_ASIDE}
LOADER = "torch/utils/data/dataloader.py"
MOST_SHOWN = 8
"""Processes whose places a report has."""
TIME_TO_ANSWER = 1.0
"""Seconds, beside those between two looks."""


class Answer(TypedDict):
    """What a process says of itself."""

    waits: bool
    """For other processes."""
    place: list[str]


class Watch(AbstractContextManager["Watch"]):
    """Within it, a process that does not `beat` for `limit` seconds is reported, with its stack: on the terminal once
    for all processes, and in the log of each. That does not end the run: what seems stuck may be slow, and a network
    that was gone may come back. What ends it is the time-out of a group.

    Args:
        limit: seconds.
        logs: the folder of the logs, None while there is none.
        before: what is done until the first step.
        timeout: seconds that a step may wait for other processes, where nothing else ends that.
        leave: ends this process then.
    """

    def __init__(
        self,
        limit: float,
        logs: Path | None,
        rank: int,
        processes: int,
        before: str = "the first step",
        *,
        timeout: float = inf,
        leave: Callable[[], None] = lambda: None,
    ):
        self.timeout, self.leave = timeout, leave
        self.limit, self.logs, self.rank, self.processes = limit, logs, rank, processes
        self.thread, self.over = threading.Thread(target=self.look, daemon=True), threading.Event()
        self.trainer = threading.get_ident()
        self.phase, self.last = before, time.monotonic()
        self.longest = 0.0  # pause between two steps

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def beat(self, phase: str = "") -> None:
        """Take note that something has been done. What follows is a step, or the `phase` of a validation: that of which
        a report says that it takes long. All processes have to be told, also those that wait for one.
        """
        now = time.monotonic()
        if not phase and not self.phase:
            self.longest = max(self.longest, now - self.last)
        self.phase, self.last = f"{phase}, a part of the validation" * bool(phase), now

    def look(self) -> None:
        reported = 0.0  # the beat after which it was
        while not self.over.wait(min(self.limit, self.timeout) / 10):
            last = self.last
            if time.monotonic() - last > self.timeout and self.waits_for_step():
                self.leave()
                return
            if reported and reported != last and self.processes > 1:
                self.take_back()
                reported = 0.0
            if time.monotonic() - last > self.limit and reported != last:
                self.report()
                reported = last
                self.limit *= 2  # if it was only slow, it is not said at every step
        if reported and self.processes > 1:
            self.take_back()

    def waits_for_step(self) -> bool:
        """Return whether the main thread waits for others in a step, not aside of it."""
        frame = sys._current_frames()[self.trainer]
        return waits(traceback.extract_stack(frame)) and not any(
            called.f_code in WAIT_ASIDE for called, _ in traceback.walk_stack(frame)
        )

    def report(self) -> None:
        frames = traceback.extract_stack(sys._current_frames()[self.trainer])
        if self.logs:
            LOGGER.warning("no progress for %g s\n%s", self.limit, "".join(traceback.format_list(frames)))
        place = [*errors.places(frames), *state_of_workers(frames)]
        answers = self.answers({"waits": self.processes > 1 and waits(frames), "place": place})
        if answers:
            where = f" in {self.phase}" * bool(self.phase)
            errors.panel(f"no progress for {self.limit:g} s{where}", self.lines(answers), self.hint(), "yellow")

    def lines(self, answers: dict[int, Answer]) -> list[str]:
        """Return who holds the run up: those that are silent or busy; if all wait, where they do."""
        if self.processes == 1:
            return answers[0]["place"]
        silent = [rank for rank in range(self.processes) if rank not in answers]
        busy = [rank for rank, answer in answers.items() if not answer["waits"]]
        several = len(silent) > 1
        it, does = ("they are", "do") if several else ("it is", "does")
        lines = [f"{others.named(silent)} {does} not answer: {it} frozen, or out of reach"] if silent else []
        shown = busy or ([] if silent else sorted(answers))
        for rank in shown[:MOST_SHOWN]:
            lines += [f"process {rank} {'is' if rank in busy else 'waits'}", *answers[rank]["place"]]
        return lines + [f"and so are {len(shown) - MOST_SHOWN} more"] * (len(shown) > MOST_SHOWN)

    def hint(self) -> str:
        where = f"the whole stack of each process is in {self.logs}; " if self.logs else ""
        return f"{where}Ctrl-C ends the run, --stuck-after {2 * self.limit:g}s reports later"

    def answers(self, mine: Answer) -> dict[int, Answer]:
        """Return what each process that answers says of itself, if this one is to speak for all; otherwise nothing.

        All that are held up say so under one name, and the first of them reads it: what they ask of the store grows
        with their number, not with its square.
        """
        if self.processes == 1:
            return {0: mine}
        try:
            known = others.store()
            self.tell(known, json.dumps(mine))
            if known.compare_set(key("speaker"), "", str(self.rank)) != str(self.rank).encode():
                return {}
            time.sleep(TIME_TO_ANSWER + self.limit / 10)
            said = others.told(known, key("answers"))
            return {rank: json.loads(answer) for rank, answer in said.items() if answer}
        except Exception:  # the process that kept the store is gone
            return {self.rank: mine}

    def tell(self, known: "TCPStore", answer: str) -> None:
        """Tell the others what this process says of itself, or, by an empty `answer`, that it goes on."""
        others.tell(known, key("answers"), self.rank, answer)

    def take_back(self) -> None:
        """Tell the others that this process goes on."""
        with suppress(Exception):  # the process that kept the store is gone
            known = others.store()
            self.tell(known, "")
            known.compare_set(key("speaker"), str(self.rank), "")


def waits(frames: traceback.StackSummary) -> bool:
    """Return whether what is done at `frames` is to wait for other processes."""
    return any(part in frames[-1].filename for part in WAITING)


def key(name: str) -> str:
    return f"launchbay/stuck/{others.attempt()}/{name}"


def state_of_workers(frames: traceback.StackSummary) -> list[str]:
    """Return what to say of loader workers, if it is they that `frames` wait for."""
    if not any(LOADER in frame.filename for frame in frames):
        return []
    import psutil

    states = [f"{child.pid} ({psutil.Process(child.pid).status()})" for child in active_children()]
    return [f"it waits for its loader workers, {', '.join(states)}; --workers 0 shows at which line of the data set"]
