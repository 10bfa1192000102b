"""`launchbay sweep`: a run for each combination, which goes on where it was."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from test_stop import started

from launchbay.launch.commands import trainings
from launchbay.launch.commands.sweep import grid
from launchbay.launch.commands.trainings import Planned, Trainings

Launchbay = Callable[..., tuple[int, str]]
SWEEP = ("sweep", "toys:Single", "--lr", "1e-3", "1e-1", "--seed", 0, 1, "--steps", 3, "--wandb", "off")
NAMES = ["lr=1e-1,seed=0", "lr=1e-1,seed=1", "lr=1e-3,seed=0", "lr=1e-3,seed=1"]


@pytest.fixture(autouse=True)
def toys_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.mark.slow
def test_each_combination_is_a_run_and_repeats_are_summed_up(launchbay: Launchbay) -> None:
    code, said = launchbay(*SWEEP, "--jobs", 2)
    folder = Path("runs/single-sweep-1")
    assert code == 0 and "4 runs of toys:Single, 2 at a time" in said, said
    assert sorted(path.parent.name for path in folder.glob("*/summary.json")) == NAMES
    assert "2 seeds of lr=1e-3: mean" in said and said.count("± deviation") == 2
    written = [path.stat().st_mtime_ns for path in sorted(folder.glob("*/metrics.jsonl"))]
    assert launchbay(*SWEEP, "--name", "single-sweep-1")[0] == 0
    assert written == [path.stat().st_mtime_ns for path in sorted(folder.glob("*/metrics.jsonl"))], "they are done"
    code, said = launchbay(*SWEEP[:-2], "--name", "single-sweep-1")
    assert code == 2 and "was begun with toys:Single --lr 1e-3 1e-1" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--lr", "1e-3"), "there is nothing to choose from"),
        (("--run", "a", "b"), "--run is given to each run by the sweep"),
        (("word", "--lr", 1, 2), "what is 'word' for?"),
        (("--seed", *range(101), "--steps", *range(1, 102)), "these are 10,201 runs"),
    ],
)
def test_what_is_no_sweep_is_refused_before_anything_is_trained(
    launchbay: Launchbay, argv: tuple[object, ...], said: str
) -> None:
    code, output = launchbay("sweep", "toys:Single", *argv)
    assert code == 2 and said in output and not Path("runs").exists()


def test_each_path_is_a_run_of_its_own() -> None:
    """Also where their names would be the same: the second would be taken for the first."""
    for paths, names in (
        (["a/imgs", "b/imgs"], ["data=a_imgs", "data=b_imgs"]),
        (["a/imgs", "a_imgs"], ["000,data=a_imgs", "001,data=a_imgs"]),
    ):
        assert [run.name for run in grid("superres", [], {"--data": paths}, Path("runs"))] == names


def test_a_run_that_begins_while_all_are_stopped_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = Trainings(Path(), [sys.executable, "-c", "import time; time.sleep(600)"], Console())

    def stop_meanwhile(run: Path) -> bool:
        all_of_them.stop()
        return False

    monkeypatch.setattr(trainings, "is_done", stop_meanwhile)
    assert all_of_them.train(Planned("late", [])) == -signal.SIGTERM


def test_a_wrong_value_is_found_before_the_first_run(launchbay: Launchbay) -> None:
    with pytest.raises(SystemExit) as ended:
        launchbay(*SWEEP[:3], "1e-3", "x")
    assert ended.value.code == 2 and not Path("runs").exists()


@pytest.mark.slow
def test_one_that_fails_is_named_and_the_others_go_on(launchbay: Launchbay) -> None:
    code, said = launchbay("sweep", "toys:Single", "--lr", 1e-3, 1e30, "--steps", 3, "--wandb", "off")
    assert code == 1 and "lr=1e+30: exit code 2" in said and "1 of 2 runs did not end well" in said
    assert json.loads(Path("runs/single-sweep-1/lr=0.001/summary.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_signal_stops_all_with_checkpoints_and_the_same_command_goes_on() -> None:
    argv = [Path(sys.executable).with_name("launchbay"), *SWEEP[:-4], "--steps", 10**6, "--wandb", "off", "--jobs", 2]
    with started(*argv) as process:
        for _ in range(600):
            if len(list(Path("runs").glob("*/*/metrics.jsonl"))) == 2:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 75 and "--name single-sweep-1 goes on" in said, said
    states = [json.loads(path.read_text())["status"] for path in Path("runs").glob("*/*/summary.json")]
    assert states == ["stopped", "stopped"]
