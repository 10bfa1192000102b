"""Whatever fails while a run writes, it says why, and what was saved before is whole: the same command goes on."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from conftest import forget_accelerator
from safetensors import SafetensorError
from test_continue import assert_same

from launchbay.launch import checkpoint, curves
from launchbay.launch.train import main

SLOW = pytest.mark.slow
TASK = ("--task", "toys:Single", "--steps", 4, "--save-every", 2, "--eval-every", 2, "--keep", 1, "--wandb", "off")
CALLS = {
    os: ("open", "fsync"),
    Path: ("mkdir", "rename", "replace", "write_text", "open", "iterdir"),
    shutil: ("rmtree",),
    checkpoint: ("save_file", "save_model"),
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
        self.whole = [path.name for path in checkpoint.steps(Path("runs/it/checkpoints"))]
        if name in ("save_file", "save_model"):
            Path(arguments[1]).write_bytes(b"half")
            raise SafetensorError(f"Error while serializing: I/O error: {REASONS[self.reason]} (os error)")
        if name == "write_text":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        if name == "rmtree":
            next(arguments[0].iterdir()).unlink()
        raise OSError(self.reason, REASONS[self.reason])


@contextmanager
def failing(bad: int = 0, reason: int = ENOSPC) -> Iterator[Disk]:
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
    for saved in checkpoint.steps(folder):
        checkpoint.verify(saved)
    if (folder / "best").is_file():
        checkpoint.verify(folder / (folder / "best").read_text())
    assert not disk.whole or (folder / disk.whole[-1]).is_dir()


@pytest.mark.parametrize(
    ("every", "shift"), [(8, 0), *(pytest.param(1, shift, marks=SLOW) for shift in range(len(REASONS)))]
)
def test_any_call_that_fails(
    every: int, shift: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each call that reaches the disk, in a run that saves twice, fails once, in one of three ways."""
    monkeypatch.setattr(curves, "draw", lambda *_: None)  # takes most of the time
    assert run("whole") == 0
    with failing() as counted:
        assert run("it") == 0
    shutil.rmtree("runs/it")
    assert counted.calls > 90
    for bad in range(1, counted.calls + 1, every):
        reason = list(REASONS)[(bad + shift) % 3]
        capfd.readouterr()
        with failing(bad, reason) as disk:
            code = run("it")
        said = capfd.readouterr().err
        assert code == 2 and said.count("╭─ error") == 1 and REASONS[reason] in said, f"call {bad}: {said}"
        check_folder(disk)
        assert run("it") == 0
        assert_same(Path("runs/whole"), Path("runs/it"))
        assert checkpoint.find(Path("runs/it/checkpoints"), "best").name == "step-00000004"
        assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "done"
        shutil.rmtree("runs/it")
