"""What goes wrong around a run: clocks, data that vanish or change, workers that are killed, odd names."""

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import ROOT, Command, forget_accelerator, lines
from PIL import Image
from test_continue import assert_same

from launchbay.data import files
from launchbay.launch.record import tracking
from launchbay.launch.record.lock import start_of
from launchbay.launch.train import main
from launchbay.models import checkpoints

Train = Callable[..., Path]
Mistake = Callable[..., str]
SLOW = pytest.mark.slow
# Where there is one core for two workers:
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
PICTURES = ("--data", "folder", "--data-root", "pictures", "--patch", 16, "--model", "conv4", "--width", 4)
LENGTH = ("--steps", 30, "--save-every", 2, "--eval-every", 30, "--batch-size", 4, "--log-every", 1)
DENOISE = (*PICTURES, *LENGTH)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve photographs of different sizes, of which each is decoded anew whenever it is needed."""
    monkeypatch.setattr(files, "KEEP_BYTES", 0)
    Path("pictures").mkdir()
    for number in range(12):
        draw(Path(f"pictures/{number:02}.png"), 20 + number)
    return Path("pictures")


def draw(file: Path, side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something at a step of the next run, from within; once."""

    def at_step(step: int, action: Callable[[], Any]) -> None:
        real = tracking.Record.line

        def line(record: tracking.Record, line: tracking.Line) -> None:
            real(record, line)
            if line["step"] == step:
                monkeypatch.setattr(tracking.Record, "line", real)
                action()

        monkeypatch.setattr(tracking.Record, "line", line)

    return at_step


@pytest.mark.parametrize("hours", [1, -1, 24 * 365, -24 * 365])
def test_a_clock_that_is_set_while_it_trains(
    hours: int, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So far at each look: neither --max-time, nor the speed, nor what is left, nor the watch goes by it."""
    options = ("--steps", 8, "--eval-every", 4, "--max-time", "10m", "--stuck-after", "10m")
    whole = train("Dropout", *options).rename("runs/whole")
    looks, real = count(1), (time.time, time.time_ns)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real[0]() + 3600 * hours * next(looks))
        patch.setattr(time, "time_ns", lambda: real[1]() + 3600 * hours * next(looks) * 10**9)
        train("Dropout", *options)
    said = capfd.readouterr()
    assert "no progress" not in said.err and "day" not in said.out and "-1" not in said.out
    assert_same(whole, Path("runs/it"))
    seconds = json.loads(Path("runs/it/summary.json").read_text())["seconds"]
    assert 0 <= seconds < 600 and all(line["samples_per_s"] > 0 for line in lines(Path("runs/it"), "train"))


def test_a_clock_that_goes_on_counts_for_max_time(train: Train, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The one that nobody sets, `time.monotonic`: a minute at each look. Then the run goes on."""
    options = ("--steps", 50, "--save-every", 50, "--eval-every", 50)
    whole = train("Dropout", *options).rename("runs/whole")
    minutes, real = count(), time.monotonic
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: real() + 60 * next(minutes))
        forget_accelerator()
        assert main(["--task", "toys:Dropout", *map(str, options), "--run", "it", "--max-time", "30m"]) == 75
    assert "--max-time is over: stopped after step" in capfd.readouterr().err
    train("Dropout", *options)
    assert_same(whole, Path("runs/it"))


