"""A run that is told to stop, or is killed, loses nothing: it has a checkpoint, and goes on from it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, Command, forget_accelerator, lines, wandb_rows
from test_continue import assert_same

from launchbay.launch.train import main
from launchbay.models import checkpoints

SLOW = pytest.mark.slow
TASK = ("--task", "toys:Dropout", "--log-every", 1, "--eval-every", 50, "--wandb", "off")
LONG = (*TASK, "--steps", 1_000_000, "--save-every", 1000)


def launch(config: str, *options: object) -> list[object]:
    """By accelerate, with one of our configurations; or by torchrun, two processes."""
    if config == "torchrun":
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
        return [*torchrun, *options, "--", ROOT / "launch/run.py"]
    file = ROOT / "accelerate_configs" / f"{config}.yaml"
    start = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", file]
    return [*start, *options, ROOT / "launch/run.py"]


def hear_ctrl_c() -> None:
    """A shell starts what goes on in the background, such as these tests, deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(*argv: object, **environment: str) -> Generator[subprocess.Popen[str]]:
    """A command in a session of its own, with whatever it starts; none of them outlives the test."""
    process = subprocess.Popen(
        [str(word) for word in argv],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 (no other thread of these tests holds a lock then)
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        print(process.communicate()[0])  # shown where the test fails


def wait_for_step(run: Path, step: int) -> None:
    for _ in range(1200):
        with contextlib.suppress(OSError):
            if len((run / "metrics.jsonl").read_text().splitlines()) >= step:
                return
        time.sleep(0.05)
    raise AssertionError(f"{run} has not reached step {step}")


def trainers(launcher: int) -> list[psutil.Process]:
    """The training processes below `launcher`, by rank."""
    children = [p for p in psutil.Process(launcher).children(recursive=True) if "run.py" in " ".join(p.cmdline())]
    return sorted(children, key=lambda process: int(process.environ().get("RANK", "0")))


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGINT, 0, marks=SLOW),
        (signal.SIGTERM, 2),
        *(pytest.param(n, 2, marks=SLOW) for n in (signal.SIGUSR1, signal.SIGHUP)),
    ],
)
def test_a_signal_stops_it_with_a_checkpoint(number: signal.Signals, workers: int) -> None:
    with started(sys.executable, ROOT / "launch/run.py", *LONG, "--run", "it", "--workers", workers) as process:
        wait_for_step(Path("runs/it"), 5)
        os.killpg(process.pid, number)  # to loader workers too
        output = process.communicate(timeout=20)[0]
    assert process.returncode == 75, output
    assert f"{number.name}: stopped after step" in output and "Traceback" not in output
    summary = json.loads(Path("runs/it/summary.json").read_text())
    state = checkpoints.verify(checkpoints.newest_checkpoint(Path("runs/it/checkpoints")))
    assert summary["status"] == "stopped" and state.step == summary["step"] >= 4
    assert Path("runs/it/curves.png").is_file()


@SLOW
@pytest.mark.parametrize("seconds", [0.8, 1.5])
def test_a_signal_during_the_start_ends_it(seconds: float) -> None:
    """With nothing half made: before training begins there is no run, or one that has not begun."""
    with started(sys.executable, ROOT / "launch/run.py", *LONG, "--run", "it") as process:
        time.sleep(seconds)
        process.terminate()
        output = process.communicate(timeout=30)[0]
    early = "SIGTERM: ended before training began" in output and not Path("runs/it/config.yaml").exists()
    assert process.returncode == 75 and (early or "SIGTERM: stopped" in output), output
    assert not Path("runs/it/.lock").exists() or Path("runs/it/config.yaml").exists()


@pytest.mark.parametrize("rank", [pytest.param(0, marks=SLOW), 1])
def test_a_signal_to_one_process_stops_all(rank: int) -> None:
    with started(*launch("multi_cpu"), *LONG, "--run", "it") as process:
        wait_for_step(Path("runs/it"), 5)
        trainers(process.pid)[rank].send_signal(signal.SIGUSR1)
        output = process.communicate(timeout=40)[0]
    assert output.count("SIGUSR1: stopped after step") == 1, output
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "stopped"


