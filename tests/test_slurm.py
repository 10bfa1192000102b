"""SLURM: the tasks of srun become processes, and the batch script stops, comes again and sweeps. `tests/slurm` has what
stands in for its programs.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, lines
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

import launchbay
from launchbay import UserError
from launchbay.launch import others
from launchbay.launch.distributed import slurm
from launchbay.launch.distributed.meeting import Place, all_are_here, introduce_machine

SCRIPT = ROOT / "launch/slurm.sbatch"
STAND_IN = """#!/bin/bash
# Stands for launchbay: waits for a signal, then is stopped; with FAST it is done at once, with BROKEN it fails; with
# KILLED a process of it is gone, after that checkpoint.
folder=$(echo "$@" | sed "s/.*--run \\([^ ]*\\) --output-dir \\([^ ]*\\).*/\\2\\/\\1/")
mkdir -p "$folder"; printf '%s\\n' "$@" > "$folder/argv"; env > "$folder/env"
stopped() { echo '{"status": "stopped"}' > "$folder/summary.json"; exit 75; }
trap 'echo USR1 > "$folder/heard"; stopped' USR1
trap 'echo TERM > "$folder/heard"; stopped' TERM
[ -n "${BROKEN:-}" ] && exit 2
[ -n "${KILLED:-}" ] && { mkdir -p "$folder/checkpoints"; echo "$KILLED" > "$folder/checkpoints/last"; stopped; }
[ -n "${FAST:-}" ] && { echo '{"status": "done"}' > "$folder/summary.json"; exit 0; }
echo > "$folder/begun"; while true; do sleep 0.02; done
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("bin").mkdir()
    Path("bin/launchbay").write_text(STAND_IN)
    Path("bin/launchbay").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').resolve()}{os.pathsep}{os.environ['PATH']}")


@contextmanager
def job(*argv: object, **environment: object) -> Generator[subprocess.Popen[str]]:
    """The batch script, as slurmd starts it."""
    told = {"SLURM_JOB_ID": 7, "SLURM_JOB_NAME": "night", "SLURM_NTASKS": 1, "SLURM_NNODES": 1, **environment}
    path = os.pathsep.join((str(ROOT / "tests/slurm"), os.environ["PATH"], str(Path(sys.executable).parent)))
    env = {**os.environ, "PATH": path, **{name: str(value) for name, value in told.items()}}
    started = [str(word) for word in ("bash", SCRIPT, *argv)]
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(started, env=env, text=True, stdout=pipe, stderr=same, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with srun and its tasks


def requeued() -> str:
    log = Path("scontrol.log")
    return log.read_text().strip() if log.exists() else ""


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.02)


def test_the_batch_script_is_clean() -> None:
    checked = (Path(sys.executable).with_name("shellcheck"), SCRIPT, ROOT / "tests/slurm/scontrol")
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("stand_in")
def test_a_job_whose_time_is_over_comes_again_until_its_run_is_done() -> None:
    with job("superres", "--lr", "1e-3") as process:
        wait_for(Path("runs/night-7/begun"))
        process.send_signal(signal.SIGUSR1)
        output = process.communicate(timeout=20)[0]
    assert (process.returncode, requeued()) == (75, "requeue 7"), output
    assert Path("runs/night-7/heard").read_text() == "USR1\n"
    said = Path("runs/night-7/argv").read_text().splitlines()
    assert said == ["train", "superres", "--lr", "1e-3", "--run", "night-7", "--output-dir", "runs"]
    with job("superres", FAST=1) as process:
        assert process.wait(20) == 0
    assert requeued() == "requeue 7"


