"""One panel for one failure, and the exit code that says what kind it was."""

import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from launchbay import UserError, printable
from launchbay.launch.others import (
    at,
    is_first_to_fail,
    is_started_again,
    killed,
    process_count,
    process_rank,
    speaks,
    which_process,
)

DONE, BUG, USER_MISTAKE, STOPPED, INTERRUPTED, UNREAD = 0, 1, 2, 75, 130, 141
"""The last two are what shells have for a process that SIGINT or SIGPIPE ended."""
ENDED_BY = 128
"""What shells add to the number of a signal."""
SECONDS_TO_SPEAK = 10
ENDED = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process", "socket closed")
UNREACHABLE = ("timed out", "timeout", "no route to host", "unreachable", "waiting for clients")
"""What torch says, in small letters, where another process has ended, and where it does not answer any more."""
WHY_KILLED = "its own log may say why, or dmesg"
PEER = re.compile(r"\[([0-9a-fA-F.:]+)\]:\d+")
"""How gloo names it."""
HOUSE = str(Path(__file__).parents[1])
"""Where all of launchbay is."""


class Stopped(Exception):
    """The run was ended before its last step, with a checkpoint to go on from: what happened, and how to go on."""


class Signalled(BaseException):
    """A signal, of this `number`, has come where it can be obeyed at once. No `except Exception` holds it."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Elsewhere(Exception):
    """Another process has failed, and says why."""


class Missing(UserError):
    """Something is missing that each machine is told of: other processes, or what they see."""


def tell_all(message: str, hint: str) -> NoReturn:
    """Raise an error that each machine shows once."""
    raise Missing(message, hint) if speaks() else Elsewhere


class Gone(UserError):
    """Another process, or a loader worker, has ended without a word: nobody's mistake, and the run can go on."""


@dataclass(frozen=True)
class Report:
    """The outcome of a failure: the exit code, whether this process has shown it, and whether it has `failed` where it
    did not choose to stop.
    """

    code: int
    shown: bool
    failed: bool = False


def report(error: BaseException, *, debug: bool) -> Report:
    """Show `error`, unless another process of this job does."""
    if isinstance(error, BrokenPipeError) and nobody_reads():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Report(UNREAD, shown=True)
    error = out_of_memory(error) or gone(error, None) or error
    known = {
        Gone: STOPPED,
        UserError: USER_MISTAKE,
        Stopped: STOPPED,
        Signalled: STOPPED,
        KeyboardInterrupt: INTERRUPTED,
    }
    code = next((code for kind, code in known.items() if isinstance(error, kind)), BUG)
    if isinstance(error, Signalled) and error.number == signal.SIGINT:
        code = INTERRUPTED
    if isinstance(error, Stopped | Signalled):  # all have
        shown = process_rank() == 0
    else:
        shown = not isinstance(error, Elsewhere) and (isinstance(error, Missing) or is_first_to_fail())
    if shown:
        if debug:
            traceback.print_exception(error)
        show_error(error)
    return Report(code, shown, failed=isinstance(error, Gone))


