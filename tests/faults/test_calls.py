"""Any file call may be the one that fails, the last one before a kill, or before a power cut. All that a run makes are
held for that, in Python, in libraries, in each thread: see system_calls.py.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EACCES, EIO, ENOSPC, EROFS
from pathlib import Path
from signal import SIGKILL

import pytest
import system_calls
from conftest import forget_accelerator
from faults_table import OneFault
from forked import Forked
from platter import Platter
from system_calls import Call
from test_continue import assert_same

from launchbay.launch.record.tracking import read_record
from launchbay.launch.train import main
from launchbay.models import checkpoints

pytestmark = pytest.mark.skipif(not system_calls.can_hold_calls(), reason="file calls are held on Linux on x86-64 only")
SLOW = pytest.mark.slow
TASK = ("--task", "toys:Gan", "--ema", 0.9, "--steps", 4, "--save-every", 2, "--eval-every", 2, "--keep", 1)
OPTIONS = (*TASK, "--wandb", "off")
REASONS = {
    ENOSPC: "No space left on device",
    EIO: "Input/output error",
    EROFS: "Read-only file system",
    EACCES: "Permission denied",
}
UNHEARD = re.compile(r"/logs/|/curves\.png|/\.lock$|/runs/it(/samples|/checkpoints)?$")
"""What a run does without: what it logs, curves that can be drawn again from the record, a clean lock at its end, and a
look for what killed processes have left."""


def in_run(call: Call) -> bool:
    """It reaches the run folder. A folder that is there already may be asked for."""
    inside = any(path.startswith(f"{Path.cwd()}/runs") for path in call.paths)
    return inside and not (call.name.startswith("mkdir") and Path(call.paths[0]).is_dir())


def run(name: str) -> int:
    """In this process."""
    forget_accelerator()
    return main([*map(str, OPTIONS), "--run", name])


def count_calls(options: tuple[object, ...] = OPTIONS) -> int:
    """Of a run that nothing happens to."""
    calls: list[Call] = []
    whole = Forked([*options, "--run", "whole"], held=True)
    whole.hold(lambda call: calls.append(call) or 0 if in_run(call) else 0)
    assert whole.wait() == 0, whole.said()
    return len(calls)


def check_folder(before: list[Path]) -> None:
    """What has a checkpoint's name is a whole one, also what `best` names; the newest of `before` is still there, or a
    newer one."""
    folder = Path("runs/it/checkpoints")
    after = checkpoints.list_checkpoints(folder)
    for saved in after:
        checkpoints.verify(saved)
    if (folder / "best").is_file():
        checkpoints.verify(folder / (folder / "best").read_text())
    assert not before or after[-1].name >= before[-1].name


def check_it_goes_on(pictures: int = 2) -> None:
    """The same command ends as if nothing had happened."""
    assert run("it") == 0
    assert_same(Path("runs/whole"), Path("runs/it"))
    for name in ("best", "last"):
        assert checkpoints.find_checkpoint(Path("runs/it/checkpoints"), name).name == "step-00000004"
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "done"
    assert len(list(Path("runs/it/samples").glob("step-*.png"))) >= pictures
    shutil.rmtree("runs/it")


class Nth:
    """At call number `bad` of a run, do `action`."""

    def __init__(self, bad: int, action: Callable[[Call], int]):
        self.bad, self.action = bad, action
        self.count, self.before = 0, list[Path]()
        self.call = Call(0, "", (), ())

    def decide(self, call: Call) -> int:
        self.count += in_run(call)
        if not in_run(call) or self.count != self.bad:
            return 0
        self.call, self.before = call, checkpoints.list_checkpoints(Path("runs/it/checkpoints"))
        return self.action(call)


@pytest.mark.fault("file calls")
@pytest.mark.parametrize(
    ("every", "shift"), [(61, 0), *(pytest.param(1, shift, marks=SLOW) for shift in range(len(REASONS)))]
)
def test_any_call_that_fails(every: int, shift: int, one_fault: OneFault) -> None:
    """It says why, with exit code 2, unless it can do without."""
    for bad in range(1, count_calls() + 1, every):
        reason = list(REASONS)[(bad + shift) % len(REASONS)]
        nth = Nth(bad, lambda _, reason=reason: reason)
        with one_fault(f"call {bad}, {REASONS[reason]}"):
            shutil.rmtree("runs/it", ignore_errors=True)
            it = Forked([*OPTIONS, "--run", "it"], held=True)
            it.hold(nth.decide)
            code = it.wait()
            if nth.call.name:  # the last ones of one run are not always there in another
                check_reason(code, it.said(), REASONS[reason], nth.call)
            check_folder(nth.before)
            check_it_goes_on()


def check_reason(code: int, said: str, reason: str, call: Call) -> None:
    where = f"{call.name} {' '.join(call.paths)}: {said}"
    assert "Traceback" not in said, where
    if code:
        assert code == 2 and said.count("╭─ error") == 1 and reason in said, where
    else:
        assert reason in said or UNHEARD.search(call.paths[-1]), where
        assert_same(Path("runs/whole"), Path("runs/it"))


@SLOW
@pytest.mark.fault("file calls")
def test_any_call_of_wandb_that_fails(one_fault: OneFault) -> None:
    """Every ninth, of its own process and its own files: the run comes to its end all the same."""
    calls: list[Call] = []
    whole = Forked([*TASK, "--run", "whole", "--wandb", "offline"], held=True)
    whole.hold(lambda call: calls.append(call) or 0 if in_wandb(call) else 0)
    assert whole.wait() == 0 and len(calls) > 100, whole.said()
    for bad in range(1, len(calls), 9):
        with one_fault(f"call {bad}"):
            shutil.rmtree("runs/it", ignore_errors=True)
            left = iter(range(bad, 0, -1))
            it = Forked([*TASK, "--run", "it", "--wandb", "offline"], held=True)
            it.hold(lambda call, left=left: ENOSPC if in_wandb(call) and next(left, 0) == 1 else 0)
            assert it.wait() == 0 and "Traceback" not in it.said(), it.said()
            assert_same(Path("runs/whole"), Path("runs/it"))


def in_wandb(call: Call) -> bool:
    return in_run(call) and "/it/wandb" in call.paths[-1].replace("/whole/", "/it/")


@pytest.mark.fault("file calls")
def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(
    mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run would begin again."""
    assert run("it") == 0
    real, record = Path.iterdir, Path("runs/it/metrics.jsonl").read_bytes()

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "checkpoints":
            raise PermissionError(EACCES, REASONS[EACCES])
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "cannot read runs/it/checkpoints: Permission denied" in mistake(*TASK, "--run", "it", "--steps", 6)
    assert Path("runs/it/metrics.jsonl").read_bytes() == record


