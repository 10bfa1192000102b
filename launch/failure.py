"""One panel for one failure, and the exit code that says what kind it was."""

import os
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from launchbay import UserError

DONE, BUG, USER_MISTAKE, STOPPED, INTERRUPTED = 0, 1, 2, 75, 130
SECONDS_TO_SPEAK = 10


class Stopped(Exception):
    """The run was ended before its last step, with a checkpoint to go on from."""


@dataclass(frozen=True)
class Report:
    """What came of a failure: the exit code, and whether this process has shown it."""

    code: int
    shown: bool


def report(error: BaseException, *, debug: bool) -> Report:
    """Show `error`, unless another process of this job does."""
    known = {UserError: USER_MISTAKE, Stopped: STOPPED, KeyboardInterrupt: INTERRUPTED}
    code = next((code for kind, code in known.items() if isinstance(error, kind)), BUG)
    shown = os.environ.get("RANK", "0") == "0" if code == STOPPED else is_first_to_fail()  # all have stopped
    if shown:
        if debug:
            traceback.print_exception(error)
        show(error)
    return Report(code, shown)


def end(report: Report) -> int:
    """The exit code; with several processes this one ends here and now."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return report.code
    sys.stdout.flush()
    sys.stderr.flush()
    if report.code and not report.shown:
        # The launcher ends all processes when the first is gone: that has to be the one that is about to speak.
        time.sleep(1 if report.code == STOPPED else SECONDS_TO_SPEAK)
    os._exit(report.code)  # taking a broken process group down may hang or abort


def show(error: BaseException) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    where = f" on process {rank} of {world}" if world != "1" else ""
    if isinstance(error, UserError):
        title, lines, hint = "error", [error.message], error.hint
    elif isinstance(error, Stopped):
        title, lines, hint = "stopped", [str(error)], "the same command, with --run, goes on from there"
    elif isinstance(error, KeyboardInterrupt):
        title, lines, hint = "interrupted", ["stopped by Ctrl-C; checkpoints already saved are whole"], ""
    else:
        title, hint = type(error).__name__, "--debug shows the whole traceback"
        lines = [str(error) or "no message", *place(error.__traceback__)]
    lines += getattr(error, "__notes__", [])
    text = Text("\n".join(lines))
    if hint:
        text.append(f"\n→ {hint}", style="bold")
    console = Console(stderr=True)
    console.print(
        Panel(text, title=title + where, title_align="left", border_style="red", width=min(console.width, 110))
    )


def place(trace: TracebackType | None) -> list[str]:
    """Where it happened: the innermost line outside of installed libraries, and the innermost of all."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    shown = dict.fromkeys(f"at {f.filename}:{f.lineno} in {f.name}: {f.line}" for f in (*own[-1:], *frames[-1:]))
    return list(shown)


def is_first_to_fail() -> bool:
    """Whether no other process of this job has shown a failure; usually the others only notice that one is gone."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch = sys.modules.get("torch")
    if world == 1 or torch is None or not torch.distributed.is_initialized():
        return rank == 0  # before processes know each other they all make the same mistake
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(address, port, world, False, timedelta(seconds=5), wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return store.add(f"launchbay/failures/{attempt}", 1) == 1
    except Exception:
        return rank == 0  # the process that kept the store is gone
