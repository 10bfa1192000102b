"""`launchbay runs`: what there is, how it stands, and what differs."""

import csv
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from launchbay.launch.commands.runs import show_runs
from launchbay.launch.config.run_options import find_run
from launchbay.launch.record.lock import lock

STATES = {"slow": "killed", "middle": "stopped", "fast": "done"}
Train = Callable[..., Path]
Launchbay = Callable[..., tuple[int, str]]


@pytest.fixture
def runs(train: Train) -> Path:
    """Three finished runs: that of the largest learning rate learns most."""
    for name, rate in (("slow", 1e-5), ("fast", 1e-2), ("middle", 1e-3)):
        train("Single", "--lr", rate).rename(f"runs/{name}")
    return Path("runs")


def summary(run: Path, **changes: object) -> None:
    """Change what a run has said of itself last."""
    file = run / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_runs_are_listed_with_what_differs(runs: Path, launchbay: Launchbay) -> None:
    code, said = launchbay("runs")
    figures = {run.name: json.loads((run / "summary.json").read_text())["best"]["error"] for run in runs.iterdir()}
    assert code == 0 and "slow: --lr 1e-05" in said and "fast: --lr 0.01" in said
    assert all(f"{name} done 3 {figure:.4f} error" in said for name, figure in figures.items()), said
    assert "--run" not in said and "--wandb" not in said
    config = runs / "fast/config.yaml"
    config.write_text(config.read_text().replace("eval_first: false", "eval_first: true"))
    said = launchbay("runs")[1]
    assert "fast: --lr 0.01 --eval-first" in said and "slow: --lr 1e-05 --no-eval-first" in said, "as they are typed"


def test_the_best_comes_first_also_where_less_is_better(runs: Path, launchbay: Launchbay) -> None:
    _, said = launchbay("runs", "--sort", "error", "--json")
    found = json.loads(said)
    assert [run["best"]["error"] for run in found] == sorted(run["best"]["error"] for run in found)
    assert found[0]["run"] == "fast" and found[0]["options"]["lr"] == 0.01
    for run, mse, ssim in (("slow", 0.2, 0.7), ("middle", 0.1, 0.9), ("fast", 0.3, 0.8)):
        summary(runs / run, best={"step": 3, "error": 1.0, "mse": mse, "ssim": ssim})
    for figure, best in (("mse", ["middle", "slow", "fast"]), ("ssim", ["middle", "fast", "slow"])):
        found = json.loads(launchbay("runs", "--sort", figure, "--json")[1])
        assert [run["run"] for run in found] == best, "though no checkpoint was chosen by it"
    code, said = launchbay("runs", "--sort", "psnr")
    assert code == 2 and "no run has the figure 'psnr'" in said and "they have error" in said


def test_a_table_for_other_programs(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert show_runs(runs, "error", "", "csv", Console())
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [(row["run"], row["--lr"]) for row in rows] == [("fast", "0.01"), ("middle", "0.001"), ("slow", "1e-05")]
    assert float(rows[0]["best/error"]) < float(rows[1]["best/error"]) and rows[0]["status"] == "done"


def test_how_it_stands_with_each(runs: Path, launchbay: Launchbay) -> None:
    """A run whose process is gone without a word is not running; one that writes nothing has stalled."""
    summary(runs / "slow", status="running", step=0)  # as before its first validation
    with (runs / "slow/metrics.jsonl").open("a") as record:
        record.write('{"step": 4, "epoch": 1.0, "sp')  # killed as it wrote
    summary(runs / "middle", status="stopped")
    (runs / "broken").mkdir()
    (runs / "broken/config.yaml").write_text("lr: [")
    code, said = launchbay("runs")
    assert code == 2 and "broken: runs/broken/config.yaml" in said
    assert all(f"{name} toys:Single data of its own {status} 3 " in said for name, status in STATES.items()), said
    long_ago = time.time() - 7200
    with lock(runs / "slow"):
        assert "own running" in launchbay("runs")[1]
        for path in (runs / "slow/metrics.jsonl", runs / "slow/summary.json", runs / "slow"):
            os.utime(path, (long_ago, long_ago))
        assert "own stalled for 2 h" in launchbay("runs")[1]


def test_those_of_a_sweep_are_there_under_its_name(runs: Path, launchbay: Launchbay) -> None:
    (runs / "rates").mkdir()
    (runs / "slow").rename(runs / "rates/lr=1e-5,seed=0")
    (runs / "rates/sweep.txt").touch()
    assert {run["run"] for run in json.loads(launchbay("runs", "--json")[1])} == {
        "rates/lr=1e-5,seed=0",
        "fast",
        "middle",
    }
    assert launchbay("compare", "rates/lr=1e-5,seed=0", "fast")[0] == 1
    assert find_run("rates/lr=1e-5,seed=0") == "runs/rates/lr=1e-5,seed=0"
    assert find_run("rates/other") == "rates/other" and find_run("../runs/fast") == "../runs/fast"


def test_only_those_of_a_task(runs: Path, launchbay: Launchbay) -> None:
    code, said = launchbay("runs", "--task", "superres")
    assert code == 2 and "there is no run of task superres in runs" in said
    assert launchbay("runs", "--task", "toys:Single")[0] == 0


def test_figures_come_first_and_repeats_are_summed_up(train: Train, launchbay: Launchbay) -> None:
    """The mean and the deviation of the same run with other seeds; of another one, what differs."""
    for seed in (0, 1, 2):
        train("Single", "--seed", seed).rename(f"runs/seed{seed}")
    train("Single", "--lr", 0.5).rename("runs/other")
    code, said = launchbay("compare", *(f"seed{seed}" for seed in (0, 1, 2)), "other")
    values = [json.loads(Path(f"runs/seed{seed}/summary.json").read_text())["best"]["error"] for seed in (0, 1, 2)]
    assert code == 0 and all(f"runs/seed{seed} 3 {value:.4f}" in said for seed, value in enumerate(values)), said
    assert f"3 seeds of runs/seed0: mean {np.mean(values):.4f} ± deviation ±{np.std(values, ddof=1):.4f}" in said
    assert "runs/other: --lr 0.5" in said and "seeds of runs/other" not in said
    assert launchbay("compare", "seed0", "other")[0] == 1
    code, said = launchbay("compare", "seed0", "nothing", "other")
    assert code == 2 and "nothing is not a run folder" in said
