"""What a run leaves behind: metrics.jsonl (the truth), summary.json, sample grids, curves; W&B as a view of them."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from PIL import Image

from launchbay.launch.config.option_file import to_yaml
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.files import Json, remove_leftovers, replacing, to_json, write_text, writing
from launchbay.launch.record import curves
from launchbay.launch.record.lines import METRICS, Line, read_record
from launchbay.launch.record.run_folder import SUMMARY, Place
from launchbay.models.reading import Unfit, read_bytes

SAMPLES = "samples"
"""The name of the sample grid among a run's pictures."""
WANDB_ID, MOST_IDENTITY = "wandb_id", 128
"""The file that has the id of the W&B run, and how many characters that may have."""
MOST_WAITING = 100
"""Lines that W&B may be behind."""


class Observer:
    """Is told what happens in a run. Observers live on the main process only, and decide nothing."""

    def step(self, step: int) -> None:
        """Take note that a step has been taken."""

    def line(self, line: Line) -> None:
        """There are new figures."""

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        """There are new pictures: the sample grid, under SAMPLES, and those of the task's gallery; those of several
        validation sets behind their names, "set5/samples".
        """

    def summary(self, summary: Json) -> None:
        """Take note of the new content of summary.json."""

    def close(self) -> None:
        """Take note that the run is over, in whatever way its summary says."""


class Record(Observer):
    """The run folder's own files."""

    def __init__(self, folder: Path, config: AnyConfig, earlier: Iterable[Line]):
        self.folder, self.baseline_name = folder, "baseline"
        with writing(folder):
            write_text(folder / "config.yaml", to_yaml(config))
            (folder / "samples").mkdir(exist_ok=True)
            for place in (folder, folder / "samples", *(folder / "samples").glob("*/")):
                remove_leftovers(place)
            # What was recorded after the checkpoint that the run goes on from happens again.
            with replacing(folder / METRICS) as temporary, temporary.open("w", encoding="utf-8") as metrics:
                metrics.writelines(to_json(line) + "\n" for line in earlier)
            self.metrics = (folder / METRICS).open("a", encoding="utf-8")
            self.place = Place(folder)

    def line(self, line: Line) -> None:
        self.metrics.write(to_json(line) + "\n")
        self.metrics.flush()

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        for name, picture in pictures.items():
            where, _, own = name.rpartition("/")
            folder, suffix = self.folder / "samples" / where, "" if own == SAMPLES else f"-{own}"
            folder.mkdir(exist_ok=True)
            with replacing(folder / f"{picture_name(step)}{suffix}.png") as temporary:
                picture.save(temporary)

    def check_place(self) -> None:
        """Raise an OSError if there is another folder now, or none: what is not this run's is left alone."""
        if gone := self.place.gone():
            raise FileNotFoundError(gone)

    def summary(self, summary: Json) -> None:
        self.baseline_name = summary["baseline_name"]
        self.check_place()
        write_text(self.folder / SUMMARY, to_json(summary, indent=2) + "\n")

    def close(self) -> None:
        self.metrics.close()
        self.check_place()
        curves.draw_curves(read_record(self.folder), self.baseline_name, self.folder / "curves.png")


