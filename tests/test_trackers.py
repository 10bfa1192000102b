"""Trackers, each read back by its own reader; what a plugin brings; and one that fails or hangs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import lines
from PIL import Image

from launchbay.launch.config import plugins
from launchbay.launch.record.tracker_writer import to_row
from launchbay.trackers import Run, Tracker

Train = Callable[..., Path]


@pytest.fixture
def run() -> Path:
    """The folder of a run with three steps and two validations."""
    folder = Path("runs/it").absolute()
    (folder / "samples").mkdir(parents=True)
    figures = {"psnr": 20.0, "baseline/psnr": 15.0}
    record = [{"step": step, "epoch": step / 3, "split": "train", "model/l1": 1 / step} for step in (1, 2, 3)]
    record[1:1] = [{"step": 1, "epoch": 0.3, "split": "val", **figures}]
    record += [{"step": 3, "epoch": 1.0, "split": "val", **figures, "psnr": 21.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in record))
    for step in (1, 3):
        Image.fromarray(np.full((4, 6, 3), step * 50, np.uint8)).save(folder / f"samples/step-{step:08d}.png")
    return folder


def tracked(kind: type[Tracker], folder: Path) -> Tracker:
    """What its process does with a tracker, begun twice: it is stopped before the last row."""
    os.environ.pop("TRACKIO_PROJECT", None)
    of = Run(folder, "superres", "photos", "superres", {"lr": 1e-3, "data": "photos", "weights": []})
    rows = [to_row(number, line, folder) for number, line in enumerate(lines(folder))]
    for count, status in ((4, "stopped"), (5, "done")):
        tracker = kind(of)
        for row in rows[tracker.begin() : count]:
            tracker.write(row)
        tracker.end(status)
    assert tracker.kept() in ((5, True), (5, False))
    return tracker


def test_tensorboard(run: Path) -> None:
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from launchbay.launch.record.to_tensorboard import TensorBoard

    tracked(TensorBoard, run)
    events = accumulator.EventAccumulator(str(run / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    assert [(e.step, e.value) for e in events.Scalars("val/psnr")] == [(1, 20), (3, 21)]
    assert [(e.step, e.value) for e in events.Scalars("val/baseline/psnr")] == [(1, 15), (3, 15)]
    assert [e.step for e in events.Scalars("train/model/l1")] == [1, 2, 3]
    assert [(e.step, e.width, e.height) for e in events.Images("samples")] == [(1, 6, 4), (3, 6, 4)]
    (options,) = events.Tensors("options")
    assert b"| lr | 0.001 |" in options.tensor_proto.string_val[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own
def test_mlflow(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow: Any = pytest.importorskip("mlflow", reason="the extra mlflow is not installed (120 MB)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/mlflow.db")
    from launchbay.launch.record.to_mlflow import MLflow

    tracked(MLflow, run)
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("launchbay").experiment_id])
    assert (found.info.run_name, found.info.status, found.data.tags["task"]) == ("it", "FINISHED", "superres")
    assert found.data.params["lr"] == "0.001" and found.data.metrics["val/psnr"] == 21
    history = client.get_metric_history(found.info.run_id, "train/model/l1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [file.path for file in client.list_artifacts(found.info.run_id, "images")]


@pytest.mark.slow
def test_trackio(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio: Any = pytest.importorskip("trackio", reason="the extra trackio is not installed (135 MB)")
    from trackio import sqlite_storage  # pyright: ignore[reportMissingImports]

    from launchbay.launch.record.to_trackio import Trackio

    tracked(Trackio, run)
    (found,) = trackio.Api().runs("launchbay")
    logs = sqlite_storage.SQLiteStorage.get_logs("launchbay", "it", run_id=found.id)
    assert [log["step"] for log in logs] == [1, 1, 2, 3, 3] and found.config["lr"] == 0.001
    assert [log["val/psnr"] for log in logs if "val/psnr" in log] == [20, 21]
    assert logs[1]["samples"]["caption"] == "step 1: psnr 20 (baseline 15)"


PLUGIN = """
from launchbay.trackers import Row, Tracker

class Pager(Tracker):
    def begin(self):
        self.page = (self.run.folder / "pager.txt").open("w")
        return 0

    def write(self, row):
        if BROKEN and row.number == 1:
            raise RuntimeError("no paper")
        print(row.step, *row.figures, file=self.page)

    def end(self, status):
        print(status, self.run.task, self.run.group, file=self.page)
        self.page.close()
"""


@pytest.fixture
def pager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bool], None]:
    """Install a package that brings a tracker, which may be broken."""

    def install(broken: bool) -> None:
        about = tmp_path / "site/pager-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pager\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[launchbay.trackers]\npager = pager:Pager\n")
        (tmp_path / "site/pager.py").write_text(f"BROKEN = {broken}\n{PLUGIN}")
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))

    return install


def test_a_package_brings_one(pager: Callable[[bool], None], train: Train, launchbay: Any) -> None:
    pager(False)
    page = train("Single", "--track", "pager", "--eval-every", 3) / "pager.txt"
    written = page.read_text()
    assert written.splitlines()[0].startswith("1 train/epoch train/model/grad_norm train/model/mse ")
    assert len(written.splitlines()) == 5 and written.endswith("done toys:Single toys:Single\n")
    page.unlink()
    code, said = launchbay("sync", "it", "--to", "pager")
    assert code == 0 and "pager has all 4 rows of runs/it" in said and page.read_text() == written


def test_one_that_fails_stops_no_training(pager: Callable[[bool], None], train: Train, launchbay: Any) -> None:
    pager(True)
    run = train("Single", "--track", "pager", "--eval-every", 3)
    assert json.loads((run / "summary.json").read_text())["status"] == "done"
    code, said = launchbay("sync", "it", "--to", "pager")
    assert code == 1 and "pager has 1 of 4 rows: no paper. runs/it/metrics.jsonl has all" in said


def test_one_that_is_not_there_is_said_before_anything(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = mistake("--task", "toys:Single", "--track", "tensorbord")
    assert "there is no tracker 'tensorbord'; did you mean 'tensorboard'" in said
    assert "a run is kept in W&B anyway" in mistake("--task", "toys:Single", "--track", "wandb")
    real = plugins.find_spec
    monkeypatch.setattr(plugins, "find_spec", lambda name, path: None if name == "tensorboard" else real(name, path))
    said = mistake("--task", "toys:Single", "--track", "tensorboard")
    assert "it imports tensorboard" in said and "pip install 'launchbay[tensorboard]'" in said
    assert not Path("runs").exists()
