"""Networks that are shared out among processes (--shard), or computed twice (--recompute)."""

import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
import torch
from conftest import ROOT, Command, difference
from safetensors.torch import load_file
from torch import nn

from launchbay.launch.checkpoint.shards import join_rows, rows_file, write_rows
from launchbay.launch.engine.blocks import find_blocks

EXACT = ("--precision", "fp64", "--steps", 20, "--log-every", 1, "--eval-every", 10, "--wandb", "off")
SUPERRES = ("--task", "superres", "--width", 8, "--blocks", 4, "--patch", 24, "--batch-size", 12, "--ema", 0.9, *EXACT)
DCGAN = (
    "--task",
    "dcgan",
    "--data",
    "toys:Digits",
    "--batch-size",
    12,
    "--dropout",
    0,
    "--spectral-norm",
    "--r1",
    1,
    *EXACT,
)
RESUMED = ((2, ("--shard",)), (1, ("--shard",)), (3, ("--shard",)), (1, ()), (2, ()), (3, ()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "resumed"), [(SUPERRES, RESUMED), (DCGAN, RESUMED[::2][:2])], ids=["superres", "dcgan"]
)
def test_a_run_that_is_shared_out_is_the_same_and_goes_on_on_any_number(
    options: tuple[object, ...], resumed: tuple[tuple[int, tuple[str, ...]], ...], accelerate: Command
) -> None:
    def launch(processes: int, name: str, *more: object) -> Path:
        script = ROOT / "launch/run.py"
        done = accelerate("multi_cpu", "--num_processes", processes, script, *options, "--run", name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        return Path("runs", name)

    whole, shared = launch(2, "whole"), launch(2, "shared", "--shard")
    assert difference(whole, shared) < 1e-9
    last = "checkpoints/step-00000020"
    assert sorted(path.name for path in (whole / last).iterdir()) == sorted(p.name for p in (shared / last).iterdir())
    for file in (whole / last).glob("*.safetensors"):
        ours, theirs = load_file(file), load_file(shared / last / file.name)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].sub(theirs[name]).abs().max() < 1e-9 for name in ours)
    for run in (whole, shared):
        for processes, more in resumed if run is shared else ((2, ("--shard",)),):
            name = f"{run.name}-on-{processes}{''.join(more)}"
            shutil.copytree(run, Path("runs", name))
            shutil.rmtree(Path("runs", name, last))
            found = difference(run, launch(processes, name, *more))
            assert found == 0 if (run, processes, more) == (shared, 2, ("--shard",)) else found < 1e-9, name


@pytest.mark.slow
@pytest.mark.parametrize("task", ["superres", "toys:Gan"])
def test_a_network_that_is_shared_out_may_be_compiled(task: str, accelerate: Command) -> None:
    small = ("--width", 8, "--blocks", 2, "--patch", 24, "--batch-size", 8, "--shown", 1) if task == "superres" else ()
    options = ("--task", task, *small, *EXACT, "--steps", 4, "--eval-every", 4)
    for name, more in (("whole", ()), ("compiled", ("--shard", "--compile"))):
        done = accelerate("multi_cpu", ROOT / "launch/run.py", *options, "--run", name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
    assert difference(Path("runs/whole"), Path("runs/compiled")) < 1e-9


def test_blocks_computed_twice_learn_the_same_bits(train: Callable[..., Path]) -> None:
    """Dropout, BatchNorm, spectral normalisation and a penalty on a gradient among them."""
    options = ("deep_toys:DeepGan", "--dropout", 0.3, "--steps", 4, "--eval-every", 4)
    files = []
    for more in ((), ("--recompute",)):
        run = train(*options, *more)
        files.append({p.name: p.read_bytes() for p in (run / "checkpoints/step-00000004").glob("*.safetensors")})
        shutil.rmtree(run)
    assert files[0] == files[1] and len(files[0]) == 4


def test_which_parts_are_blocks() -> None:
    residual = find_blocks(timm.create_model("resnet18", pretrained=False))
    assert list(residual) == [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    inside = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert list(find_blocks(nn.ModuleList([inside, nn.Linear(4, 99)]))) == ["0"]
    shared = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    shared[0].weight = inside[0].weight
    assert list(find_blocks(nn.ModuleList([inside, shared, nn.Sequential(nn.ReLU(), nn.Linear(4, 4))]))) == ["2"]
    assert find_blocks(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))) == {}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--task", "toys:Single", "--recompute"), "--recompute: no block is in model"),
        (("--task", "superres", "--recompute", "--compile"), "--recompute and --compile do not go together"),
        (("--task", "superres", "--shard", "--cuda-graphs"), "--shard and --cuda-graphs do not go together"),
    ],
)
def test_what_does_not_go_together_is_refused(argv: tuple[str, ...], said: str, mistake: Callable[..., str]) -> None:
    assert said in mistake(*argv)
    assert not list(Path().glob("runs/*/checkpoints"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("Scalar", "--shard: model.gain is a single number"),
        ("ByColumns", "--shard: Adafactor of 'model' keeps 'row_var'"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(task: str, said: str, accelerate: Command) -> None:
    argv = ("--task", f"deep_toys:{task}", "--shard", "--wandb", "off")
    done = accelerate("multi_cpu", ROOT / "launch/run.py", *argv)
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).replace("│", " ").split())


def test_rows_are_waited_for_where_a_shared_disk_shows_them_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the first process has made, and then what the others have written there."""
    folder, rows = Path("checkpoint"), {"weight": torch.arange(2.0)}
    with late(folder.mkdir):
        write_rows(folder, 1, {"model.safetensors": {"weight": torch.arange(2.0, 4)}})
    part = rows_file(folder / "model.safetensors", 1)
    part.rename("elsewhere")
    with late(lambda: Path("elsewhere").rename(part)):
        join_rows(folder / "model.safetensors", rows, {"weight": 4}, 2)
    assert load_file(folder / "model.safetensors")["weight"].tolist() == [0, 1, 2, 3] and not part.exists()
    monkeypatch.setattr("launchbay.launch.files.SECONDS_TO_APPEAR", 0.1)
    with pytest.raises(FileNotFoundError, match=part.name):
        join_rows(folder / "model.safetensors", rows, {"weight": 4}, 2)


@contextmanager
def late(action: Callable[[], object]) -> Generator[None]:
    timer = threading.Timer(0.2, action)
    timer.start()
    yield
    timer.join()
