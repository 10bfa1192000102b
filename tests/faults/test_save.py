"""Whatever fails while a run writes, it says why, and what was saved before is whole: the same command goes on."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial, partialmethod
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command, forget_accelerator
from faults_table import OneFault
from forked import fork_processes
from safetensors.torch import load_file
from test_continue import assert_same

from launchbay.launch.checkpoint import storage
from launchbay.launch.record import progress, tracking
from launchbay.launch.train import main
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


SAVES = ("--steps", 6, "--save-every", 1, "--eval-every", 3, "--keep", 2)
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


@pytest.mark.fault("saver")
@pytest.mark.parametrize("error", [MemoryError("no room for a copy"), RuntimeError("a bug")])
@pytest.mark.parametrize("where", ["save_file", "fingerprint", "delete_old"])
def test_whatever_fails_in_the_saver_ends_the_run_in_good_order(
    where: str, error: Exception, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """It is named, the summary says that the run failed, observers are closed, and the same command goes on."""
    whole, closed = train("Single", *SAVES).rename("runs/whole"), list[str]()

    def close(self: tracking.Observer, real: Callable[[tracking.Observer], None]) -> None:
        closed.append(type(self).__name__)
        real(self)

    for kind in (tracking.Record, progress.Outcome):
        monkeypatch.setattr(kind, "close", partialmethod(close, kind.close))
    with monkeypatch.context() as patch:
        real, calls = getattr(storage, where), count()

        def fail(*arguments: Any) -> Any:
            if next(calls) == 4:
                raise error
            return real(*arguments)

        patch.setattr(storage, where, fail)
        forget_accelerator()
        code = main(["--task", "toys:Single", *map(str, SAVES), "--run", "it", "--wandb", "off"])
    said = capfd.readouterr().err
    assert code == (1 if isinstance(error, RuntimeError) else 2) and str(error) in said and said.count("╭─") == 1, said
    assert sorted(closed) == ["Outcome", "Record"]
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "failed"
    for saved in checkpoints.list_checkpoints(Path("runs/it/checkpoints")):
        checkpoints.verify(saved)
    train("Single", *SAVES)
    assert_same(whole, Path("runs/it"))


@pytest.mark.fault("numbers")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_weights_that_would_become_no_numbers_are_never_saved(processes: int, one_fault: OneFault) -> None:
    """A gradient that is nan while the loss is finite, in the middle of a training."""
    argv = ("--task", "wrong_toys:Infinite", *SAVES, "--run", "it", "--wandb", "off")
    with one_fault("a gradient that is nan"):
        all_of_it = fork_processes(processes, argv)
        codes, said = [process.wait() for process in all_of_it], "".join(process.said() for process in all_of_it)
        assert set(codes) == {2} and said.count("╭─ error") == 1 and "not finite at step 6" in said, said
        saved = checkpoints.list_checkpoints(Path("runs/it/checkpoints"))
        assert saved and saved[-1].name <= "step-00000005"
        for file in saved[-1].glob("*.safetensors"):
            assert all(tensor.isfinite().all() for tensor in load_file(file).values())
