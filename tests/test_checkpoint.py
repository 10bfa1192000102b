"""Checkpoints: exact, whole or absent, verified before use, and without pickle."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, saved_state
from safetensors.torch import load_file
from torch import nn

from launchbay import UserError
from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.storage import TrainedState
from launchbay.launch.checkpoint.writer import Saver
from launchbay.models import checkpoints

TEMPLATES = ROOT / "launch/commands/templates"
NAMING = (
    "data/cifar10.py", "data/workers.py", "launch/check/options.py", "models/inception.py", "models/weights.py",
)  # fmt: skip
PICKLES = {ROOT / file for file in NAMING} | set(TEMPLATES.rglob("tests/*.py"))
"""Files that may name pickle: CIFAR-10's own files are some; a data set is pickled on its way to a loader worker, an
error on its way back; files of weights of others are read as tensors alone."""
FILES = ("model.safetensors", "optimizers.safetensors", "state.json", "manifest.json")


def tied() -> nn.Sequential:
    """With channels last, as the engine places networks."""
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    network[2].weight = network[0].weight
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def trained(steps: int = 3) -> tuple[nn.Sequential, torch.optim.AdamW]:
    torch.manual_seed(0)
    network = tied()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(steps):
        network(torch.randn(8, 4, 5, 5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


def save(folder: Path, step: int, *, best: bool = False, keep: int = 3) -> Path:
    network, optimizer = trained()
    saver = Saver(folder, TrainedState(nn.Module(), {"model": network}, {}, {"model": optimizer}), keep)
    saver.save(step, saved_state(step), best=best)
    saver.finish()
    return folder / f"step-{step:08d}"


def test_weights_come_back_tied_and_equal() -> None:
    where = save(Path("c"), 1)
    assert checkpoints.verify(where).task == "toy"
    network, again = trained()[0], tied()
    checkpoints.load_weights(checkpoints.OpenedCheckpoint(where), {"model": again})
    for (name, tensor), other in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert again[0].weight is again[2].weight


def test_optimizer_state_is_named_after_parameters() -> None:
    where = save(Path("c"), 1)
    network, optimizer = trained()
    tensors = load_file(where / "optimizers.safetensors")
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(tensors[f"model.{name}.{key}"], value)
    (group,) = json.loads((where / "state.json").read_text())["optimizers"]["model"]["groups"]
    assert group["lr"] == 0.1 and group["betas"] == [0.9, 0.999]
    assert group["params"] == [f"model.{name}" for name, _ in network.named_parameters()]


def test_exported_weights_need_nothing_of_ours() -> None:
    network = trained()[0]
    save(Path("c"), 1)
    tensors = load_file("c/step-00000001/model.safetensors")
    assert torch.equal(tensors["3.running_mean"], network.state_dict()["3.running_mean"])


def test_old_ones_go_but_never_the_last_or_the_best() -> None:
    for step in range(1, 7):
        save(Path("c"), step, best=step == 2, keep=2)
    assert [path.name for path in checkpoints.list_checkpoints(Path("c"))] == [
        "step-00000002",
        "step-00000005",
        "step-00000006",
    ]
    assert checkpoints.find_checkpoint(Path("c"), "best").name == "step-00000002"
    assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000006"


def test_a_damaged_later_one_is_not_kept_instead() -> None:
    (save(Path("c"), 3) / "state.json").unlink()
    save(Path("c"), 2, keep=1)
    assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000002"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["first", "middle", "last", "cut", "empty", "longer", "gone"])
def test_damage_is_found_and_the_one_before_is_taken(
    file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save(Path("c"), 1)
    where = save(Path("c"), 2)
    path = where / file
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        if damage in ("first", "middle", "last"):
            content[{"first": 0, "middle": len(content) // 2, "last": -1}[damage]] ^= 1
        changed = {"cut": content[:-1], "empty": b"", "longer": content + b"x"}.get(damage, content)
        path.write_bytes(changed)
    with pytest.raises(checkpoints.DamagedCheckpoint, match=file):
        checkpoints.verify(where)
    assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000001"
    assert capsys.readouterr().out.count("damaged checkpoint") == 1


def test_when_all_are_damaged_that_is_said() -> None:
    (save(Path("c"), 1) / "state.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint in c is intact"):
        checkpoints.find_checkpoint(Path("c"), "last")


def test_a_failed_save_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    save(Path("c"), 1)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(Path("c"), 2)
    assert sorted(path.name for path in Path("c").iterdir()) == ["last", "step-00000001"]
    assert checkpoints.find_checkpoint(Path("c"), "last").name == "step-00000001"


def test_a_full_disk_is_a_mistake_with_a_name(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save_file", full)
    assert "cannot save the checkpoint of step 1: [Errno 28] No space left" in mistake("--task", "toys:Single")


@pytest.mark.slow
def test_killed_at_any_moment_the_newest_whole_one_is_found() -> None:
    """A process saves as fast as it can and is killed: whatever has a checkpoint's name is whole."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); from test_checkpoint import save_for_ever; save_for_ever()"
    for wait in (0.02, 0.1, 0.3):
        process = subprocess.Popen([sys.executable, "-c", script, ROOT / "tests"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for where in checkpoints.list_checkpoints(Path("c")):
            checkpoints.verify(where)
        # Killed between the two, the newest has its name and `last` still names the one before.
        assert checkpoints.find_checkpoint(Path("c"), "last") in checkpoints.list_checkpoints(Path("c"))[-2:]
        shutil.rmtree("c")


def save_for_ever() -> None:
    for step in range(1, 100_000):
        save(Path("c"), step)
        if step == 1:
            print("begun", flush=True)


def test_nothing_reads_or_writes_pickle() -> None:
    for folder in ("launch", "tasks", "models", "data"):
        for path in set((ROOT / folder).rglob("*.py")) - PICKLES:
            code = ast.unparse(without_docstrings(ast.parse(path.read_text())))
            assert not any(word in code for word in ("pickle", "torch.load", "torch.save")), path


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", [])
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return tree
