"""W&B: row number i of its run is line i of metrics.jsonl, with the pictures of that step."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from launchbay import printable
from launchbay.launch.files import write_text
from launchbay.launch.record.wandb_mode import UNUSED, wanted_mode
from launchbay.trackers import Row, Run, Tracker

IDENTITY, MOST_IDENTITY = r"[A-Za-z0-9_-]{1,64}", 128
"""Of a W&B run, and the most bytes that its file may have."""
SECONDS_TO_COUNT = 300
SECONDS_TO_START = 20
SECONDS_TO_ARRIVE = 10
"""That W&B's service is given to show all rows that it has been sent."""
PATH = "wandb/path"
"""The file that says where in W&B's service the run is."""
LOGGED = "wandb/artifact"
"""The file in a run folder that names the checkpoint that has been logged as an artifact."""
VALIDATION = '"split": "val"'
"""In the lines of metrics.jsonl that have baselines."""
NEVER_USED = (*UNUSED, "WANDB_MODE", "WANDB_DISABLED", "WANDB_SERVICE")
"""Environment variables that W&B is not to see: what they say has been decided."""


class WandB(Tracker):
    """A Weights & Biases run. Its files are in the run folder, also where it is online."""

    def __init__(self, run: Run):
        super().__init__(run)
        self.mode, _ = wanted_mode(run.options.get("wandb"), os.environ)
        for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
            del os.environ[name]
        for name in NEVER_USED:
            os.environ.pop(name, None)
        os.environ |= {"WANDB_SILENT": "true", "WANDB_PROGRAM": os.environ.get("WANDB_PROGRAM") or sys.argv[0]}
        if self.mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # W&B would report its use over the network, offline too
        self.identity = self.keep_identity()
        self.wandb: Any = None
        self.last = Row(-1, 0, {}, {}, "")  # of those that have been written
        self.there = 0  # rows that W&B's service had before
        self.short = False  # whether it has fewer than W&B's files
        self.has_ended = False

    def keep_identity(self) -> str:
        """Return the id of the W&B run, which a run keeps; that of a new one is WANDB_RUN_ID, if that is set."""
        kept, asked = self.run.folder / "wandb_id", os.environ.pop("WANDB_RUN_ID", "")
        identity = self.read_identity(kept)
        if not identity:
            from wandb.sdk.lib.runid import generate_id

            identity = asked if re.fullmatch(IDENTITY, asked) else generate_id()
            write_text(kept, identity)
        if asked and asked != identity:
            self.say(f"WANDB_RUN_ID={asked} is not used: the W&B run of this run is {identity}")
        return identity

    def read_identity(self, file: Path) -> str:
        """Return the id of the W&B run in `file`; empty if there is none, or, aloud, where it is damaged."""
        if not file.exists():
            return ""
        with file.open("rb") as opened:
            identity = opened.read(MOST_IDENTITY).decode(errors="replace").strip()
        if re.fullmatch(IDENTITY, identity):
            return identity
        self.say(printable(f"damaged: {file} names no W&B run; W&B gets a new one"))
        return ""

    def begin(self) -> int:
        on_disk, _ = self.kept()
        if self.mode == "online":
            try:
                self.wandb = self.start("online")
                self.there = self.wandb.step
                return self.there
            except Exception as error:
                self.say(f"W&B does not start online: {error}. It is kept offline")
                stop_service()  # which still takes the run for its own
        self.wandb = self.start("offline")
        return on_disk

    def start(self, mode: str) -> Any:
        import wandb

        os.environ["WANDB_RUN_ID"] = self.identity  # in a sweep that counts, and not `id`
        settings, run = wandb.setup().settings, self.run
        started = wandb.init(
            project=settings.project or "launchbay",
            id=self.identity,
            resume="allow",
            name=settings.run_name or run.folder.name,
            group=settings.run_group or run.group,
            tags=settings.run_tags or [*dict.fromkeys((run.task, run.data, run.group))],
            dir=run.folder,
            mode=mode,  # pyright: ignore[reportArgumentType]
            config=dict(run.options),
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=SECONDS_TO_START, x_stats_pid=os.getppid()
            ),
        )
        # The step is data, not W&B's own counter, which counts rows.
        started.define_metric("*", step_metric="step")
        return started

    def write(self, row: Row) -> None:
        import wandb

        pictures = {name: wandb.Image(str(file), caption=row.caption) for name, file in row.pictures.items()}
        # It goes out with the next one, or with the end, which adds to the last one.
        self.wandb.log({"step": row.step, **row.figures, **pictures}, step=row.number)
        self.last = row
        if pictures:
            self.summarize()

    def summarize(self) -> None:
        """Have the summary say how good the best checkpoint is, by what it was chosen, and how good the baseline is."""
        said = self.run.summary()
        found = {f"{of}/{name}": value for of in ("best", "baseline") for name, value in said.get(of, {}).items()}
        if chosen_by := said.get("best_by"):
            found["best/chosen_by"] = chosen_by
        self.wandb.summary.update(found)

    def end(self, status: str) -> None:
        try:
            if self.last.number >= 0:
                self.summarize()
                self.draw_baseline()
            if status == "done" and (checkpoint := self.owed_model()):
                self.log_model(checkpoint)
        except Exception as error:  # what comes on top of the rows, which are not to be lost with it
            self.say(f"W&B does not take a chart or the model: {error}")
        path = "" if self.wandb.offline else self.wandb.path
        self.wandb.finish(exit_code=0 if status == "done" else 1)
        stop_service()  # it has written everything then
        self.has_ended = True
        if path:
            write_text(self.run.folder / PATH, path)

    def draw_baseline(self) -> None:
        """Add a chart to the last row: the figure that chooses the best checkpoint, and its baseline as a constant line
        beside it, which W&B's own charts, one for each figure, have not.
        """
        import wandb

        name = self.run.summary().get("best_by", "")
        found, baseline = list[tuple[int, float]](), None
        with (self.run.folder / "metrics.jsonl").open(encoding="utf-8", errors="replace") as lines:
            for text in lines:
                line = json.loads(text) if VALIDATION in text and text.endswith("}\n") else {}
                if isinstance(line.get(name), int | float):
                    found.append((line["step"], line[name]))
                    baseline = line.get(f"baseline/{name}", baseline)
        if found and baseline is not None:
            steps, values = map(list, zip(*found, strict=True))
            both = [values, [baseline] * len(values)]
            chart = wandb.plot.line_series(
                steps, both, [name, str(self.run.summary().get("baseline_name"))], name, "step"
            )
            self.wandb.log({f"{name} and its baseline": chart}, step=self.last.number)

    def owed_model(self) -> Path | None:
        """Return the checkpoint that is asked for as an artifact, and has not been logged."""
        best, logged = self.run.best_checkpoint(), self.run.folder / LOGGED
        if not self.run.options.get("wandb_artifact") or best is None:
            return None
        return None if logged.exists() and logged.read_text(encoding="utf-8") == best.name else best

    def log_model(self, checkpoint: Path) -> None:
        """Log the best `checkpoint` and config.yaml as an artifact, from where they are."""
        import wandb

        best = self.run.summary().get("best", {})
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", self.run.folder.name), "model", metadata=best)
        artifact.add_dir(str(checkpoint), skip_cache=True, policy="immutable")
        artifact.add_file(str(self.run.folder / "config.yaml"), skip_cache=True, policy="immutable")
        self.wandb.log_artifact(artifact, aliases=["best", checkpoint.name])
        write_text(self.run.folder / LOGGED, checkpoint.name)

    def kept(self) -> tuple[int, bool]:
        """Count the rows in W&B's files, by its own reader: a killed process has not written all, a full disk has lost
        what came after. Those that its service had before are not in them. A service that has been told all is asked.
        """
        best = self.there, False
        for part in self.run.folder.glob(f"wandb/*run-*-{self.identity}"):
            reader = (sys.executable, "-P", "-m", "wandb", "leet", "inspect", str(part), "--summary", "--json")
            done = subprocess.run(reader, capture_output=True, text=True, timeout=SECONDS_TO_COUNT, check=False)
            if done.returncode == 0:  # otherwise there is nothing in it that could be read
                found = json.loads(done.stdout)
                best = max(best, (0 if found["step"] is None else found["step"] + 1, found.get("exit_code") == 0))
        path = self.run.folder / PATH
        if self.mode == "offline" or (self.wandb is not None and self.wandb.offline):
            return best[0], best[1] and not self.owed_model()
        if not path.exists():
            return best[0], False
        rows = self.on_service(path.read_text(encoding="utf-8"), best[0])
        return rows, best[1] and rows == best[0] and not self.owed_model()

    def on_service(self, path: str, rows: int) -> int:
        """Return how many of `rows` W&B's service has, which may take them in a little later; if it says so."""
        import wandb

        end = time.monotonic() + SECONDS_TO_ARRIVE * self.has_ended
        with suppress(Exception):
            while True:
                found = min(rows, wandb.Api(timeout=SECONDS_TO_START).run(path).lastHistoryStep + 1)
                if found == rows or time.monotonic() > end:
                    self.short = found < rows
                    return found
                time.sleep(1)
        return rows

    def trouble(self) -> str:
        """Return what W&B's newest log gives as the first error."""
        if self.short:
            return "its service has taken no more so far"
        for file in sorted(self.run.folder.glob(f"wandb/*run-*-{self.identity}/logs/debug-internal.log"))[-1:]:
            found = re.search(r'"level":"ERROR","msg":"([^"\\]*)', file.read_text(errors="replace"))
            if found:
                return found[1].rpartition(": ")[2]
        return super().trouble()


def stop_service() -> None:
    if "wandb" in sys.modules:  # it may be what could not be imported
        sys.modules["wandb"].teardown()
