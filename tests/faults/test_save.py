"""Whatever fails while a run writes, it says why, and what was saved before is whole: the same command goes on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command, forget_accelerator
from safetensors import SafetensorError
from test_continue import assert_same

from launchbay.launch.checkpoint import storage
from launchbay.launch.train import main
from launchbay.models import checkpoints

Train = Callable[..., Path]
Mistake = Callable[..., str]
Mount = Callable[..., bool]
SLOW = pytest.mark.slow
TASK = ("--task", "toys:Single", "--steps", 4, "--save-every", 2, "--eval-every", 2, "--keep", 1, "--wandb", "off")
CALLS = {
    os: ("open", "fsync"),
    Path: ("mkdir", "rename", "replace", "write_text", "open", "iterdir"),
    shutil: ("rmtree",),
    storage: ("save_file",),
}
"""What a run writes with."""
REASONS = {ENOSPC: "No space left on device", EACCES: "Permission denied", EIO: "Input/output error"}


class Disk:
    """Counts the calls that reach the run folder; call number `bad` does half its work and fails."""

    def __init__(self, bad: int, reason: int):
        self.bad, self.reason = bad, reason
        self.calls, self.whole = 0, list[str]()

    def reached(self, arguments: tuple[Any, ...]) -> bool:
        where = [f"/proc/self/fd/{word}" if isinstance(word, int) else word for word in arguments]
        paths = [os.path.realpath(word) for word in where if isinstance(word, str | Path)]
        return any(path.startswith(f"{Path.cwd()}/runs/it") for path in paths)

    def call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if not self.reached(arguments):
            return real(*arguments, **options)
        self.calls += 1
        if self.calls != self.bad:
            return real(*arguments, **options)
        self.whole = [path.name for path in checkpoints.list_checkpoints(Path("runs/it/checkpoints"))]
        if name == "save_file":
            Path(arguments[1]).write_bytes(b"half")
            raise SafetensorError(f"Error while serializing: I/O error: {REASONS[self.reason]} (os error)")
        if name == "write_text":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        if name == "rmtree":
            next(arguments[0].iterdir()).unlink()
        raise OSError(self.reason, REASONS[self.reason])


@contextmanager
def failing(bad: int = 0, reason: int = ENOSPC) -> Generator[Disk]:
    disk = Disk(bad, reason)
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in CALLS.items():
            for name in names:
                real = getattr(owner, name)
                # A plain function, so that it becomes a method of Path.
                patch.setattr(owner, name, lambda *a, n=name, r=real, **o: disk.call(n, r, *a, **o))
        yield disk


def run(name: str) -> int:
    forget_accelerator()
    return main([*map(str, TASK), "--run", name])


def check_folder(disk: Disk) -> None:
    """What has a checkpoint's name is a whole one, also what `best` names; the newest of before is still there."""
    folder = Path("runs/it/checkpoints")
    for saved in checkpoints.list_checkpoints(folder):
        checkpoints.verify(saved)
    if (folder / "best").is_file():
        checkpoints.verify(folder / (folder / "best").read_text())
    assert not disk.whole or (folder / disk.whole[-1]).is_dir()


@pytest.mark.parametrize(
    ("every", "shift"), [(8, 0), *(pytest.param(1, shift, marks=SLOW) for shift in range(len(REASONS)))]
)
def test_any_call_that_fails(every: int, shift: int, capfd: pytest.CaptureFixture[str], record_property: Any) -> None:
    """Each call that reaches the disk, in a run that saves twice, fails once, in one of three ways."""
    assert run("whole") == 0
    with failing() as counted:
        assert run("it") == 0
    shutil.rmtree("runs/it")
    assert counted.calls > 90
    tries = range(1, counted.calls, every)  # the last one asks whether the folder was used, and may fail
    record_property("faults", len(tries))
    for bad in tries:
        reason = list(REASONS)[(bad + shift) % 3]
        capfd.readouterr()
        with failing(bad, reason) as disk:
            code = run("it")
        said = capfd.readouterr().err
        assert code == 2 and said.count("╭─ error") == 1 and REASONS[reason] in said, f"call {bad}: {said}"
        check_folder(disk)
        assert run("it") == 0
        assert_same(Path("runs/whole"), Path("runs/it"))
        assert checkpoints.find_checkpoint(Path("runs/it/checkpoints"), "best").name == "step-00000004"
        assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "done"
        shutil.rmtree("runs/it")


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
