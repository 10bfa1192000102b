"""`launchbay sweep --trials N`: values that optuna chooses from ranges; what was stopped goes on."""

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launchbay import UserError
from launchbay.launch.commands.trials import Range, Search, read_range

Launchbay = Callable[..., tuple[int, str]]
AXES = {"--lr": Range("1e-4", "1e-1", log=True, whole=False), "--width": Range("4", "64", log=False, whole=True)}
TRIALS = ("sweep", "toys:Single", "--lr", "log:1e-4:1e-1", "--steps", 4, "--eval-every", 2, "--wandb", "off")


@pytest.mark.parametrize(
    ("text", "whole", "expected"),
    [
        ("0:0.1", False, Range("0", "0.1", log=False, whole=False)),
        ("log:1e-4:1e-2", False, Range("1e-4", "1e-2", log=True, whole=False)),
        ("8:64", True, Range("8", "64", log=False, whole=True)),
        ("torchvision:CIFAR10", False, None),
        ("1e-3", False, None),
    ],
)
def test_what_is_a_range(text: str, whole: bool, expected: Range | None) -> None:
    assert read_range("--x", text, whole) == expected


@pytest.mark.parametrize(("text", "whole"), [("2:1", False), ("log:0:1", False), ("log:1", False), ("0:inf", False)])
def test_what_is_no_range(text: str, whole: bool) -> None:
    with pytest.raises(UserError, match=f"--x {text} is no range"):
        read_range("--x", text, whole)


def test_a_range_needs_trials(launchbay: Launchbay) -> None:
    code, said = launchbay("sweep", "toys:Single", "--lr", "log:1e-4:1e-1")
    assert code == 2 and "--lr log:1e-4:1e-1 is a range" in said and "--trials 20" in said
    code, said = launchbay("sweep", "toys:Single", "--lr", "1e-3", "1e-3")
    assert code == 2 and "--lr has 1e-3 more than once" in said
    code, said = launchbay("sweep", "toys:Single", "--lr", "1e-3", "1e-2", "--launcher", "nosuchprogram run")
    assert code == 2 and "there is no program 'nosuchprogram'" in said
    assert not Path("runs").exists()


def run_with(name: str, errors: Sequence[float]) -> Path:
    """The folder of a run whose figure, less is better, was this after each step."""
    folder = Path(name)
    folder.mkdir()
    summary = {"status": "done", "best_by": "error", "lower_is_better": True, "best": {"error": min(errors)}}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [{"step": step, "epoch": 1.0, "split": "val", "error": error} for step, error in enumerate(errors, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_trials_go_on_where_they_were_and_those_that_fall_behind_are_stopped() -> None:
    """Killed with a trial begun, a search begins with that one; what it chooses does not depend on that."""
    folder, chosen = Path("sweep"), list[dict[str, str]]()
    folder.mkdir()
    for number in range(6):
        search = Search(folder, AXES)
        trial, values = search.ask()
        again, same = Search(folder, AXES).ask()  # as after a kill
        assert (again.number, same) == (trial.number, values) == (number, values)
        assert 1e-4 <= float(values["--lr"]) <= 1e-1 and 4 <= int(values["--width"]) <= 64
        chosen.append(values)
        run = run_with(f"run{number}", [1.0, 0.5])
        assert not search.is_hopeless(trial, run)
        search.tell(trial, run)
    assert len({json.dumps(values) for values in chosen}) == 6
    search = Search(folder, AXES)
    assert search.finished == 6
    trial, _ = search.ask()
    assert search.is_hopeless(trial, run_with("bad", [3.0])) and not search.is_hopeless(trial, Path("bad"))
    search.tell(trial, Path("bad"))
    assert Search(folder, AXES).study.trials[-1].state.name == "PRUNED" and Search(folder, AXES).finished == 7
    assert search.study.best_value == -0.5


@pytest.mark.slow
def test_a_sweep_of_trials_that_is_stopped_goes_on(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "faults")
    from test_stop import started  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    argv = [Path(sys.executable).with_name("launchbay"), *TRIALS, "--trials", 3, "--jobs", 2]
    with started(*argv) as process:
        for _ in range(600):
            if list(Path("runs").glob("*/*/metrics.jsonl")):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 75 and "--trials 3 --name single-sweep-1 goes on" in said, said
    code, said = launchbay(*TRIALS, "--trials", 3, "--name", "single-sweep-1")
    runs = [path.parent.name for path in Path("runs").glob("*/*/summary.json")]
    assert code == 0 and sorted(name[:4] for name in runs) == ["000,", "001,", "002,"], said
    assert "the best one, by error, is runs/single-sweep-1/00" in said
    assert "the best run and each best step were chosen by these figures" in said
    code, said = launchbay(*TRIALS, "--trials", 3, "--name", "single-sweep-1")
    assert code == 0 and "0 runs of toys:Single" in said
