"""W&B as a view of metrics.jsonl: whether it is wanted, and the observer that has a process of its own keep it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil

from launchbay import UserError
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json, to_json
from launchbay.launch.record.log import LOGGER, say
from launchbay.launch.record.tracking import Line, Observer

MODES = {"offline": "offline", "dryrun": "offline", "online": "online", "run": "online", "disabled": "off"}
"""What WANDB_MODE may be, and what we call that."""
YES = ("1", "true", "on", "yes")
UNUSED = {
    "WANDB_DIR": "W&B's files are in the run folder",
    "WANDB_RESUME": "the run folder says which W&B run goes on",
    "WANDB_RESUME_FROM": "the run folder says which W&B run goes on",
    "WANDB_FORK_FROM": "the run folder says which W&B run goes on",
    "WANDB_CONSOLE": "what is printed is not sent to W&B",
    "WANDB_SILENT": "W&B prints nothing",
}
"""W&B's environment variables that are not used, and why. All others are W&B's business."""
AS_IT_IS = {"WANDB_RESUME": "allow", "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}
"""Values of some that say what is done anyway."""
PATIENCE = {"offline": 30, "online": 120}
"""Seconds without a sign of progress that the end of a run waits for W&B."""
SECONDS_ONCE_STOPPED = 5
"""The same for a run that a signal has stopped."""


def wanted_mode(option: str | None, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return whether W&B is "offline", "online" or "off", and lines on what the `environment` has to do with it. The
    `option` --wandb comes first, then WANDB_DISABLED and WANDB_MODE.

    Raises:
        UserError: WANDB_MODE is none of W&B's modes.
    """
    name, value = "WANDB_MODE", environment.get("WANDB_MODE", "")
    mode = MODES.get(value or "offline")
    if environment.get("WANDB_DISABLED", "").lower() in YES:
        name, value, mode = "WANDB_DISABLED", environment["WANDB_DISABLED"], "off"
    if mode is None and option is None:
        raise UserError(
            f"WANDB_MODE={value} is not one of {', '.join(MODES)}{did_you_mean(value, MODES)}",
            "set it to one of these, or say what is wanted with --wandb offline, online or off",
        )
    chosen = option or mode or "offline"
    asked = [n for n in UNUSED if environment.get(n, "").lower() not in ("", AS_IT_IS.get(n))]
    told = [] if chosen == "off" else [f"{n}={environment[n]} is not used: {UNUSED[n]}" for n in asked]
    if option and value and mode != option:
        told.append(f"{name}={value} is not used: --wandb {option}")
    elif not option and chosen != "offline":
        told.append(f"W&B is {chosen}: {name}={value}")
    return chosen, told


class WandB(Observer):
    """A Weights & Biases run: its row number i is line i of metrics.jsonl, with the pictures of that step.

    A process of its own reads the record and sends what W&B lacks, so that nothing that W&B does, or fails to do, is
    waited for while the run trains. It is started with the first line: importing and starting W&B takes a second.
    """

    def __init__(self, folder: Path, config: AnyConfig, mode: str, rows: int, is_stopped: Callable[[], bool] = bool):
        self.folder, self.config, self.mode, self.rows, self.is_stopped = folder, config, mode, rows, is_stopped
        self.process: subprocess.Popen[str] | None = None
        self.listener = Thread(target=self.listen, name="wandb", daemon=True)
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

    def complete(self) -> None:
        """Send what W&B lacks of a run that is over."""
        self.status = "done"
        self.start(is_over=True)
        self.close()

    def start(self, *, is_over: bool) -> None:
        folder, record = str(self.folder.resolve()), str(self.folder / "metrics.jsonl")
        task = {"folder": folder, "record": record, "mode": self.mode, "config": self.config.plain(), "argv": sys.argv}
        task["unused"] = list(UNUSED)
        try:
            self.process = subprocess.Popen(
                # -P: what lies in the current folder, such as W&B's own wandb/, is not imported.
                (sys.executable, "-P", "-m", "launchbay.launch.record.wandb_writer"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the training, which then tells W&B; and no terminal to ask on
            )
        except OSError as error:
            self.given_up = True
            say(f"W&B does not start: {error}. {self.record_is_whole()}")
            return
        self.tell({**task, "is_over": is_over})
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
                    self.sent = int(message["rows"])
                    if message["said"]:
                        say(message["said"])
                except (ValueError, TypeError, KeyError):  # something that W&B has printed, or a traceback
                    self.last_words = text.strip() or self.last_words
                    LOGGER.info("W&B: %s", text.rstrip())

    def finish(self, process: subprocess.Popen[str]) -> None:
        """Wait until W&B has everything, for as long as it makes progress."""
        self.tell({"status": self.status})
        closed = self.heard = time.monotonic()
        waiting_said = False
        try:
            while process.poll() is None:
                now = time.monotonic()
                limit = SECONDS_ONCE_STOPPED if self.is_stopped() else PATIENCE[self.mode]
                if now - (closed if self.is_stopped() else self.heard) > limit:
                    say(f"W&B does not answer: it has {self.sent} of {self.rows} rows. {self.record_is_whole()}")
                    return
                if now - closed > SECONDS_ONCE_STOPPED and not waiting_said:
                    waiting_said = True
                    say(f"waiting for W&B, which has {self.sent} of {self.rows} rows")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            self.listener.join(SECONDS_ONCE_STOPPED)
            if process.returncode:
                said = f"W&B has ended with {process.returncode}: {self.last_words}"
                say(f"{said}; it has {self.sent} of {self.rows} rows. {self.record_is_whole()}")
        finally:
            end(process)
            self.listener.join(SECONDS_ONCE_STOPPED)

    def record_is_whole(self) -> str:
        sync = f"; `wandb sync {self.folder}/wandb/run-*` does, if it had everything but had not sent it"
        said = f"{self.folder / 'metrics.jsonl'} has all. The same command sends what is missing"
        return said + sync * (self.mode == "online")


def end(process: subprocess.Popen[str]) -> None:
    """End `process` and W&B's own service, which it has started, if they have not ended."""
    with suppress(psutil.Error):
        own = psutil.Process(process.pid)
        for each in [*own.children(recursive=True), own]:
            with suppress(psutil.Error):
                each.kill()
    process.wait()
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