def test_a_clock_that_goes_backwards(train: Train, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """An hour each time that somebody looks; and the newest checkpoint has the oldest files."""
    options = ("--steps", 8, "--save-every", 2, "--eval-every", 4, "--keep", 9)
    whole = train("Dropout", *options).rename("runs/whole")
    with monkeypatch.context() as patch:
        hours = count(0, -3600)
        patch.setattr(time, "time", lambda: next(hours) + 1e9)
        train("Dropout", *options, "--steps", 8)
        last = Path("runs/it/checkpoints/step-00000008")
        for file in last.iterdir():
            file.unlink()
        last.rmdir()
        for age, saved in enumerate(checkpoints.list_checkpoints(last.parent)):
            for path in (saved, *saved.iterdir()):
                os.utime(path, (1e9 - age, 1e9 - age))
        train("Dropout", *options)
    assert "continues from step 6" in capfd.readouterr().out
    assert_same(whole, Path("runs/it"))


@pytest.mark.parametrize(("change", "workers"), [("gone", 0), ("gone", 2), ("cut short", 2), ("another size", 0)])
def test_a_picture_that_changes_while_it_trains(
    *, workers: int, change: str, pictures: Path, train: Train, mistake: Mistake, at_step: Any, capfd: Any
) -> None:
    """It is named, and once it is back the run goes on to the same end."""
    whole = train("denoise", *DENOISE).rename("runs/whole")
    picture, copy = pictures / "07.png", Path("copy.png")
    copy.write_bytes(picture.read_bytes())
    damage = {
        "gone": picture.unlink,
        "cut short": lambda: picture.write_bytes(copy.read_bytes()[:600]),
        "another size": lambda: draw(picture, 10),
    }
    at_step(7, damage[change])
    said = mistake("--task", "denoise", *DENOISE, "--run", "it", "--workers", workers)
    assert "pictures/07.png" in said
    step = checkpoints.verify(checkpoints.newest_checkpoint(Path("runs/it/checkpoints"))).step
    assert 6 <= step < 30
    picture.write_bytes(copy.read_bytes())
    train("denoise", *DENOISE, "--workers", workers)
    assert f"continues from step {step}" in capfd.readouterr().out
    assert_same(whole, Path("runs/it"))


def test_a_disk_without_locks_keeps_others_out_by_name(
    train: Train, mistake: Mistake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    lock = train("Single", "--steps", 2) / ".lock"
    assert "is on a disk without locks (No locks available)" in capfd.readouterr().out
    assert not lock.read_text(), "nobody is in it any more"
    again = ("--task", "toys:Single", "--run", "it", "--steps", 4)
    here, began = platform.node(), start_of(os.getpid())
    lock.write_text(f"{os.getpid()} on {here} since {began}")
    assert f"is in use by process {os.getpid()} on {here}" in mistake(*again)
    lock.write_text("42 on elsewhere since 1")
    assert "in use by process 42 on elsewhere, or was when that was killed" in mistake(*again)
    lock.write_text(f"{os.getpid()} on {here} since 1")  # that has ended: this is another process of its number
    train("Single", "--steps", 4)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=SLOW)])
def test_loader_workers_change_no_bit(workers: int, pictures: Path, train: Train) -> None:
    """Photographs of different sizes, decoded by the workers, at random crops."""
    alone = train("denoise", *DENOISE).rename("runs/alone")
    assert_same(alone, train("denoise", *DENOISE, "--workers", workers))


def test_a_loader_worker_that_is_killed(pictures: Path, train: Train, at_step: Any, capfd: Any) -> None:
    """As the kernel does when memory runs out."""
    whole = train("denoise", *DENOISE).rename("runs/whole")
    before = psutil.Process().children()
    at_step(7, lambda: [child.kill() for child in psutil.Process().children() if child not in before])
    arguments = [*map(str, DENOISE), "--workers", "2", "--wandb", "off"]
    forget_accelerator()
    assert main(["--task", "denoise", "--run", "it", *arguments]) != 0
    said = capfd.readouterr().err
    assert said.count("╭") == 1 and "DataLoader worker" in said and "Traceback" not in said, said
    assert checkpoints.verify(checkpoints.newest_checkpoint(Path("runs/it/checkpoints"))).step >= 6
    train("denoise", *DENOISE)
    assert_same(whole, Path("runs/it"))


@pytest.mark.slow
def test_odd_names_and_another_language(train: Train, command: Command) -> None:
    """Spaces and accents in paths, the locale C, and an accelerate configuration of somebody else."""
    home = Path("hf/accelerate")
    home.mkdir(parents=True)
    (home / "default_config.yaml").write_text("use_cpu: false\nmixed_precision: fp16\nnum_processes: 7\n")
    where = ("--output-dir", "mes réseaux à moi", "--run", "été nº 1", "--steps", 2)
    train("Single", *where)
    argv = ("--task", "toys:Single", "--wandb", "off", *where, "--steps", 4)
    done = command(sys.executable, ROOT / "launch/run.py", *argv, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "continues from step 2" in done.stdout
    assert lines(Path("mes réseaux à moi/été nº 1"))[-1]["step"] == 4
