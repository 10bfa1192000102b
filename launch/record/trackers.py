"""Trackers, as views of metrics.jsonl: which are wanted, and the observer that has a process of its own keep one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import psutil

from launchbay import UserError
from launchbay.launch.config.options import RunOptions
from launchbay.launch.config.plugins import TRACKERS, find_plugin
from launchbay.launch.files import Json, to_json
from launchbay.launch.record.lines import METRICS, Line
from launchbay.launch.record.log import LOGGER, say
from launchbay.launch.record.run_folder import SWEEP
from launchbay.launch.record.tracker_writer import COMPLETE, INCOMPLETE, Work, label
from launchbay.launch.record.tracking import Observer
from launchbay.launch.record.wandb_mode import wanted_mode

WANDB = "wandb"
PATIENCE = 30, 120
"""Seconds without a sign of progress that the end of a run waits for a tracker; for one that is online."""
SECONDS_ONCE_STOPPED = 5
"""The same for a run that a signal has stopped."""


def check_trackers(names: Sequence[str]) -> None:
    """Check that the trackers `names`, of --track, are there.

    Raises:
        UserError: one is not, or cannot be loaded.
    """
    for name in names:
        if name == WANDB:
            raise UserError("--track wandb: a run is kept in W&B anyway", "--wandb offline, online or off says how")
        plugin = find_plugin(TRACKERS, name)
        try:
            plugin.parse_module()
        except UserError as error:
            hint = f"pip install 'launchbay[{name}]'" if plugin.package == "launchbay" else error.hint
            raise UserError(f"--track {name}: {error.message}", hint) from error


def chosen(options: RunOptions, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the trackers that `options` ask for, with the mode of each, and lines on what the `environment` has to do
    with that.

    Raises:
        UserError: one is not there, or WANDB_MODE is none of W&B's modes.
    """
    mode, told = wanted_mode(options.wandb, environment)
    check_trackers(options.track)
    if mode == "off" and options.wandb_artifact:
        told.append("--wandb-artifact is not used: W&B is off")
    return {**({} if mode == "off" else {WANDB: mode}), **dict.fromkeys(options.track, "")}, told


class Tracked(Observer):
    """What a tracker keeps of the run in `folder`, whose record has so many `rows`.

    A process of its own (tracker_writer.py) reads the record and sends what the tracker lacks, so that nothing that the
    tracker does, or fails to do, is waited for while the run trains. It is started with the first line: importing and
    starting W&B takes a second.
    """

    def __init__(
        self, name: str, mode: str, folder: Path, options: Json, *, rows: int, is_stopped: Callable[[], bool] = bool
    ):
        self.name, self.mode, self.folder, self.options, self.rows = name, mode, folder, options, rows
        self.label, self.is_stopped = label(name), is_stopped
        self.process: subprocess.Popen[str] | None = None
        self.listener = Thread(target=self.listen, name=name, daemon=True)
        self.status, self.given_up = "running", False
        self.sent, self.last_words, self.heard = 0, "", time.monotonic()

    def line(self, line: Line) -> None:
        self.rows += 1
        if self.process is None and not self.given_up:
            self.start(is_over=False)

    def summary(self, summary: Json) -> None:
        self.status = summary["status"]

    def close(self) -> None:
        if self.process is not None:
            self.finish(self.process)

    def complete(self) -> bool:
        """Send what the tracker lacks of a run that is over. Return whether it has all, as far as that can be told."""
        self.status = "done"
        self.start(is_over=True)
        self.close()
        return self.process is not None and self.process.returncode == COMPLETE

    def start(self, *, is_over: bool) -> None:
        options, folder = self.options, self.folder.resolve()
        data, task = str(options["data"]), str(options["task"])
        group = folder.parent.name if (folder.parent / SWEEP).exists() else task
        record = str(self.folder / METRICS)
        work = Work(self.name, str(folder), record, task, data, group, options, sys.argv, is_over)
        try:
            self.process = subprocess.Popen(
                # -P: what lies in the current folder, such as W&B's own wandb/, is not imported.
                (sys.executable, "-P", "-m", "launchbay.launch.record.tracker_writer"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the training, which then tells W&B; and no terminal to ask on
            )
        except OSError as error:
            self.given_up = True
            say(f"{self.label} does not start: {error}. {self.record_is_whole()}")
            return
        self.tell(asdict(work))
        self.listener.start()

    def tell(self, message: Json) -> None:
        assert self.process is not None and self.process.stdin is not None
        with suppress(OSError):  # it has ended, which `finish` finds out
            self.process.stdin.write(to_json(message) + "\n")
            self.process.stdin.flush()

    def listen(self) -> None:
        """Take note of how far it is, and pass on what a person has to know."""
        assert self.process is not None and self.process.stdout is not None
        with self.process.stdout as texts:
            for text in texts:
                self.heard = time.monotonic()
                try:
                    message = json.loads(text)
                    self.sent = int(message.get("rows", self.sent))
                    if message["said"]:
                        say(message["said"])
                except (
                    ValueError,
                    TypeError,
                    KeyError,
                    AttributeError,
                ):  # something that it has printed, or a traceback
                    self.last_words = text.strip() or self.last_words
                    LOGGER.info("%s: %s", self.label, text.rstrip())

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait until the tracker has everything, for as long as it makes progress."""
        self.tell({"status": self.status})
        closed = self.heard = time.monotonic()
        waiting_said = False
        try:
            while process.poll() is None:
                now = time.monotonic()
                limit = SECONDS_ONCE_STOPPED if self.is_stopped() else PATIENCE[self.mode == "online"]
                if now - (closed if self.is_stopped() else self.heard) > limit:
                    has = f"it has {self.sent} of {self.rows} rows"
                    say(f"{self.label} does not answer: {has}. {self.record_is_whole()}")
                    return
                if now - closed > SECONDS_ONCE_STOPPED and not waiting_said:
                    waiting_said = True
                    say(f"waiting for {self.label}, which has {self.sent} of {self.rows} rows")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            self.listener.join(SECONDS_ONCE_STOPPED)
            if process.returncode not in (COMPLETE, INCOMPLETE):
                said = f"{self.label} has ended with {process.returncode}: {self.last_words}"
                say(f"{said}; it has {self.sent} of {self.rows} rows. {self.record_is_whole()}")
        finally:
            end(process)
            self.listener.join(SECONDS_ONCE_STOPPED)

    def record_is_whole(self) -> str:
        sync = f"; `wandb sync {self.folder}/wandb/run-*` does, if it had everything but had not sent it"
        said = f"{self.folder / 'metrics.jsonl'} has all. The same command sends what is missing"
        return said + sync * (self.mode == "online")


def end(process: subprocess.Popen[str]) -> None:
    """End `process`, and what it has started, such as W&B's own service, if they have not ended."""
    with suppress(psutil.Error):
        own = psutil.Process(process.pid)
        for each in [*own.children(recursive=True), own]:
            with suppress(psutil.Error):
                each.kill()
    process.wait()
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
