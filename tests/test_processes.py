"""Several processes: the same command, the same curve; and the traps of starting them."""

import json
import re
import socket
import sys
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from conftest import ROOT, Command, difference, lines

from launchbay import UserError
from launchbay.launch import errors
from launchbay.launch.distributed.accelerator import threads_were_said
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.train import run

QUIET = ("--wandb", "off")
SMALL = ("--width", 8, "--blocks", 1, "--patch", 24, "--batch-size", 8, "--log-every", 1, "--eval-every", 25, *QUIET)
TASK = ("--data", "toys:Digits", "--batch-size", 4, "--steps", 4, "--log-every", 1, "--eval-every", 4, *QUIET)
EXACT = (*TASK, "--precision", "fp64")
GAN = ("--task", "toys:Gan", "--precision", "fp64", *QUIET)
FROM = ("--weights", "one/gan-fp64", "--freeze", "generator", "discriminator.0", "--freeze-for", 3)
DEEP = ("--task", "deep_toys:DeepGan")
AUGMENTED = ("--crop-area", 0.3, 1, "--auto-augment", "randaugment", "--mixup", 0.4, "--cutmix", 1)
RUNS = {
    "superres-fp32": ("--task", "superres", *SMALL, "--steps", 10),
    "superres-fp64": ("--task", "superres", *SMALL, "--steps", 50, "--precision", "fp64"),
    "gan-fp32": ("--task", "toys:Gan", "--steps", 10, "--eval-every", 5, "--wandb", "off"),
    "gan-fp64": (*GAN, "--steps", 50),
    "weights": (*GAN, *FROM, "--steps", 10),
    "accumulate": ("--task", "toys:Single", "--steps", 10, "--batch-size", 8, "--precision", "fp64", "--wandb", "off"),
    "sets-fp64": ("--task", "toys:Sets", "--steps", 10, "--precision", "fp64", *QUIET),
    "noticing-fp64": ("--task", "toys:Noticing", "--steps", 10, "--precision", "fp64", *QUIET),
    "contrast-fp64": ("--task", "stateful_tasks:Contrast", "--precision", "fp64", *QUIET),
    "queue-fp64": ("--task", "stateful_tasks:Queue", "--steps", 10, "--precision", "fp64", "--sync-batchnorm", *QUIET),
    "critics-fp64": ("--task", "stateful_tasks:Critics", "--steps", 10, "--precision", "fp64", *QUIET),
    "classify": ("--task", "classify", *EXACT, "--rotate", 20, "--cutout", 4, "--ema", 0.9),
    "augmented": ("--task", "classify", *EXACT, *AUGMENTED, "--batch-size", 8),
    "denoise": ("--task", "denoise", *EXACT, "--width", 8),
    "reconstruct": ("--task", "reconstruct", *EXACT),
    "degraded": ("--task", "reconstruct", *EXACT, "--degrade", "real-esrgan"),
    "vae": ("--task", "vae", *EXACT, "--width", 8, "--binarize", "--classes", 10, "--samples", 11),
    "dcgan": ("--task", "dcgan", *EXACT, "--dropout", 0, "--spectral-norm", "--r1", 1, "--augment", "translation"),
    "sharded-fp64": ("--task", "superres", *SMALL, "--steps", 10, "--precision", "fp64", "--shard", "--ema", 0.9),
    "deep-fp64": (*DEEP, "--precision", "fp64", "--steps", 10, "--sync-batchnorm", "--shard", "--recompute", *QUIET),
    "unmix": ("--task", "unmix", *EXACT, "--data", "toys:Digits+toys:Patches", "--sync-batchnorm", "--lr", "1e-5"),
}
TOLERANCE = {name: 1e-6 if "fp32" in name else 1e-9 for name in RUNS} | {"unmix": 1e-8, "deep-fp64": 1e-8}
"""The deep ResNet18 behind an L1 loss lets the rounding of step 3 grow to 1e-9 within steps, on four processes."""


STEPS = {"superres-fp64": 50, "gan-fp64": 50, "contrast-fp64": 20}
TASKS = {"classify", "augmented", "degraded", "denoise", "reconstruct", "vae", "dcgan", "unmix"}


ALIKE = {
    "superres-fp32",
    "superres-fp64",
    "noticing-fp64",
    "queue-fp64",
    "critics-fp64",
    "denoise",
    "degraded",
    "augmented",
    "dcgan",
    "unmix",
}
"""Runs of which others show the most."""