def nobody_reads() -> bool:
    """Return whether whoever read what is printed here, such as `head`, has had enough."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


LESS_MEMORY = (
    "lower --batch-size; --accumulate 2 (or 4...) keeps the batch and computes it in parts; more processes share "
    "it; --precision bf16 halves what the layers keep. If a batch of one does not fit, the network is too large"
)
"""What a training can do."""


def out_of_memory(error: BaseException, hint: str = LESS_MEMORY) -> UserError | None:
    """Return what to do about it, the `hint`, if `error` is a lack of memory: torch has a class of its own for that on
    GPUs, but none on CPUs.
    """
    if isinstance(error, UserError):
        return None
    said = str(error)
    if not isinstance(error, MemoryError) and "out of memory" not in said and "can't allocate memory" not in said:
        return None
    mistake = UserError(
        f"out of memory: {said.splitlines()[0] if said else 'Python has no more'}",
        hint,
    )
    mistake.__cause__ = error
    for line in [*places(traceback.extract_tb(error.__traceback__)), *getattr(error, "__notes__", [])]:
        mistake.add_note(line)
    return mistake


def gone(error: BaseException, run: Path | None) -> Gone | None:
    """Return what to say if `error` means that another process, or a loader worker, of the `run` has ended, or cannot
    be reached.
    """
    said = str(error)
    if isinstance(error, Gone) or not isinstance(error, RuntimeError):
        return None
    if said.startswith("DataLoader worker"):
        hint = "mostly memory has run out, or /dev/shm: give fewer --workers, or a smaller --batch-size"
        what = said.partition(" It is possible")[0].strip()
        mistake = Gone(f"a loader worker has ended: {what}", f"{hint}; {to_continue(run)}")
    elif process_count() > 1 and any(part in said.lower() for part in (*ENDED, *UNREACHABLE)):
        mistake = lost(said, run)
    else:
        return None
    mistake.__cause__ = error
    return mistake


def lost(said: str, run: Path | None) -> Gone:
    """Return what to say of another process of the `run`, of which torch has `said` something in its own words."""
    mistake = name_lost(said)
    mistake.hint += f"; {to_continue(run)}"
    return mistake


def name_lost(said: str) -> Gone:
    if neighbours := killed():
        return Gone(f"{neighbours} was killed", WHY_KILLED)
    peer = PEER.search(said)
    who = at(peer[1]) if peer else ""
    if any(part in said.lower() for part in ENDED):
        who = who or "a process on another machine"
        return Gone(f"{who} was killed", WHY_KILLED)
    who = who or (f"process {1 - process_rank()}" if process_count() == 2 else "the other processes")
    return Gone(
        f"no answer from {who}: out of reach, or slower than --timeout", "see whether that machine can be reached"
    )


def to_continue(run: Path | None) -> str:
    """Return how the run in the folder `run`, if training has begun, goes on."""
    if run is None:
        return "the same command starts again"
    newest = newest_step(run)
    where = f"continues from {newest}" if newest else "begins anew: there is no checkpoint yet"
    return f"the same command with --run {run.name} {where}"


def newest_step(run: Path) -> str:
    """Return the name of the newest checkpoint of the run in the folder `run`; empty if there is none."""
    from launchbay.models.checkpoints import list_checkpoints

    saved = list_checkpoints(run / "checkpoints")
    return saved[-1].name if saved else ""


def end(report: Report) -> int:
    """Return the exit code; with several processes end this one here and now.

    A stopped process ends with 0 where torch's launcher would start the run again at once (`--max_restarts`): which is
    right only where another one is gone. That it has stopped is then in summary.json alone.
    """
    if process_count() == 1:
        return report.code
    sys.stdout.flush()
    sys.stderr.flush()
    if report.code and not report.shown:
        # The launcher ends all processes when the first is gone: that has to be the one that is about to speak.
        time.sleep(1 if report.code in (STOPPED, INTERRUPTED) else SECONDS_TO_SPEAK)
    stopped = report.code == STOPPED and not report.failed
    code = DONE if stopped and is_started_again() else report.code
    os._exit(code)  # taking a broken process group down may hang or abort


def show_error(error: BaseException) -> None:
    if isinstance(error, Gone) and is_started_again():
        print(f"{printable(error.message)}: the launcher starts all again", flush=True)
        return
    if isinstance(error, UserError):
        title, lines, hint = "stopped" if isinstance(error, Gone) else "error", [error.message], error.hint
    elif isinstance(error, Stopped):
        said, hint = error.args
        title, lines = "stopped", [said]
    elif isinstance(error, Signalled):
        name = signal.Signals(error.number).name
        title, lines = "stopped", [f"{name}: ended before training began"]
        hint = "nothing is lost: the same command starts again"
    elif isinstance(error, KeyboardInterrupt):
        title, lines, hint = "interrupted", ["stopped by Ctrl-C; checkpoints already saved are intact"], ""
    else:
        title, hint = type(error).__name__, "--debug shows the whole traceback"
        # Those of a loader worker come along as its cause (see data/loader.py).
        frames = getattr(error.__cause__, "frames", None) or traceback.extract_tb(error.__traceback__)
        lines = [str(error) or "no message", *places(frames)]
    panel(title + which_process(), [*lines, *getattr(error, "__notes__", [])], hint, "red")


def panel(title: str, lines: list[str], hint: str, color: str) -> None:
    """Show what is wrong, and below it what to do."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    text = Text(printable("\n".join(lines)))
    if hint:
        text.append(printable(f"\n→ {hint}"), style="bold")
    with suppress(OSError, ValueError):  # nobody reads it, or it is closed
        sys.stdout.flush()  # what was said before is seen before, also where both go to one file
    console = Console(stderr=True)
    console.print(
        Panel(
            text,
            title=Text(printable(title, 200)),
            title_align="left",
            border_style=color,
            width=min(console.width, 110),
        )
    )


def places(frames: traceback.StackSummary) -> list[str]:
    """Return where it happened: the innermost line of a plugin, or else of ours, and the innermost of all."""
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    ours = [frame.filename.startswith(HOUSE) for frame in own]
    called = [frame for place, frame in enumerate(own) if any(ours[:place]) and not ours[place]]
    shown = dict.fromkeys(
        f"at {f.filename}:{f.lineno} in {f.name}: {f.line}" for f in (*(called or own)[-1:], *frames[-1:])
    )
    return list(shown)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to add to a message about an unknown `name`; empty if nothing `known` is like it."""
    near = get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