@pytest.mark.fault("kills")
@pytest.mark.parametrize("every", [53, pytest.param(1, marks=SLOW)])
def test_killed_at_any_file_call(every: int, one_fault: OneFault) -> None:
    """What it writes then is half written."""
    for bad in range(1, count_calls() + 1, every):
        with one_fault(f"call {bad}"):
            shutil.rmtree("runs/it", ignore_errors=True)
            it = Forked([*OPTIONS, "--run", "it"], held=True)
            nth = Nth(bad, lambda call, it=it: write_half(call) or it.send(SIGKILL) or 0)
            it.hold(nth.decide)
            assert it.wait() == -SIGKILL
            check_folder(nth.before)
            check_it_goes_on()


def write_half(call: Call) -> None:
    if call.name != "write":
        return
    facts = Path(f"/proc/{call.thread}/fdinfo/{call.arguments[0]}").read_text().split()
    place, flags = int(facts[1]), int(facts[3], 8)
    with Path(f"/proc/{call.thread}/fd/{call.arguments[0]}").open("r+b", buffering=0) as file:
        file.seek(*((0, os.SEEK_END) if flags & os.O_APPEND else (place, os.SEEK_SET)))
        file.write(call.written()[: call.arguments[2] // 2])


HOW = ("old", "cut", "zeros")
"""What a power cut may leave: see Platter."""


@pytest.mark.fault("power cuts")
@pytest.mark.parametrize("every", [107, pytest.param(1, marks=SLOW)])
def test_a_power_cut_at_any_file_call(every: int, one_fault: OneFault, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not synced is gone. A checkpoint that was there once is there for good, with the record up to it."""
    Path("runs").mkdir()
    platter, kept, calls = Platter(Path("runs").absolute()), [0], list[Call]()

    def decide(call: Call) -> int:
        if not in_run(call):
            return 0
        if call.name in ("fsync", "fdatasync"):  # nothing else changes what is there for sure
            platter.note(call)
            platter.leave(Path("now"), "old")
            kept.append(max(steps_kept(Path("now/it")), default=0))
            shutil.rmtree("now")
        calls.append(call)
        if len(calls) % every == 0:
            for how in HOW:
                platter.leave(Path(f"cuts/{len(calls)}-{how}/runs"), how)
        platter.note(call)
        return 0

    whole = Forked([*OPTIONS, "--run", "it"], held=True)
    whole.hold(decide)
    assert whole.wait() == 0, whole.said()
    for how in HOW:
        platter.leave(Path(f"cuts/end-{how}/runs"), how)
    with one_fault("what was kept is lost"):
        assert kept == sorted(kept) and kept[-1] == 4
    Path("runs/it").rename("runs/whole")
    for cut in sorted(Path("cuts").iterdir()):
        with one_fault(cut.name), monkeypatch.context() as patch:
            shutil.copytree("runs/whole", cut / "runs/whole")
            patch.chdir(cut)
            check_it_goes_on(pictures=0)  # they are not synced


def steps_kept(run: Path) -> list[int]:
    """The steps of the checkpoints that are whole, and whose steps the record has."""
    recorded = {line["step"] for line in read_record(run) if line["split"] == "train"}
    steps = []
    for checkpoint in checkpoints.list_checkpoints(run / "checkpoints"):
        with suppress(checkpoints.DamagedCheckpoint):
            checkpoints.verify(checkpoint)
            steps.append(int(checkpoint.name.removeprefix("step-")))
    return [step for step in steps if recorded >= set(range(1, step + 1))]