def alone(rank: int) -> dict[str, str]:
    """The environment of a process whose partner never comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=SLOW)])
def test_a_process_whose_partner_never_comes_says_so_and_ends(rank: int, command: Command) -> None:
    argv = (ROOT / "launch/run.py", *LONG, "--run", "it", "--stuck-after", "0.2s")
    done = command(sys.executable, *argv, **alone(rank))
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and done.stderr.count("╭─ error") == 1, done.stderr
    missing = "process 0: nothing listens there" if rank else "process 1"
    assert "╭─ waiting for other processes" in said and f"for {missing} →" in said
    assert f"{missing}: not there after 2 s" in said
    assert not Path("runs").exists()


@SLOW
def test_a_process_whose_launcher_was_killed_before_it_began_ends(command: Command) -> None:
    """It has no parent that it could be told of, and the table at which processes meet is gone."""
    argv = (ROOT / "launch/run.py", *LONG, "--run", "it")
    done = command(sys.executable, *argv, **alone(0), TORCHELASTIC_USE_AGENT_STORE="True")
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "the launcher that started process 0 of 2" in said, done.stderr


@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), pytest.param(1, signal.SIGINT, marks=SLOW)])
def test_a_signal_is_heard_while_others_are_waited_for(rank: int, number: signal.Signals) -> None:
    argv = (sys.executable, ROOT / "launch/run.py", *LONG, "--run", "it", "--stuck-after", "0.1h")
    with started(*argv, **alone(rank)) as process:
        time.sleep(4)
        process.send_signal(number)
        begin = time.monotonic()
        process.wait(timeout=20)
    assert process.returncode in (75, 130) and time.monotonic() - begin < 10


def test_processes_that_were_not_told_how_to_meet(mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**alone(0), "MASTER_ADDR": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os._exit", sys.exit)
    assert "WORLD_SIZE is 2, but MASTER_ADDR not set" in mistake("--task", "toys:Single")


@pytest.mark.parametrize("config", ["cpu", *(pytest.param(name, marks=SLOW) for name in ("multi_cpu", "torchrun"))])
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(n, marks=SLOW) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))],
)
def test_no_process_outlives_the_launcher(config: str, number: signal.Signals) -> None:
    with started(*launch(config), *LONG, "--run", "it") as process:
        wait_for_step(Path("runs/it"), 5)
        children = trainers(process.pid)
        assert len(children) == (1 if config == "cpu" else 2)
        process.send_signal(number)
        assert not psutil.wait_procs(children, timeout=15)[1]
    checkpoints.verify(checkpoints.newest_checkpoint(Path("runs/it/checkpoints")))


@SLOW
def test_wandb_has_each_point_once(command: Command) -> None:
    """Killed between two checkpoints: some of what it sent happens again, and some it had not sent yet. W&B writes
    blocks of some 80 rows."""
    options = ("--task", "toys:Slow", "--steps", 200, "--eval-every", 50, "--log-every", 1, "--run", "it")
    with started(sys.executable, ROOT / "launch/run.py", *options) as process:
        wait_for_step(Path("runs/it"), 60)
        while not any(file.stat().st_size >= 2**15 for file in Path("runs/it").glob("wandb/offline-run-*/*.wandb")):
            time.sleep(0.05)
        process.kill()
    sent = len(wandb_rows(Path("runs/it")))
    done = command(sys.executable, ROOT / "launch/run.py", *options)
    assert "continues from step" in done.stdout, done.stdout + done.stderr
    rows, record = wandb_rows(Path("runs/it")), lines(Path("runs/it"))
    assert 0 < sent < len(rows)
    assert [(row["step"], "val/error" in row) for row in rows] == [(x["step"], x["split"] == "val") for x in record]
    assert len({part.name.rpartition("-")[2] for part in Path("runs/it/wandb").glob("offline-run-*")}) == 1


def test_time_is_up(capfd: pytest.CaptureFixture[str]) -> None:
    steps = []
    for _ in range(2):
        forget_accelerator()
        assert main([*map(str, LONG), "--run", "it", "--max-time", "0.2s"]) == 75
        steps.append(json.loads(Path("runs/it/summary.json").read_text())["step"])
    said = capfd.readouterr()
    assert said.err.count("--max-time is over: stopped after step") == 2
    assert f"continues from step {steps[0]}:" in said.out and steps[1] > steps[0]


@SLOW
@pytest.mark.parametrize("attempt", range(10))
def test_a_killed_process_comes_back(attempt: int, command: Command) -> None:
    """`--max_restarts`: the launcher starts all processes again, and they go on."""
    options = ("--task", "toys:Slow", *TASK[2:], "--steps", 40, "--save-every", 5)
    assert command(*launch("multi_cpu"), *options, "--run", "whole").returncode == 0
    with started(*launch("multi_cpu", "--max_restarts", 2), *options, "--run", "killed") as process:
        wait_for_step(Path("runs/killed"), 12)
        trainers(process.pid)[1].kill()
        output = process.communicate(timeout=90)[0]
    assert process.returncode == 0 and "continues from step" in output, output
    assert "was killed: the launcher starts all again" in output and "╭" not in output and "gloo" not in output, output
    assert_same(Path("runs/whole"), Path("runs/killed"))


@SLOW
def test_a_frozen_process_is_named_and_goes_on_when_thawed() -> None:
    options = ("--task", "toys:Slow", *TASK[2:], "--steps", 150, "--stuck-after", "2s", "--run", "it")
    with started(*launch("multi_cpu"), *options) as process:
        wait_for_step(Path("runs/it"), 5)
        frozen = trainers(process.pid)[1]
        frozen.suspend()
        time.sleep(8)
        frozen.resume()
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "process 1 does not answer: it is frozen" in output, output


@SLOW
@pytest.mark.parametrize(("restarts", "code"), [(3, 0), (0, 1)])
def test_a_stopped_run_is_not_started_again(restarts: int, code: int) -> None:
    """`--max_restarts` is for processes that fail. Without it the launcher tells that the run is not done."""
    options = (*LONG, "--max-time", "1s", "--run", "it")
    with started(*launch("multi_cpu", "--max_restarts", restarts), *options) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == code and output.count("--max-time is over: stopped after step") == 1, output
    assert code == output.count("exitcode  : 75"), output
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "stopped"
