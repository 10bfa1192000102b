"""Whatever fails while a run writes, it says why, and what was saved before is whole: the same command goes on."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, Command
from test_continue import assert_same

from launchbay.models import checkpoints

Train = Callable[..., Path]
Mistake = Callable[..., str]
Mount = Callable[..., bool]
SLOW = pytest.mark.slow
TASK = ("--task", "toys:Single", "--steps", 4, "--save-every", 2, "--eval-every", 2, "--keep", 1, "--wandb", "off")


@pytest.fixture
def disk() -> Iterator[Mount]:
    """A disk of its own for runs/: call it with mount's options, again to change them."""
    Path("runs").mkdir()

    def mount(options: str, *, again: bool = True) -> bool:
        argv = ["mount", "-t", "tmpfs", "-o", f"remount,{options}" if again else options, "tmpfs", "runs"]
        return subprocess.run(argv, capture_output=True, check=again).returncode == 0

    if sys.platform != "linux" or not mount("size=1m", again=False):
        pytest.skip("only root may mount a small disk")
    yield mount
    subprocess.run(["umount", "runs"], check=True)


def check_full(output: str) -> None:
    assert output.count("╭─ error") == 1 and "No space left on device" in output, output
    saved = checkpoints.list_checkpoints(Path("runs/it/checkpoints"))
    for each in saved:
        checkpoints.verify(each)
    assert [int(each.name[5:]) for each in saved] == list(range(1, len(saved) + 1))
    assert not list(Path("runs/it/checkpoints").glob(".tmp-step-*"))


FILLS = ("--steps", 12, "--save-every", 1, "--eval-every", 4, "--keep", 99)


def test_a_disk_that_is_full(disk: Mount, train: Train, mistake: Mistake) -> None:
    """Too small for the lock, for the record, for a later checkpoint; then there is room again."""
    whole = Path(shutil.move(train("Single", *FILLS), "whole"))
    reached = []
    for kilobytes in (4, 24, 200):
        disk(f"size={kilobytes}k")
        check_full(mistake("--task", "toys:Single", "--run", "it", *FILLS))
        reached.append(len(checkpoints.list_checkpoints(Path("runs/it/checkpoints"))))
    assert reached[0] == 0 < reached[-1] < 12
    disk("size=9m")
    train("Single", *FILLS)
    assert_same(whole, Path("runs/it"))


@SLOW
def test_a_disk_that_is_full_under_two_processes(disk: Mount, accelerate: Command) -> None:
    """Both end, one of them says why."""
    start = partial(accelerate, "multi_cpu", ROOT / "launch/run.py", *TASK, *FILLS, "--run", "it")
    disk("size=200k")
    done = start()
    assert done.returncode != 0
    check_full(done.stderr.partition("Traceback")[0])  # what follows is the launcher's
    assert checkpoints.list_checkpoints(Path("runs/it/checkpoints"))
    disk("size=9m")
    done = start()
    assert done.returncode == 0 and "continues from step" in done.stdout, done.stderr


def test_an_output_folder_that_is_read_only(disk: Mount, train: Train, mistake: Mistake) -> None:
    """A new run, and one that would go on, are refused before training starts; so is a path below a file."""
    train("Single", *FILLS, "--steps", 6)
    disk("ro")
    for name in ("it", "other"):
        said = mistake("--task", "toys:Single", *FILLS, "--run", name)
        assert "Read-only file system" in said and "step 1/" not in said
    disk("rw")
    train("Single", *FILLS, "--steps", 6)
    said = mistake("--task", "toys:Single", "--output-dir", "runs/it/config.yaml/deeper")
    assert "cannot make a run folder in runs/it/config.yaml/deeper: Not a directory" in said