@pytest.mark.usefixtures("stand_in")
def test_a_job_that_fails_or_is_cancelled_does_not_come_again() -> None:
    """What failed would fail again and again: its summary still says "stopped", of the time before."""
    with job("superres") as process:
        wait_for(Path("runs/night-7/begun"))
        process.send_signal(signal.SIGTERM)  # scancel tells the script and the tasks; srun would kill its tasks
        time.sleep(0.3)
        assert process.poll() is None
        (srun,) = [child for child in psutil.Process(process.pid).children() if "srun" in " ".join(child.cmdline())]
        for task in srun.children():
            task.terminate()
        assert process.wait(20) == 75
    assert Path("runs/night-7/heard").read_text() == "TERM\n" and not requeued()
    with job("superres", BROKEN=1) as process:
        assert process.wait(20) == 2
    assert "stopped" in Path("runs/night-7/summary.json").read_text() and not requeued()


@pytest.mark.usefixtures("stand_in")
def test_a_job_that_comes_no_further_does_not_come_again() -> None:
    """A process that lacks memory at the same step each time would be started for ever."""
    for step, said in (("step-00000010", "requeue 7"), ("step-00000010", "")):
        Path("scontrol.log").unlink(missing_ok=True)
        with job("superres", KILLED=step) as process:
            output = process.communicate(timeout=20)[0]
        assert (process.returncode, requeued()) == (75, said), output
    assert "no further than before" in output


@pytest.mark.usefixtures("stand_in")
def test_the_jobs_of_an_array_are_the_runs_of_a_sweep() -> None:
    lines = ["# rates", "", "--lr 1e-3", "--lr 3e-3 --note 'two # words' --tag run#2 # that's all"]
    Path("sweep.txt").write_text("\n".join(lines))
    array = {"SLURM_ARRAY_JOB_ID": 40, "FAST": 1}
    with job("superres", "--steps", 9, **array, SLURM_ARRAY_TASK_ID=2, SWEEP="sweep.txt") as process:
        assert process.wait(20) == 0
    said = Path("runs/night-40-2/argv").read_text().splitlines()
    assert said[1:6] == ["superres", "--steps", "9", "--lr", "3e-3"]
    assert said[6:11] == ["--note", "two # words", "--tag", "run#2", "--run"]
    with job("superres", **array, SLURM_ARRAY_TASK_ID=3, SWEEP="sweep.txt") as process:
        assert process.wait(20) == 2 and "sweep.txt has no line 3 of options" in process.communicate()[0]
    Path("sweep.txt").write_text("--lr 1e-3 --note 'two words\n")
    with job("superres", **array, SLURM_ARRAY_TASK_ID=1, SWEEP="sweep.txt") as process:
        assert process.wait(20) == 2 and "line 1: a quote is not closed" in process.communicate()[0]
    with job("superres", **array, SLURM_ARRAY_TASK_ID=5, RUN="seeds") as process:
        assert process.wait(20) == 0
    assert "--seed\n5\n--run\nseeds-5\n" in Path("runs/seeds-5/argv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
def test_two_tasks_are_one_run_that_is_stopped_and_goes_on(nodes: int) -> None:
    argv = ("toys:Slow", "--steps", 60, "--log-every", 1, "--wandb", "off")
    here = {"SLURM_NTASKS": 2, "SLURM_NNODES": nodes, "PYTHONPATH": ROOT / "tests", "RUN": "both"}
    with job(*argv, **here) as process:
        wait_for(Path("runs/both/metrics.jsonl"))
        process.send_signal(signal.SIGUSR1)
        output = process.communicate(timeout=60)[0]
    assert (process.returncode, requeued()) == (75, "requeue 7"), output
    assert output.count("SIGUSR1: stopped after step") == 1
    assert f"the processes are the 2 tasks of srun, on {nodes} node" in output and "2 processes (cpu" in output
    with job(*argv, **here) as process:
        output = process.communicate(timeout=120)[0]
    assert (process.returncode, requeued()) == (0, "requeue 7"), output
    assert "continues from step" in output and json.loads(Path("runs/both/summary.json").read_text())["world_size"] == 2
    assert [line["step"] for line in lines(Path("runs/both"), "train")] == list(range(1, 61))


def tasks(monkeypatch: pytest.MonkeyPatch, **told: object) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    ranks = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LAUNCHBAY_LOCAL_PROCESS")
    for name in (*ranks, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


STEP = {"JOB_ID": 123, "STEP_ID": 2, "STEP_NUM_TASKS": 7, "STEP_NUM_NODES": 4, "PROCID": 6, "LOCALID": 0, "NODEID": 3}


def test_tasks_of_srun_become_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"STEP_NODELIST": "gpu[007-009,12],login", "STEP_TASKS_PER_NODE": "2(x3),1"}
    tasks(monkeypatch, **STEP, **listed, CPUS_PER_TASK=3)
    monkeypatch.delenv("OMP_NUM_THREADS")
    slurm.join_tasks()
    told = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")}
    assert list(told.values()) == ["6", "0", "7", "1", "gpu007"]
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert slurm.describe_tasks() == [
        f"the processes are the 7 tasks of srun, on 4 nodes; they met at gpu007:{15000 + 1232}"
    ]
    makers = [(name, *case) for name in slurm.VISIBLE for case in (("2", "0"), ("0,1", "1"))]
    for name, gpus, local in makers:  # --gpus-per-task=1: each sees one, its first
        tasks(monkeypatch, **{**STEP, **listed, "LOCALID": 1})
        for other in slurm.VISIBLE:
            monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, gpus)
        slurm.join_tasks()
        assert os.environ["LOCAL_RANK"] == local and not others.speaks()
    for names, first in (("a1,b[2-3]", "a1"), ("rack[1-2]node[04,06]", "rack1node04"), ("n[3]-ib", "n3-ib")):
        monkeypatch.setenv("SLURM_STEP_NODELIST", names)
        assert slurm.first_node() == first


