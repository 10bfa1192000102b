"""The process that brings the W&B run of a run folder to what metrics.jsonl says, and keeps it there as that grows.

It is told by its standard input, as JSON: first what to do, later that the run is over. It prints how many rows W&B has
taken and what a person has to know. W&B may hang, or lose rows: so the process that started it (wandb_run.py) waits
with a limit, and what W&B has written is counted in the end. When that process is gone it ends at once; what W&B lacks
then is sent when the run goes on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

# Nothing that brings in torch: this process then needs little memory, and begins at once.
from launchbay import printable
from launchbay.launch.files import Json, to_json, write_text
from launchbay.launch.record.drawing import SAMPLES, picture_name

IDENTITY, MOST_IDENTITY = r"[A-Za-z0-9_-]{1,64}", 128
"""Of a W&B run, and the most bytes that its file may have."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_COUNT = 300


class Parent:
    """The process that started this one, at the other end of the pipes."""

    def __init__(self):
        self.pipe = FileIO(0, closefd=False)  # not sys.stdin, whose lock a thread that waits would hold to the end
        self.task: Json = json.loads(self.pipe.readline())
        self.is_over = Event()
        self.status = "done" if self.task["is_over"] else "running"
        if self.task["is_over"]:
            self.is_over.set()
        self.rows, self.told = 0, 0.0
        Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        for text in self.pipe:
            self.status = json.loads(text)["status"]
            self.is_over.set()
        os._exit(1)  # it is gone

    def tell(self, said: str = "") -> None:
        """Say how many rows W&B has taken, and what else there is to say."""
        self.told = time.monotonic()
        print(to_json({"rows": self.rows, "said": said}), flush=True)

    def tell_rows(self, rows: int) -> None:
        """Say how many rows W&B has taken, now and then."""
        self.rows = rows
        if time.monotonic() - self.told > 1:
            self.tell()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP, signal.SIGUSR1] if os.name == "posix" else [])):
        signal.signal(number, signal.SIG_IGN)  # they are for the training, which then says that it is over
    parent = Parent()
    folder = Path(parent.task["folder"])
    prepare_environment(parent.task)
    identity = keep_identity(folder, parent)
    on_disk, is_finished = written(folder, identity)
    parent.rows = on_disk
    parent.tell()
    if parent.task["is_over"] and is_finished and on_disk >= count(folder, parent):
        return
    run, sent = start(folder, identity, on_disk, parent)
    if run is None:
        return
    reason = send(run, sent, folder, parent)
    (parent.rows, _), wanted = written(folder, identity), count(folder, parent)
    if reason or parent.rows < wanted:
        reason = reason or first_error(folder, identity) or "the reason is not known"
        said = f"W&B's files have {parent.rows} of {wanted} rows: {reason}. {parent.task['record']} has all. "
        parent.tell(f"{said}Once that is mended, the same command sends what is missing")


def prepare_environment(task: Json) -> None:
    """Leave W&B those of its environment variables that are used."""
    sys.argv = task["argv"]  # what W&B shows as the command
    empty = [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]
    for name in (*empty, *task["unused"], "WANDB_MODE", "WANDB_DISABLED", "WANDB_SERVICE"):
        os.environ.pop(name, None)
    os.environ |= {"WANDB_SILENT": "true", "WANDB_PROGRAM": os.environ.get("WANDB_PROGRAM") or sys.argv[0]}
    if task["mode"] == "offline":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # W&B would report its use over the network, offline too


def keep_identity(folder: Path, parent: Parent) -> str:
    """Return the id of the W&B run, which a run keeps; that of a new one is WANDB_RUN_ID, if that is set."""
    kept, asked = folder / "wandb_id", os.environ.pop("WANDB_RUN_ID", "")
    identity = read_identity(kept, parent)
    if not identity:
        from wandb.sdk.lib.runid import generate_id

        identity = asked if re.fullmatch(IDENTITY, asked) else generate_id()
        write_text(kept, identity)
    if asked and asked != identity:
        parent.tell(f"WANDB_RUN_ID={asked} is not used: the W&B run of this run is {identity}")
    return identity


def read_identity(file: Path, parent: Parent) -> str:
    """Return the id of the W&B run in `file`; empty if there is none, or, aloud, where it is damaged."""
    if not file.exists():
        return ""
    with file.open("rb") as opened:
        identity = opened.read(MOST_IDENTITY).decode(errors="replace").strip()
    if re.fullmatch(IDENTITY, identity):
        return identity
    parent.tell(printable(f"damaged: {file} names no W&B run; W&B gets a new one"))
    return ""