@cache
def versions() -> dict[str, str]:
    """Return the versions of what decides on a run's figures."""
    names = ("launchbay", "torch", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def picture_name(step: int) -> str:
    return f"step-{step:08d}"


class WandB(Observer):
    """A Weights & Biases run: its row number i is line i of metrics.jsonl, with the pictures of that step.

    A run that goes on from `step` sends what a killed process left unsent, and not again what it had sent. Whatever
    goes wrong with W&B is said once, and training goes on without it. All of it happens in a thread that begins with
    the first line: importing and starting W&B takes a second.
    """

    def __init__(self, folder: Path, config: AnyConfig, earlier: Iterable[Line]):
        self.folder, self.config = folder, config
        self.run: Any = None
        self.status = "running"
        self.earlier = earlier
        self.lines: Queue[Line | None] = Queue(MOST_WAITING)
        self.thread = Thread(target=self.work, name="wandb", daemon=True)

    def line(self, line: Line | None) -> None:
        if self.thread.ident is None:
            self.thread.start()
        self.lines.put(line)

    def summary(self, summary: Json) -> None:
        self.status = summary["status"]

    def close(self) -> None:
        self.line(None)
        self.thread.join()

    def work(self) -> None:
        """Send all lines up to the None after the last one."""
        sent = 0
        for mode in dict.fromkeys((self.config.train.run.wandb, "offline")):
            try:
                self.run, sent = start_wandb(self.folder, self.config, mode)
                break
            except Exception as error:
                print(f"W&B does not start {mode}: {error}", flush=True)
        for row, line in enumerate(chain(self.earlier, iter(self.lines.get, None))):
            if row >= sent:
                self.attempt(lambda run, row=row, line=line: run.log(to_row(line, self.folder), step=row, commit=True))
        self.attempt(lambda run: run.finish(exit_code=0 if self.status == "done" else 1))

    def attempt(self, action: Callable[[Any], object]) -> None:
        if self.run is None:
            return
        try:
            action(self.run)
        except Exception as error:
            print(f"W&B is switched off for the rest of this run: {error}", flush=True)
            self.run = None


def to_row(line: Line, folder: Path) -> Json:
    import wandb

    row = {f"{line['split']}/{name}": value for name, value in line.items() if name not in ("step", "split")}
    if line["split"] == "val":
        for picture in sorted((folder / "samples").rglob(f"{picture_name(line['step'])}*.png")):
            own = picture.stem.partition("-")[2].partition("-")[2] or SAMPLES
            where = picture.parent.relative_to(folder / "samples")  # "." for the only validation set
            row[(where / own).as_posix()] = wandb.Image(str(picture))
    return {"step": line["step"], **row}


def start_wandb(folder: Path, config: AnyConfig, mode: str) -> tuple[Any, int]:
    """Return the W&B run of `folder`, begun or gone on with, and how many rows it has."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb
    from wandb.sdk.lib.runid import generate_id

    identity = kept_identity(folder)
    if identity is None:
        identity = generate_id()
        write_text(folder / WANDB_ID, identity)
    on_disk = rows_on_disk(folder, identity)
    run = wandb.init(
        project="launchbay",
        id=identity,
        resume="allow",
        name=folder.name,
        dir=folder.resolve(),  # its service may have been started in another folder
        mode=mode,  # pyright: ignore[reportArgumentType]
        config=config.plain(),
        settings=wandb.Settings(silent=True, console="off", init_timeout=20),
    )
    # The step is data, not W&B's own counter, which counts rows.
    run.define_metric("*", step_metric="step")
    return run, run.step if mode == "online" else on_disk


def kept_identity(folder: Path) -> str | None:
    """Return the id of the W&B run of `folder`, which one that goes on keeps; None if there is none, or, aloud, where
    it is damaged.
    """
    file = folder / WANDB_ID
    if not file.exists():
        return None
    try:
        identity = read_bytes(file, MOST_IDENTITY).decode().strip()
        if re.fullmatch(r"\w+", identity, re.ASCII):
            return identity
        raise Unfit("names no W&B run")
    except ValueError as error:
        print(f"damaged: {file} {error}; W&B gets a new run", flush=True)
        return None


def rows_on_disk(folder: Path, identity: str) -> int:
    """Return how many rows of W&B run `identity` its files have, by W&B's own reader: a killed process has not written
    all.
    """
    rows = 0
    for part in folder.glob(f"wandb/*run-*-{identity}"):
        reader = (sys.executable, "-m", "wandb", "leet", "inspect", str(part), "--json")
        written = subprocess.run(reader, capture_output=True, text=True, check=True).stdout
        records = (json.loads(text) for text in written.splitlines() if '"history"' in text)
        rows = max([rows, *(1 + int(r["history"]["step"].get("num", 0)) for r in records if r["type"] == "history")])
    return rows
