"""What a run that fails says: which process, which samples, which line, what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Command

from launchbay.launch.distributed.watchdog import Watch
from launchbay.launch.train import main

Mistake = Callable[..., str]


def test_which_samples_spoil_a_loss(mistake: Mistake) -> None:
    said = mistake("--task", "wrong_toys:SpoiledData", "--batch-size", 10)
    assert "the loss of 'model' is not finite at step 1: mse = nan" in said
    assert "1 of 10 samples of the batch give such a loss: picture 7" in said


def test_spoiled_weights_are_not_blamed_on_samples(mistake: Mistake) -> None:
    assert "each sample of the batch gives such a loss by itself" in mistake(
        "--task", "toys:Single", "--lr", "1e30", "--steps", 9
    )


def test_out_of_memory_says_what_to_lower(mistake: Mistake) -> None:
    said = mistake("--task", "wrong_toys:Greedy")
    assert "out of memory" in said and "lower --batch-size; --accumulate 2" in said and "torch.empty(1 << 50)" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("evaluate", "runs/it"), "→ lower --batch-size, which changes no figure"),
        (("apply", "runs/it", "in.png", "out.png"), "→ give a smaller --tile; or take a machine with more memory"),
        (("export", "runs/it"), "→ close what else runs here"),
    ],
)
def test_out_of_memory_says_what_that_command_can_do(
    launchbay: Callable[..., tuple[int, str]], argv: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> None:
        torch.empty(1 << 50)

    for name in ("apply.apply_run", "evaluate.evaluate_run", "export.export_run"):
        monkeypatch.setattr(f"launchbay.launch.commands.{name}", greedy)
    code, shown = launchbay(*argv)
    assert code == 2 and "out of memory" in shown and said in shown


def test_evaluate_gives_the_same_figures_in_smaller_batches(
    train: Callable[..., Path], launchbay: Callable[..., tuple[int, str]]
) -> None:
    train("Single", "--steps", 1)
    outputs = [
        launchbay("evaluate", "runs/it", "--task", "toys:Single", *options) for options in ((), ("--batch-size", 1))
    ]
    assert outputs[0] == outputs[1] and outputs[0][0] == 0
    code, said = launchbay("evaluate", "runs/it", "--batch-size", 0)
    assert code == 2 and "argument --batch-size: '0' is no number from 1 on" in said


STUCK = ("--task", "wrong_toys:StuckThenFails", "--stuck-after", "1s", "--run", "it", "--wandb", "off")


def test_a_process_that_gets_nowhere_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(list(STUCK)) == 1
    said = capfd.readouterr().err
    assert "no progress for 1 s" in said and "time.sleep(5)" in said and said.count("╭") == 2
    assert "time.sleep(5)" in Path("runs/it/logs/process-0.log").read_text()


def test_so_is_one_that_builds_its_networks_for_long(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("--task", "wrong_toys:SlowToBuild", "--steps", "1", "--stuck-after", "1s", "--wandb", "off")
    assert main(list(arguments)) == 0
    said = capfd.readouterr().err
    assert "no progress for 1 s in building the networks" in said and "time.sleep(3)" in said
    assert "validation" not in said and "Traceback" not in said and "logs" not in said and said.count("╭") == 1


def test_a_part_of_a_validation_that_takes_long_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts of a validation are told to the watch, and its report says which one it is."""
    phases: list[str] = []
    told = Watch.beat

    def beat(watch: Watch, phase: str = "") -> None:
        phases.append(phase)
        told(watch, phase)

    monkeypatch.setattr(Watch, "beat", beat)
    assert main(["--task", "toys:Single", "--steps", "1", "--wandb", "off"]) == 0
    drawn = ["preview", "gallery"]  # before the first step too
    assert [phase for phase in phases if phase] == [*drawn, "evaluate", "evaluate", "summarize", *drawn]
    with Watch(0.1, Path("logs"), 0, 1) as watch:
        watch.beat("gallery")
        watch.over.wait(0.5)
    assert "no progress for 0.1 s in gallery, a part of the validation" in capfd.readouterr().err


@pytest.mark.slow
def test_the_process_that_others_wait_for_is_named_and_so_is_its_error(accelerate: Command) -> None:
    done = accelerate("multi_cpu", ROOT / "launch/run.py", *STUCK)
    assert done.returncode == 1 and done.stderr.count("╭") == 2, done.stderr
    assert "no progress for 1 s" in done.stderr and "process 1 is" in done.stderr and "process 0" not in done.stderr
    assert "ZeroDivisionError on process 1 of 2" in done.stderr
    assert "runs/it/logs/process-1.log" in done.stderr and "raise ZeroDivisionError" in done.stderr
    assert "no progress for 1 s" in Path("runs/it/logs/process-0.log").read_text()
    log = Path("runs/it/logs/process-1.log").read_text()
    assert "wrong_toys:StuckThenFails from step 0 of 3, process 1 (pid " in log
    assert "no progress for 1 s" in log and "Traceback" in log and "ZeroDivisionError: a bug" in log