def start(folder: Path, identity: str, on_disk: int, parent: Parent) -> tuple[Any, int]:
    """Return the W&B run of `folder`, begun or gone on with, and how many rows it has; None if W&B does not start."""
    for mode in dict.fromkeys((parent.task["mode"], "offline")):
        try:
            import wandb

            settings = wandb.setup().settings
            run = wandb.init(
                project=settings.project or "launchbay",
                id=identity,
                resume="allow",
                name=settings.run_name or folder.name,
                dir=folder,
                mode=mode,  # pyright: ignore[reportArgumentType]
                config=parent.task["config"],
                settings=wandb.Settings(silent=True, console="off", init_timeout=20, x_stats_pid=os.getppid()),
            )
            # The step is data, not W&B's own counter, which counts rows.
            run.define_metric("*", step_metric="step")
            return run, run.step if mode == "online" else on_disk
        except Exception as error:
            rest = "It is kept offline" if mode == "online" else f"{parent.task['record']} has all"
            parent.tell(f"W&B does not start {mode}: {error}. {rest}")
            stop_service()  # which still takes the run for its own
    return None, 0


def send(run: Any, sent: int, folder: Path, parent: Parent) -> str:
    """Send the rows from number `sent` on until the run is over. Return what has gone wrong; empty if nothing has."""
    try:
        for row, line in enumerate(record(folder, parent.is_over)):
            if row >= sent:
                run.log(to_row(line, folder), step=row, commit=True)
            parent.tell_rows(row + 1)
        parent.tell()
        run.finish(exit_code=0 if parent.status == "done" else 1)
        stop_service()  # it has written everything then
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def stop_service() -> None:
    if "wandb" in sys.modules:  # it may be what could not be imported
        sys.modules["wandb"].teardown()


def record(folder: Path, is_over: Event) -> Iterator[Json]:
    """Yield the lines of metrics.jsonl, and wait for more until the run is over."""
    begun = b""
    with (folder / "metrics.jsonl").open("rb") as file:
        while True:
            last_look = is_over.is_set()
            for text in file:
                begun += text
                if begun.endswith(b"\n"):
                    line, begun = read_line(begun), b""
                    if line is not None:
                        yield line
            if last_look:
                return
            is_over.wait(SECONDS_BETWEEN_LOOKS)


def read_line(text: bytes) -> Json | None:
    """Return the line of the record in `text`; None if it is none, which whoever reads the record leaves out."""
    try:
        line = json.loads(text)
        return line if isinstance(line["step"], int) and isinstance(line["split"], str) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def count(folder: Path, parent: Parent) -> int:
    """Return the number of lines of metrics.jsonl, when the run is over."""
    return sum(1 for _ in record(folder, parent.is_over))


def to_row(line: Json, folder: Path) -> Json:
    import wandb

    row = {f"{line['split']}/{name}": value for name, value in line.items() if name not in ("step", "split")}
    if line["split"] == "val":
        for picture in sorted((folder / "samples").rglob(f"{picture_name(line['step'])}*.png")):
            own = picture.stem.partition("-")[2].partition("-")[2] or SAMPLES
            where = picture.parent.relative_to(folder / "samples")  # "." for the only validation set
            row[(where / own).as_posix()] = wandb.Image(str(picture))
    return {"step": line["step"], **row}


def written(folder: Path, identity: str) -> tuple[int, bool]:
    """Return how many rows of W&B run `identity` its files have, and whether they say that it came to its end, by W&B's
    own reader: a killed process has not written all, a full disk has lost what came after.
    """
    best = 0, False
    for part in folder.glob(f"wandb/*run-*-{identity}"):
        reader = (sys.executable, "-P", "-m", "wandb", "leet", "inspect", str(part), "--summary", "--json")
        done = subprocess.run(reader, capture_output=True, text=True, timeout=SECONDS_TO_COUNT, check=False)
        if done.returncode == 0:  # otherwise there is nothing in it that could be read
            found = json.loads(done.stdout)
            best = max(best, (0 if found["step"] is None else found["step"] + 1, found.get("exit_code") == 0))
    return best


def first_error(folder: Path, identity: str) -> str:
    """Return what W&B's newest log gives as the first error; empty if there is none."""
    for file in sorted(folder.glob(f"wandb/*run-*-{identity}/logs/debug-internal.log"))[-1:]:
        found = re.search(r'"level":"ERROR","msg":"([^"\\]*)', file.read_text(errors="replace"))
        return found[1].rpartition(": ")[2] if found else ""
    return ""


if __name__ == "__main__":
    main()
