"""Nothing is unpickled but what the processes of a run send each other, and CIFAR-10's original files."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unpickled
from faults_table import OneFault
from forked import fork_processes
from test_continue import TASKS

from launchbay.data import cifar10

pytestmark = pytest.mark.fault("pickles")
LENGTH = ("--steps", 4, "--save-every", 2, "--eval-every", 2, "--batch-size", 4, "--wandb", "off")
DENOISE = ("--task", "denoise", *TASKS["denoise"], *LENGTH)
CLASSIFY = ("--task", "classify", *TASKS["classify"], *LENGTH, "--run", "judge")
VAE = ("--task", "vae", *TASKS["vae"], *LENGTH, "--judge", "runs/judge")
NAMED = ("--data", "toys:Patches")
"""What the command line has to name again to evaluate this run."""
WORKERS = ("--workers", 2)
LOG = Path("unpickled.txt")


def start(*argv: object, processes: int = 1) -> set[str]:
    """Do it. Returns between whom there were pickles."""
    LOG.write_text("")
    all_of_it = fork_processes(processes, argv, {unpickled.LOG: str(LOG.absolute())})
    assert {process.wait() for process in all_of_it} == {0}, "".join(process.said() for process in all_of_it)
    found = LOG.read_text().splitlines()
    assert not [line for line in found if line.startswith("elsewhere")], "\n".join(found)
    return {line.partition(":")[0] for line in found}


def cut_back(run: str) -> None:
    shutil.rmtree(f"runs/{run}/checkpoints/step-00000004")


def test_nothing_is_unpickled(one_fault: OneFault) -> None:
    """In training, in going on, and by what reads a run."""
    with one_fault("training, with loader workers"):
        assert start(*DENOISE, "--run", "it", *WORKERS) == {"between processes"}
    with one_fault("going on, on two processes"):
        cut_back("it")
        assert start(*DENOISE, "--run", "it", processes=2) == {"between processes"}
    for verb in ("evaluate", "export"):
        with one_fault(verb):
            assert start(verb, "runs/it", *(NAMED if verb == "evaluate" else ())) == set()
    with one_fault("--weights"):
        assert start(*DENOISE, "--run", "other", "--weights", "runs/it") == set()


@pytest.mark.slow
def test_nor_anywhere_else(one_fault: OneFault) -> None:
    for _ in range(2):
        with one_fault("training, and going on"):
            assert start(*DENOISE, "--run", "it") == set()
            cut_back("it")
    with one_fault("--resume"):
        assert start(*DENOISE, "--run", "other", "--resume", "runs/it", "--steps", 6) == set()
    with one_fault("--judge"):
        assert start(*CLASSIFY) == start(*VAE) == set()
    with one_fault("compare"):
        assert start("compare", "runs/it", "runs/it") == set()


def test_cifar10_only_as_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    file, original = Path("data_batch_1"), pickle.dumps({"data": b"", "labels": []})
    file.write_bytes(original)
    with pytest.raises(ValueError, match="data_batch_1 is not the original"):
        cifar10.read_batch(file, "0" * 64)
    monkeypatch.setattr(pickle, "loads", reached)
    with pytest.raises(ValueError, match="data_batch_1 is not the original"):
        cifar10.read_batch(file, cifar10.TRAINING["data_batch_1"])


def reached(*_: Any, **__: Any) -> Callable[..., Any]:
    raise AssertionError("it was unpickled")
