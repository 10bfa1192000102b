"""Killed with SIGKILL at any moment, from the start to the end, on one process and on two, with samples and W&B: the
same command goes on to the same bits, and W&B has each row once.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, lines, wandb_rows
from faults_table import OneFault
from forked import fork_processes
from test_continue import assert_same
from test_stop import launch, trainers

from launchbay.models import checkpoints

SLOW = pytest.mark.slow
TASK = ("--task", "toys:Gan", "--ema", 0.9, "--batch-size", 8, "--keep", 1, "--log-every", 1)
SHORT = (*TASK, "--steps", 60, "--save-every", 2, "--eval-every", 6)
LONG = (*TASK, "--steps", 600, "--save-every", 5, "--eval-every", 20)


def check_pointers(run: Path) -> None:
    """What `last` and `best` name is there, and whole."""
    for name in (run / "checkpoints").glob("[lb][ea]st"):
        checkpoints.verify(run / "checkpoints" / name.read_text())


def check_ended(run: Path, whole: Path) -> None:
    """The same bits, the same best step, the same pictures; and each row once in W&B."""
    assert_same(whole, run)
    assert json.loads((run / "summary.json").read_text())["status"] == "done"
    best, same = (checkpoints.find_checkpoint(folder / "checkpoints", "best").name for folder in (whole, run))
    assert best == same
    pictures, others = ({p.name: p.read_bytes() for p in folder.glob("samples/*.png")} for folder in (whole, run))
    assert pictures == others
    rows, record = wandb_rows(run), lines(run)
    assert [(row["step"], "val/realism" in row) for row in rows] == [(x["step"], x["split"] == "val") for x in record]
    assert len({part.name.rpartition("-")[2] for part in run.glob("wandb/offline-run-*")}) == 1


class Processes:
    """So many of one run, forked."""

    options = SHORT

    def __init__(self, count: int, name: str):
        self.all = fork_processes(count, (*self.options, "--run", name))

    def kill(self, chance: random.Random) -> None:
        """One of them; and end the others, as the launcher does."""
        victim = chance.choice(self.all)
        for process in self.all:
            process.send(signal.SIGKILL if process is victim else signal.SIGTERM)

    def wait(self) -> list[int]:
        return [process.wait() for process in self.all]

    def said(self) -> str:
        return "".join(process.said() for process in self.all)


class Commands:
    """The real commands for so many processes."""

    options = LONG

    def __init__(self, count: int, name: str):
        self.output = Path(f"{name}.txt")
        start = [sys.executable, ROOT / "launch/run.py"] if count == 1 else launch("multi_cpu")
        argv = [str(word) for word in (*start, *self.options, "--run", name)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        with self.output.open("w") as output:
            self.process = psutil.Popen(argv, stdout=output, stderr=output, env=environment, start_new_session=True)
        self.trainers: list[psutil.Process] = []

    def kill(self, chance: random.Random) -> None:
        """A process of the run, or the launcher."""
        with suppress(psutil.NoSuchProcess):
            self.trainers = trainers(self.process.pid)
            chance.choice([self.process, *self.trainers]).kill()

    def wait(self) -> list[int]:
        """No process outlives the launcher for long, and the run is its own until then."""
        code = self.process.wait(timeout=300)
        assert not psutil.wait_procs(self.trainers, timeout=60)[1]
        return [code]

    def said(self) -> str:
        return self.output.read_text()


@pytest.mark.fault("kills")
@pytest.mark.parametrize(
    ("kind", "processes", "kills"),
    [
        pytest.param(Processes, 1, 3, marks=SLOW),
        pytest.param(Processes, 2, 1, marks=SLOW),
        pytest.param(Processes, 1, 40, marks=SLOW),
        pytest.param(Commands, 1, 20, marks=SLOW),
        pytest.param(Commands, 2, 20, marks=SLOW),
    ],
)
def test_killed_at_any_moment(
    kind: type[Processes | Commands], processes: int, kills: int, one_fault: OneFault
) -> None:
    """Evenly, from before its first file to W&B's last."""
    start = time.monotonic()
    whole = kind(processes, "whole")
    assert set(whole.wait()) == {0}, whole.said()
    length, chance, run = time.monotonic() - start, random.Random(kills), Path("runs/it")
    for number in chance.sample(range(kills), kills):
        with one_fault(f"kill {number} of {kills}"):
            it = kind(processes, "it")
            time.sleep(length * (number + chance.random()) / kills)
            it.kill(chance)
            ended = not any(it.wait())
            check_pointers(run)
            if ended:
                check_ended(run, Path("runs/whole"))
                shutil.rmtree(run)
    it = kind(processes, "it")
    assert set(it.wait()) == {0}, it.said()
    check_ended(run, Path("runs/whole"))