def test_tasks_of_srun_whose_program_calls_launchbay_become_processes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks(monkeypatch, STEP_ID=0, PROCID=5, STEP_NUM_TASKS=2)
    with pytest.raises(UserError, match="RANK=5, but WORLD_SIZE=2"):
        launchbay.train("toys:Single", steps=1, wandb="off")


def test_a_task_that_comes_to_the_store_of_another_job_does_not_join_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs on a node may have the same port: process 0 of the second says so, and ends."""
    store = HashStore()
    for job, joins in ((1501, True), (1, False)):
        tasks(monkeypatch, **{**STEP, "JOB_ID": job, "STEP_NUM_NODES": 1})
        slurm.join_tasks()
        assert os.environ["MASTER_PORT"] == "15012"
        for rank in range(6, -1 if joins else 0, -1):
            monkeypatch.setenv("RANK", str(rank))
            introduce_machine(store, Place("127.0.0.1", 15012))
            assert all_are_here(store) is (rank == 0)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"NTASKS": 4, "PROCID": 0, "JOB_ID": 3}, "note: SLURM gave this job 4 tasks, and one process trains"),
        ({**STEP, "STEP_NUM_TASKS": 1}, ""),
        ({}, ""),
    ],
    ids=["in a batch script", "one task", "without SLURM"],
)
def test_what_srun_did_not_start_together_is_not_joined(
    told: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks(monkeypatch, **told)
    slurm.join_tasks()
    assert "WORLD_SIZE" not in os.environ and "".join(slurm.describe_tasks()).startswith(said)


def test_what_a_launcher_or_a_person_has_said_of_the_processes_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for own in ({"RANK": "1", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "1"}):
        tasks(monkeypatch, **STEP)
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        slurm.join_tasks()
        assert os.environ["WORLD_SIZE"] == own["WORLD_SIZE"] and "MASTER_ADDR" not in os.environ
    tasks(monkeypatch, **STEP)
    with pytest.raises(UserError, match="7 tasks on 4 nodes, and SLURM_JOB_NODELIST is not set") as error:
        slurm.join_tasks()
    assert "export MASTER_ADDR=" in error.value.hint