@pytest.mark.parametrize(
    ("processes", "names"),
    [(2, RUNS.keys() - ALIKE), *(pytest.param(count, RUNS.keys(), marks=pytest.mark.slow) for count in (2, 4))],
    ids=["2-some", "2-all", "4-all"],
)
def test_one_process_and_more_learn_the_same(
    processes: int, names: Set[str], accelerate: Command, command: Command
) -> None:
    """All runs in one launch each, since starting processes is what takes the time."""
    several = partial(accelerate, "multi_cpu", "--num_processes", processes)
    for folder, extra in (("one", ()), ("more", ("accumulate", "--accumulate", 2))):
        options = {name: [*argv, "--run", name, "--output-dir", folder] for name, argv in RUNS.items() if name in names}
        if extra:
            options[extra[0]] += extra[1:]
            options["unshared"] = ["--task", "stateful_tasks:QueuePerProcess", *QUIET]
            options["root"] = ["--task", "kept_toys:RootOfZero", "--batch-size", 20, "--run", "root", *QUIET]
        Path(f"{folder}.json").write_text(json.dumps([[str(word) for word in argv] for argv in options.values()]))
        start = several if folder == "more" else partial(command, sys.executable)
        done = start(ROOT / "tests/several_runs.py", f"{folder}.json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count(f"everything is in {folder}/gan-fp32") == 1, "said by every process, or by none"
    assert re.search(
        r"^refused: .*training_step leaves queue different on process 1 .* after step 2", done.stdout, re.M
    )
    assert done.stdout.count("refused: the gradient of 'model' is not finite at step 3") == processes
    assert Path("runs/root/checkpoints/last").read_text() == "step-00000002"
    for name in names:
        one, more = Path("one", name), Path("more", name)
        assert json.loads((more / "summary.json").read_text())["world_size"] == processes
        assert difference(one, more) < TOLERANCE[name], name
        assert len(lines(one, "train")) == STEPS.get(name, 4 if name in TASKS else 10)


@pytest.mark.slow
def test_the_command_of_the_readme_on_two_processes(accelerate: Command, train: Callable[..., Path]) -> None:
    options = (*SMALL, "--steps", 3)
    done = accelerate("multi_cpu", ROOT / "launch/run.py", "--task", "superres", *options, "--run", "two")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 processes (cpu, " in done.stdout and done.stdout.count("everything is in") == 1
    assert difference(train("superres", *options), Path("runs/two")) < 1e-6


@pytest.mark.slow
def test_a_failure_on_one_process_is_one_panel(accelerate: Command) -> None:
    done = accelerate(
        "multi_cpu", ROOT / "launch/run.py", "--task", "wrong_toys:TurnsNaN", "--steps", 9, "--wandb", "off"
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert output.count("╭─ error on process") == 1, output
    assert "not finite at step 4 on process 1: mse = nan, zero = 0" in " ".join(output.replace("│", " ").split())
    assert json.loads(Path("runs/turnsnan-1/summary.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_processes_that_accelerate_does_not_start_are_missed(command: Command) -> None:
    launch = (sys.executable, "-m", "accelerate.commands.launch")
    done = command(*launch, "--cpu", "--num_processes", 2, ROOT / "launch/run.py", "--task", "toys:Single")
    assert done.returncode != 0
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "2 processes were asked for, but accelerate started one" in said and "multi_cpu.yaml" in said
    assert not Path("runs").exists()


def test_a_mistake_keeps_its_exit_code_and_shows_no_traceback(command: Command) -> None:
    done = command(sys.executable, ROOT / "launch/run.py", "--task", "superes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'superres'?" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["cpu", "multi_cpu", "single_gpu", "multi_gpu"])
def test_accelerate_takes_our_configurations(name: str) -> None:
    file = ROOT / "accelerate_configs" / f"{name}.yaml"
    config: Any = load_config_from_file(str(file))
    text = yaml.safe_load(file.read_text())
    assert config.use_cpu is ("cpu" in name) is text["use_cpu"]
    assert config.num_processes == (2 if "multi" in name else 1)
    assert config.distributed_type.value == ("MULTI_GPU" if "multi" in name else "NO")


def test_a_mistake_on_several_processes_is_one_panel(accelerate: Command) -> None:
    done = accelerate("multi_cpu", ROOT / "launch/run.py", "--task", "superres", "--data", "phtos")
    assert done.returncode != 0
    assert done.stderr.count("╭") + done.stdout.count("╭") == 1, done.stdout + done.stderr


@pytest.mark.parametrize("argv", [(), ("--lr", "0"), ("--scal", "4"), ("--config", "gone"), ("--data", "phtos")])
def test_the_second_process_leaves_a_mistake_to_the_first(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises((UserError, SystemExit)) as error:
        run(["--task", "superres", *argv] if argv else [], Stop())
    report = errors.report(error.value, debug=False) if isinstance(error.value, UserError) else None
    assert report in (None, errors.Report(errors.USER_MISTAKE, shown=False))
    assert "".join(capfd.readouterr()) == ""


def test_threads_that_a_person_has_asked_for_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate sets OMP_NUM_THREADS to 1 for those who ask for nothing, but not in its own environment."""
    monkeypatch.setattr(psutil.Process, "environ", lambda _: {"OMP_NUM_THREADS": "3"})
    assert threads_were_said(["accelerate", "launch"])
    monkeypatch.setattr(psutil.Process, "environ", lambda _: {})
    assert not threads_were_said(["accelerate", "launch"])
    assert threads_were_said(["accelerate", "launch", "--num_cpu_threads_per_process", "2"])


@pytest.mark.slow
def test_a_port_that_is_taken_is_named_and_another_one_used(accelerate: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = ("--main_process_port", port, ROOT / "launch/run.py", "--task", "toys:Single", *QUIET)
        done = accelerate("multi_cpu", *argv)
    assert done.returncode == 0 and f"Port `{port}` is already in use" in done.stderr, done.stderr
