"""The runs that a sweep trains: each a process of its own, some at a time, which are watched and can all be stopped."""

import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from launchbay.launch import errors
from launchbay.launch.commands.runs import shown
from launchbay.launch.record.reader import read_run_folder
from launchbay.launch.record.run_folder import is_done

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Planned:
    """A run of a sweep: its name, from the values that are its own, and the command that trains it."""

    name: str
    argv: list[str]


class Trainings(AbstractContextManager["Trainings"]):
    """The runs that are trained at the moment. Within it SIGTERM, and a terminal that is closed, are as Ctrl-C."""

    def __init__(self, folder: Path, begin: Sequence[str], console: Console):
        self.folder, self.begin, self.console = folder, begin, console
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def __enter__(self) -> "Trainings":
        numbers = [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
        self.before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def train(self, run: Planned, is_hopeless: Callable[[], bool] = bool) -> int:
        """Train `run`, unless it is done, and stop it where it `is_hopeless`. Return its exit code."""
        if self.stopped or is_done(self.folder / run.name):
            return errors.DONE
        with (self.folder / f"{run.name}.log").open("w") as output:
            process = subprocess.Popen([*self.begin, *run.argv], stdout=output, stderr=subprocess.STDOUT)
            self.running.add(process)
            pruned = False
            if self.stopped:  # meanwhile, by the main thread, which did not see it yet
                process.terminate()
            while (code := wait(process, SECONDS_BETWEEN_LOOKS)) is None:
                if not pruned and not self.stopped and is_hopeless():
                    pruned = True
                    process.terminate()
            self.running.discard(process)
        if pruned and code == errors.STOPPED:
            self.console.print(f"{run.name}: stopped early, others are better", highlight=False, markup=False)
            return errors.DONE
        if not self.stopped:
            self.console.print(line_on(self.folder, run.name, code), highlight=False, markup=False)
        return code

    def stop(self) -> None:
        """Have all save and end, and wait for them."""
        self.stopped = True
        for process in list(self.running):
            process.terminate()


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of `process`; None if it does not end in so many `seconds`."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def line_on(folder: Path, name: str, code: int) -> str:
    """Return how a run ended, and its best figure beside the baseline's."""
    row = read_run_folder(folder / name) if (folder / name).is_dir() else None
    if code or row is None or row.summary is None:
        return f"{name}: exit code {code}, see {folder / name}.log"
    figure, baseline = row.reported, row.summary.baseline.get(row.reported)
    beside = f" ({shown(baseline)})" * (baseline is not None)
    return f"{name}: {figure} {shown(row.best())}{beside}" if figure else f"{name}: done"
