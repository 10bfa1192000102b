"""The one reader of run folders: `runs`, `compare`, the report and Python show what it reads."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import lines

from launchbay.launch.record.reader import read_run_folder


@pytest.fixture
def sets(train: Callable[..., Path]) -> Path:
    """A run with two validation sets."""
    return train("Sets", "--steps", 4, "--eval-every", 2)


def test_all_of_a_run_is_read(sets: Path) -> None:
    run = read_run_folder(sets)
    assert (run.name, run.status, run.task, run.damage) == ("it", "done", "toys:Sets", "")
    assert run.options["steps"] == 4 and "run" not in run.own_options
    last = lines(sets, "val")[-1]
    figures = run.figures("last")
    assert figures.own and all(last[name] == value for name, value in figures.own.items())
    assert run.summary and run.summary.versions["torch"] and run.summary.final == figures.own
    for title, curves in run.curves().items():
        for label, curve in curves.items():
            split, name = ("train", label) if title == "training loss" else ("val", title)
            name = f"baseline/{name}" if label == run.baseline_name else name
            assert curve.values.tolist() == [line[name] for line in lines(sets, split)], (title, label)
    pictures = run.pictures()
    assert list(pictures) == [0, 2, 4]
    assert sorted(file for found in pictures.values() for file in found.values()) == sorted(
        sets.rglob("samples/**/*.png")
    )
    assert all(name.endswith("/samples") for name in pictures[2])


def test_what_is_odd_in_a_run_is_left_out_aloud(sets: Path) -> None:
    (sets / "samples/step-00000002.png").symlink_to("/etc/hostname")
    (sets / "samples/notes.png").write_bytes(b"")
    with (sets / "metrics.jsonl").open("a") as file:
        file.write("what?\n")
    said = list[str]()
    run = read_run_folder(sets, "mine")
    assert run.curves(said.append) and "damaged, and left out: 1 line" in said[0]
    assert run.name == "mine" and "samples" not in run.pictures()[2]
    (sets / "summary.json").write_text(json.dumps({"status": 3}))
    run = read_run_folder(sets)
    assert run.status == "damaged" and "summary.json" in run.damage and run.options["steps"] == 4
    assert not run.figures().own and run.best() is None


def test_reading_runs_needs_no_torch() -> None:
    check = "import sys; import launchbay.launch.commands.runs; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
