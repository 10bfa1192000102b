"""A run that is interrupted and goes on ends as if nothing had happened: the same bits, the same record."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command, difference, forget_accelerator, lines
from rich.console import Console

from launchbay.launch.commands.compare import compare
from launchbay.launch.train import main

SMALL = ("--batch-size", 4, "--log-every", 1, "--eval-every", 4, "--wandb", "off")
PICTURES = ("--data", "toys:Patches")
DIGITS = ("--data", "toys:Digits")
TASKS = {
    "classify": (*DIGITS, "--rotate", 20, "--cutout", 4),
    "denoise": (*PICTURES, "--model", "conv4", "--width", 4, "--patch", 16),
    "reconstruct": (*PICTURES, "--patch", 16),
    "superres": ("--width", 4, "--blocks", 1),
    "vae": (*DIGITS, "--width", 4, "--classes", 10),
    "dcgan": (*DIGITS, "--spectral-norm"),
    "unmix": ("--data", "toys:Digits+toys:Patches", "--decoder", "transposed"),
}
"""Each built-in task, as small as it gets."""


def assert_same(run: Path, other: Path) -> None:
    assert lines(run) and lines(other)  # all of them whole
    assert compare([run, other], Console())


def forget(run: Path, step: int) -> None:
    """Leave `run` as a kill -9 after the checkpoint of `step` would: what came later is on disk in part."""
    for checkpoint in (run / "checkpoints").glob("step-*"):
        if int(checkpoint.name[5:]) > step:
            for file in checkpoint.iterdir():
                file.unlink()
            checkpoint.rmdir()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99')


VARIANTS = {
    **TASKS,
    "classify": (*TASKS["classify"], "--precision", "bf16"),
    "denoise": (*TASKS["denoise"], "--ema", 0.9, "--precision", "bf16"),
    "superres": (*TASKS["superres"], "--ema", 0.9, "--accumulate", 2),
    "vae": (*TASKS["vae"], "--accumulate", 2, "--optimizer", "adamw", "--weight-decay", 0.1),
    "dcgan": (*TASKS["dcgan"], "--ema", 0.9),
    "reconstruct": (*TASKS["reconstruct"], "--optimizer", "sgd"),
}


def begin_and_continue(
    start: Callable[..., Any], runs: dict[str, tuple[Any, ...]], start_again: Callable[..., Any] | None = None
) -> None:
    """Each run whole, and once more from its checkpoint of step 2, in the middle of an epoch."""
    for folder, launch in (("whole", start), ("again", start_again or start)):
        argv = [
            ["--task", name, *SMALL, *options, "--steps", 4, "--save-every", 2, "--output-dir", folder, "--run", name]
            for name, options in runs.items()
        ]
        Path(f"{folder}.json").write_text(json.dumps([[str(word) for word in words] for words in argv]))
        done = launch(ROOT / "tests/several_runs.py", f"{folder}.json")
        assert done.returncode == 0, done.stdout + done.stderr
        if folder == "whole":
            shutil.copytree("whole", "again")
            for name in runs:
                forget(Path("again", name), 2)
        else:
            assert done.stdout.count("continues from step 2") == len(runs), done.stdout


def check_bit_for_bit(start: Callable[..., Any], variants: dict[str, tuple[Any, ...]]) -> None:
    begin_and_continue(start, variants)
    for name in variants:
        assert_same(Path("whole", name), Path("again", name))


def test_every_task_goes_on_bit_for_bit(command: Command) -> None:
    check_bit_for_bit(partial(command, sys.executable), VARIANTS)


@pytest.mark.slow
def test_so_it_does_on_two_processes(accelerate: Command) -> None:
    """A GAN with averages, and a network with BatchNorm."""
    runs = {"toys:Gan": ("--ema", 0.9), "classify": TASKS["classify"]}
    check_bit_for_bit(partial(accelerate, "multi_cpu"), runs)


FRAGILE = "wrong_toys:Fragile"
HALVES = ("--steps", 5, "--save-every", 5, "--eval-every")


@pytest.mark.parametrize(
    ("method", "every"),
    [
        ("evaluate", 2),
        ("gallery", 5),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in product(("summarize", "preview"), (2, 5))),
    ],
)
def test_a_validation_that_fails_is_made_up_for(
    train: Callable[..., Path], method: str, every: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a run, and at its end."""
    whole = train(FRAGILE, *HALVES, every).rename("runs/whole")
    Path("broken").write_text(method)
    for _ in range(2):  # it is not mended at once
        forget_accelerator()
        argv = ("--task", FRAGILE, *HALVES, every, "--run", "it", "--wandb", "off")
        assert main([str(word) for word in argv]) == 1
        assert (
            f"step {every} is saved: the same command with --run it begins with its validation"
            in capfd.readouterr().err
        )
        assert Path("runs/it/checkpoints/last").read_text() == f"step-{every:08d}"
        assert [line["split"] for line in lines(Path("runs/it"))] == ["train"] * every
    Path("broken").unlink()
    assert_same(train(FRAGILE, *HALVES, every), whole)
    for name in ("best", "last"):
        assert Path("runs/it/checkpoints", name).read_text() == (whole / "checkpoints" / name).read_text()
    assert f"continues from step {every}" in capfd.readouterr().out


@pytest.mark.slow
def test_so_is_one_that_fails_on_one_of_two_processes(train: Callable[..., Path], accelerate: Command) -> None:
    options = (*HALVES, 2, "--batch-size", 2)
    whole = train(FRAGILE, *options).rename("runs/whole")
    Path("broken").write_text("evaluate")
    argv = ("--task", FRAGILE, *options, "--run", "it", "--wandb", "off")
    done = accelerate("multi_cpu", ROOT / "launch/run.py", *argv)
    assert done.returncode == 1 and done.stderr.count("╭") == 1, done.stderr
    assert "ZeroDivisionError on process 1 of 2" in done.stderr and "step 2 is saved" in done.stderr
    Path("broken").unlink()
    assert accelerate("multi_cpu", ROOT / "launch/run.py", *argv).returncode == 0
    assert difference(Path("runs/it"), whole) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_so_does_every_task_on_more(processes: int, accelerate: Command) -> None:
    options = ("--batch-size", 12)
    variants = {name: (*words, *options) for name, words in VARIANTS.items() if "--accumulate" not in words}
    check_bit_for_bit(partial(accelerate, "multi_cpu", "--num_processes", processes), variants)


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2])
def test_another_number_of_processes_goes_on_too(first: int, command: Command, accelerate: Command) -> None:
    """In float64 to 1e-9, as one process agrees with two."""
    starts = [partial(command, sys.executable), partial(accelerate, "multi_cpu")]
    runs = {"superres": (*TASKS["superres"], "--precision", "fp64")}
    begin_and_continue(starts[first - 1], runs, starts[2 - first])
    assert difference(Path("whole/superres"), Path("again/superres")) < 1e-9
