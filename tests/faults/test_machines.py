"""Two machines for real: each with a network, processes and a name of its own, and a cable between them."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import difference
from machines import Machines, ended, reason_without, wait_for_lines

WITHOUT = reason_without()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault("a machine is gone"),
    pytest.mark.skipif(bool(WITHOUT), reason=WITHOUT),
]
STEPS = 60
EVERY = ("--log-every", 1, "--save-every", 10, "--eval-every", STEPS, "--wandb", "off", "--precision", "fp64")
OPTIONS = ("--task", "held_toys:Unhurried", "--steps", STEPS, *EVERY, "--run", "it")


@pytest.fixture
def two() -> Iterator[Machines]:
    Path("runs").mkdir()
    with Machines() as machines:
        yield machines


@pytest.fixture
def alone(train: Callable[..., Path]) -> Path:
    """The same run on one machine."""
    whole = Path("alone")
    train("held_toys:Unhurried", *OPTIONS[2:], "--output-dir", whole)
    return whole / "it"


def all_ended(launched: list[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str]]:
    end = time.monotonic() + seconds
    return [ended(process, end - time.monotonic()) for process in launched]


def test_two_machines_learn_what_one_does(two: Machines, alone: Path) -> None:
    done = all_ended(two.launch(OPTIONS), 120)
    assert [code for code, _ in done] == [0, 0], done
    assert json.loads(Path("runs/it/summary.json").read_text())["world_size"] == 2
    assert difference(alone, Path("runs/it")) < 1e-9


def test_a_network_that_was_gone_for_25_seconds(two: Machines, alone: Path) -> None:
    launched = two.launch((*OPTIONS, "--timeout", "90s"))
    wait_for_lines(Path("runs/it"), 15)
    two.unplug()
    time.sleep(25)
    two.plug()
    done = all_ended(launched, 150)
    assert [code for code, _ in done] == [0, 0], done
    assert difference(alone, Path("runs/it")) < 1e-9


def test_a_network_that_is_gone_for_good(two: Machines, alone: Path) -> None:
    """Both sides end within the time-out, each with a panel on its own machine, and the same command goes on."""
    launched = two.launch((*OPTIONS, "--timeout", "8s"))
    wait_for_lines(Path("runs/it"), 15)
    two.unplug()
    done = all_ended(launched, 40)  # and the time that a launcher takes
    for rank, (code, said) in enumerate(done):
        assert code == 1 and f"stopped on process {rank} of 2" in said and "exitcode: 75" in said, said
        assert "no answer from process" in said and "--run it continues from step-000000" in said
        assert "gloo" not in said and said.count("╭") == 1
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "stopped"
    two.plug()
    done = all_ended(two.launch(OPTIONS), 120)
    assert [code for code, _ in done] == [0, 0] and "continues from step" in done[0][1], done
    assert difference(alone, Path("runs/it")) < 1e-9


def test_a_machine_waits_for_one_that_draws_and_notices_that_the_network_is_gone(two: Machines) -> None:
    """It would wait for twelve times the time-out; the kernels notice earlier."""
    held = ("--task", "held_toys:Held", "--place", "preview", "--shown", 1, "--seconds", 60, "--steps", 2)
    launched = two.launch((*held, "--eval-every", 2, "--wandb", "off", "--run", "it", "--timeout", "8s"))
    end = time.monotonic() + 60
    while not Path("held").is_file():
        assert time.monotonic() < end
        time.sleep(0.1)
    two.unplug()
    code, said = ended(launched[1], 40)
    assert code == 1 and "no answer from process 0" in said and "exitcode: 75" in said, said


@pytest.mark.parametrize("seed", [None, 1])
def test_folders_that_are_not_shared_are_told_before_the_first_step(
    two: Machines, seed: int | None, train: Callable[..., Path]
) -> None:
    """Each on its own terminal; also where the other machine has a run of that name, with other weights."""
    Path("own").mkdir()
    if seed is not None:
        train("held_toys:Unhurried", *OPTIONS[2:], "--steps", 10)
        train("held_toys:Unhurried", *OPTIONS[2:], "--steps", 10, "--output-dir", "own", "--seed", seed)
    before = sorted(Path("own").rglob("*"))
    done = all_ended(two.launch(OPTIONS, own=(None, Path("own").absolute())), 90)
    what = "no such folder" if seed is None else "another folder"
    for _, said in done:
        assert f"the machines do not share the run's folder: left writes to runs/it, and right sees {what}" in said
        assert said.count("╭") == 1
    assert Path("runs/it").exists() is (seed is not None) and sorted(Path("own").rglob("*")) == before


def test_all_processes_of_a_machine_are_killed(two: Machines, alone: Path) -> None:
    launched = two.launch(OPTIONS)
    wait_for_lines(Path("runs/it"), 15)
    launched[1].kill()  # and with it all of that machine
    code, said = ended(launched[0], 60)
    assert code == 1 and "process 1 on right was killed" in said and "exitcode: 75" in said, said
    launched[1].wait()
    done = all_ended(two.launch(OPTIONS), 120)
    assert [code for code, _ in done] == [0, 0] and "continues from step" in done[0][1], done
    assert difference(alone, Path("runs/it")) < 1e-9


def test_fewer_come_back_than_left(two: Machines, alone: Path) -> None:
    """`torchrun --nnodes 1:2`: the other machine goes on alone, with the same global batch, and nothing is alarming."""
    launched = two.elastic(OPTIONS)
    wait_for_lines(Path("runs/it"), 15)
    assert json.loads(Path("runs/it/summary.json").read_text())["world_size"] == 2
    launched[1].kill()
    code, said = ended(launched[0], 120)
    assert code == 0 and "was killed: the launcher starts all again" in said and "╭" not in said, said
    assert "continues from step" in said and json.loads(Path("runs/it/summary.json").read_text())["world_size"] == 1
    assert difference(alone, Path("runs/it")) < 1e-9
