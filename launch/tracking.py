"""What a run leaves behind: metrics.jsonl (the truth), summary.json, sample grids, curves; W&B as a view of them."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

from PIL import Image

from launchbay.launch import curves
from launchbay.launch.checkpoint import to_json, write_text
from launchbay.launch.config import Config
from launchbay.launch.yaml_config import write as to_yaml

Line = dict[str, Any]
"""One line of metrics.jsonl: step, epoch, split, and figures by name."""


class Observer:
    """Is told what happens in a run. Observers live on the main process only, and decide nothing."""

    def step(self, step: int) -> None:
        """A step has been taken."""

    def line(self, line: Line) -> None:
        """There are new figures."""

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        """There are new pictures: the sample grid, under "samples", and those of the task's gallery."""

    def summary(self, summary: Mapping[str, Any]) -> None:
        """The content of summary.json has changed."""

    def close(self) -> None:
        """The run is over, in whatever way its summary says."""


class Record(Observer):
    """The run folder's own files."""

    def __init__(self, folder: Path, config: Config[Any], step: int):
        self.folder, self.baseline_name = folder, "baseline"
        write_text(folder / "config.yaml", to_yaml(config))
        (folder / "samples").mkdir(exist_ok=True)
        # What was recorded after the checkpoint that the run goes on from happens again.
        write_text(folder / "metrics.jsonl", "".join(to_json(line) + "\n" for line in record(folder, step)))
        self.metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")

    def line(self, line: Line) -> None:
        self.metrics.write(to_json(line) + "\n")
        self.metrics.flush()

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        for name, picture in pictures.items():
            suffix = "" if name == "samples" else f"-{name}"
            picture.save(self.folder / "samples" / f"step-{step:08d}{suffix}.png")

    def summary(self, summary: Mapping[str, Any]) -> None:
        self.baseline_name = summary["baseline_name"]
        write_text(self.folder / "summary.json", to_json(summary, indent=2) + "\n")

    def close(self) -> None:
        self.metrics.close()
        with (self.folder / "metrics.jsonl").open(encoding="utf-8") as lines:
            curves.draw(map(json.loads, lines), self.baseline_name, self.folder / "curves.png")


def record(folder: Path, last: float = inf) -> Iterator[Line]:
    """The lines of metrics.jsonl up to step `last`. What a killed process left of a line does not count."""
    file = folder / "metrics.jsonl"
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            return
        if line["step"] <= last:
            yield line


class WandB(Observer):
    """A Weights & Biases run. Whatever goes wrong with it is said once, and training goes on without it."""

    def __init__(self, folder: Path, config: Config[Any]):
        self.run: Any = None
        self.status = "running"
        for mode in dict.fromkeys((config.shared.wandb, "offline")):
            try:
                self.run = start(folder, config, mode)
                break
            except Exception as error:
                print(f"W&B does not start {mode}: {error}", flush=True)

    def line(self, line: Line) -> None:
        values = {f"{line['split']}/{name}": value for name, value in line.items() if name not in ("step", "split")}
        self.attempt(lambda: self.run.log({"step": line["step"], **values}))

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        import wandb

        self.attempt(lambda: self.run.log({"step": step} | {name: wandb.Image(p) for name, p in pictures.items()}))

    def summary(self, summary: Mapping[str, Any]) -> None:
        self.status = summary["status"]

    def close(self) -> None:
        self.attempt(lambda: self.run.finish(exit_code=0 if self.status == "done" else 1))

    def attempt(self, action: Callable[[], Any]) -> None:
        if self.run is None:
            return
        try:
            action()
        except Exception as error:
            print(f"W&B is switched off for the rest of this run: {error}", flush=True)
            self.run = None


def start(folder: Path, config: Config[Any], mode: str) -> Any:
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb
    from wandb.sdk.lib.runid import generate_id

    kept = folder / "wandb_id"  # a run that goes on stays one run
    if not kept.is_file():
        kept.write_text(generate_id())
    run = wandb.init(
        project="launchbay",
        id=kept.read_text(),
        resume="allow",
        name=folder.name,
        dir=folder,
        mode=mode,  # pyright: ignore[reportArgumentType]
        config=config.plain(),
        settings=wandb.Settings(silent=True, console="off", init_timeout=20),
    )
    # The step is data, not W&B's own counter, which starts at 0 again when a run goes on.
    run.define_metric("*", step_metric="step")
    return run
