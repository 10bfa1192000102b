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
WORKERS = ("--workers", 2)
LOG = Path("unpickled.txt")


def start(*argv: object, processes: int = 1) -> set[str]:
    """Do it. Returns between whom there were pickles."""
    LOG.write_text("")
    all_of_it = fork_processes(processes, argv, **{unpickled.LOG: str(LOG.absolute())})
    assert {process.wait() for process in all_of_it} == {0}, "".join(process.said() for process in all_of_it)
    found = LOG.read_text().splitlines()
    assert not [line for line in found if line.startswith("elsewhere")], "\n".join(found)
    return {line.partition(":")[0] for line in found}


def cut_back(run: str) -> None:
    shutil.rmtree(f"runs/{run}/checkpoints/step-00000004")


def test_nothing_is_unpickled(one_fault: OneFault) -> None:
    """In training, in going on, and by all that read a run."""
    with one_fault("training"):
        assert start(*DENOISE, "--run", "it") == set()
    with one_fault("going on"):
        cut_back("it")
        assert start(*DENOISE, "--run", "it") == set()
    with one_fault("loader workers"):
        cut_back("it")
        assert start(*DENOISE, "--run", "it", *WORKERS) == {"between processes"}
    with one_fault("two processes"):
        cut_back("it")
        assert start(*DENOISE, "--run", "it", processes=2) == {"between processes"}
    for name in ("--resume", "--weights"):
        with one_fault(name):
            assert start(*DENOISE, "--run", name.strip("-"), name, "runs/it", "--steps", 6) == set()
    with one_fault("--judge"):
        assert start(*CLASSIFY) == start(*VAE) == set()
    verbs = (("evaluate", "runs/it"), ("export", "runs/it"), ("compare", "runs/it", "runs/it"))
    for verb, *rest in verbs:
        with one_fault(verb):
            assert start(verb, *rest) == set()


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
