"""What is held up, or has nobody who reads it, ends with a word or goes on: nothing waits for ever."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, Command, forget_accelerator
from test_continue import assert_same
from test_stop import LONG, launch, started, trainers, wait_for_step

from launchbay.launch.train import main
from launchbay.models import checkpoints
from launchbay.models.saved import State

SLOW = pytest.mark.slow
# Where there is one core for two workers:
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
HELD = ("--task", "held_toys:Held", "--wandb", "off", "--run", "it", "--eval-every", 3)
RUN = (sys.executable, ROOT / "launch/run.py")
Train = Callable[..., Path]


def wait_until_held() -> None:
    for _ in range(1200):
        if Path("held").exists():
            return
        time.sleep(0.05)
    raise AssertionError("it has not come to where it is held up")


def saved() -> State:
    """The state of the newest checkpoint."""
    return checkpoints.verify(checkpoints.newest_checkpoint(Path("runs/it/checkpoints")))


@pytest.mark.parametrize(
    ("place", "workers"),
    [
        ("evaluate", 0),
        *(pytest.param(place, 0, marks=SLOW) for place in ("summarize", "preview", "gallery", "data")),
        pytest.param("data", 2, marks=SLOW),
    ],
)
def test_a_signal_is_obeyed_where_it_waits(place: str, workers: int) -> None:
    """In a validation, and where the next batch does not come; the run goes on with what it owes."""
    owed = place != "data"
    every = 3 if owed else 1000
    with started(*RUN, *HELD, "--place", place, "--workers", workers, "--eval-every", every) as process:
        wait_until_held()
        time.sleep(0 if owed else 3)  # workers read ahead
        process.terminate()
        output = process.communicate(timeout=25)[0]
    assert process.returncode == 75 and output.count("╭") == 1, output
    assert "SIGTERM: stopped after step" in output and (", before its validation" in output) == owed, output
    assert saved().owes_validation == owed and saved().step >= 2  # one batch is looked at before the first
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "stopped"


@SLOW
@pytest.mark.parametrize("place", ["evaluate", "gallery"])
def test_a_stopped_validation_is_made_up_for(place: str, train: Train) -> None:
    options = ("--eval-every", 3, "--steps", 6)
    with started(*RUN, *HELD, "--steps", 6, "--place", place) as process:
        wait_until_held()
        process.terminate()
        assert process.wait(timeout=25) == 75
    stopped = Path("runs/it").rename("runs/stopped")
    whole = train("held_toys:Held", *options, "--place", "none").rename("runs/whole")
    stopped.rename("runs/it")
    Path("runs/it/config.yaml").write_text(Path("runs/it/config.yaml").read_text().replace(place, "none"))
    for file in Path("runs/it/checkpoints").glob("step-*/state.json"):
        state = json.loads(file.read_text())
        state["config"]["place"] = "none"  # as if that had mended itself
        file.write_text(json.dumps(state))
        manifest = json.loads((file.parent / "manifest.json").read_text())
        manifest["files"]["state.json"] = checkpoints.fingerprint(file)
        manifest["seal"] = checkpoints.seal(manifest["files"])
        (file.parent / "manifest.json").write_text(json.dumps(manifest))
    assert_same(whole, train("held_toys:Held", *options, "--place", "none"))


@SLOW
@pytest.mark.parametrize(("place", "rank"), [("evaluate", 0), ("evaluate", 1), ("summarize", 0), ("preview", 0)])
@pytest.mark.parametrize("to", ["launcher", "0", "1"])
def test_several_processes_agree_where_they_stop(place: str, rank: int, to: str) -> None:
    """Also where the one that is held up is not the one that gets the signal."""
    with started(*launch("multi_cpu"), *HELD, "--place", place, "--rank", rank) as process:
        wait_until_held()
        if to == "launcher":
            process.terminate()
        else:
            trainers(process.pid)[int(to)].send_signal(signal.SIGUSR1)
        output = process.communicate(timeout=40)[0]
    assert output.count("stopped after step 3 of 1000, before its validation") == 1, output
    assert saved().step == 3 and saved().owes_validation


@SLOW
def test_a_start_that_is_held_up_ends_with_a_word() -> None:
    with started(*RUN, *HELD, "--place", "datasets") as process:
        wait_until_held()
        process.send_signal(signal.SIGHUP)
        output = process.communicate(timeout=20)[0]
    assert process.returncode == 75 and "SIGHUP: ended before training began" in output, output
    assert not Path("runs").exists()


@SLOW
@pytest.mark.parametrize(("saves", "code"), [(1, 75), (1000, 128 + signal.SIGTERM)])
@pytest.mark.parametrize("again", [True, False])
def test_what_hears_no_signal_is_named_and_ended(saves: int, code: int, again: bool) -> None:
    """A call into a library that never returns. A second signal does not wait for it."""
    with started(*RUN, *HELD, "--place", "native", "--at", 2, "--save-every", saves) as process:
        wait_until_held()
        process.terminate()
        if again:
            time.sleep(1)
            process.terminate()
        output = process.communicate(timeout=30)[0]
    assert process.returncode == (128 + signal.SIGTERM if again else code), output
    expected = "SIGTERM again" if again else "held_toys.py"
    assert expected in output and ("continues from step-00000002" if saves == 1 else "no checkpoint yet") in output


def test_a_terminal_that_is_closed_stops_it_with_a_checkpoint() -> None:
    """The kernel sends SIGHUP, and what is written from then on fails."""
    child, terminal = pty.fork()
    if not child:  # its session's leader, with a terminal
        os.environ["PYTHONPATH"] = str(ROOT / "tests")
        os.execv(sys.executable, [str(word) for word in (*RUN, *LONG, "--run", "it")])
    try:
        wait_for_step(Path("runs/it"), 3)
        os.close(terminal)
        assert psutil.Process(child).wait(timeout=40) == 75
    finally:
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)
    assert saved().step >= 3
    assert "SIGHUP: stopped" in Path("runs/it/logs/process-0.log").read_text()


@SLOW
def test_nohup_is_respected() -> None:
    with started("nohup", *RUN, *LONG, "--run", "it") as process:
        wait_for_step(Path("runs/it"), 3)
        process.send_signal(signal.SIGHUP)
        wait_for_step(Path("runs/it"), 200)
        assert process.poll() is None


@pytest.mark.parametrize(
    "shell",
    [
        "{} 2>&1 | head -1",
        *(
            pytest.param(shell, marks=SLOW)
            for shell in (
                "{} | true",
                "{} > /dev/full 2>&1",
                "{} >&- 2>&-",
                "{} --wandb offline 2>&1 | head -3",
                "{} --workers 2 2>&1 | head -1",
                "script -qec '{}' /dev/null | head -1",  # a terminal, with a live bar, that is gone
                "{} 2>&1 | sleep 60",
            )
        ),
    ],
)
@pytest.mark.parametrize("config", ["", pytest.param("multi_cpu", marks=SLOW)])
def test_a_reader_that_goes_away_ends_no_training(shell: str, config: str, command: Command) -> None:
    words = launch(config) if config else RUN
    argv = (
        "--task",
        "toys:Dropout",
        "--steps",
        300,
        "--wandb",
        "off",
        "--eval-every",
        50,
        "--log-every",
        1,
        "--run",
        "it",
    )
    command("bash", "-c", shell.format(" ".join(map(str, (*words, *argv)))))
    summary: dict[str, object] = {"status": "running"}
    for _ in range(600):  # the launcher itself may have ended before
        if summary["status"] == "running":
            time.sleep(0.1)
            summary = json.loads(Path("runs/it/summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("done", 300)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_in_a_data_set_is_named_with_its_line(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    forget_accelerator()
    assert main([str(word) for word in (*HELD, "--place", "mistake", "--workers", workers)]) == 1
    said = capfd.readouterr().err
    assert said.count("╭") == 1 and "'no such picture'" in said and "Traceback" not in said, said
    assert "held_toys.py" in said and "in __getitems__" in said, said


@SLOW
@pytest.mark.parametrize("place", ["data", "frozen"])
def test_workers_that_are_stuck_are_named(place: str) -> None:
    """In a data set that does not answer, or stopped from outside; a signal is obeyed, and none is left."""
    with started(*RUN, *HELD, "--place", place, "--workers", 2, "--stuck-after", "2s", "--steps", 100_000) as process:
        wait_for_step(Path("runs/it"), 3)
        workers = psutil.Process(process.pid).children()
        if place == "frozen":
            for worker in workers:
                worker.suspend()
        time.sleep(6)
        process.terminate()
        output = process.communicate(timeout=30)[0]
        assert not psutil.wait_procs(workers, timeout=5)[1]
    assert process.returncode == 75 and "no progress for 2 s" in output, output
    assert f"{workers[0].pid} ({'stopped' if place == 'frozen' else 'sleeping'})" in output, output


@SLOW
def test_workers_do_not_outlive_a_trainer_that_is_killed() -> None:
    with started(*RUN, *HELD, "--place", "data", "--workers", 2) as process:
        wait_until_held()
        workers = psutil.Process(process.pid).children()
        process.kill()
        assert not psutil.wait_procs(workers, timeout=10)[1]


@SLOW
@pytest.mark.parametrize("room", ["64k", "4k"])
def test_shared_memory_that_is_full(room: str, command: Command) -> None:
    """Said, and survived with the same figures: batches take another way, or this process reads them."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount another /dev/shm")
    options = "--task denoise --steps 6 --patch 64 --batch-size 8 --model conv4 --width 4 --eval-every 3 --wandb off"
    words = f"{sys.executable} {ROOT / 'launch/run.py'} {options}"
    mount = f"mount -t tmpfs -o size={room} tmpfs /dev/shm"
    done = command(
        "unshare", "-m", "bash", "-c", f"{mount} && {words} --workers 2 --run starved && {words} --run whole"
    )
    assert done.returncode == 0 and "/dev/shm" in done.stdout, done.stdout + done.stderr
    assert_same(Path("runs/whole"), Path("runs/starved"))


@SLOW
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_gone_is_named(rank: int) -> None:
    with started(*launch("multi_cpu"), *LONG, "--save-every", 5, "--run", "it") as process:
        wait_for_step(Path("runs/it"), 12)
        gone = trainers(process.pid)[rank]
        gone.kill()
        output = process.communicate(timeout=40)[0]
    assert f"process {rank} (pid {gone.pid}) was killed" in output, output
    assert output.count("╭") == 1 and "the same command with --run it continues from step-000000" in output, output
