"""What a run shows of its record: curves, pictures, and the W&B run that the environment asks for."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import DRAW_CURVES, forget_accelerator, lines
from matplotlib.figure import Figure
from PIL import Image, ImageFont

from launchbay import UserError
from launchbay.launch.record import curves
from launchbay.launch.record.curves import MOST_POINTS, smooth, thin
from launchbay.launch.record.wandb_mode import wanted_mode
from launchbay.launch.train import main

Train = Callable[..., Path]


def test_curves_are_means_of_windows() -> None:
    """Also of small values behind a large one; and of a million in an instant."""
    chance = Random(0)
    for count in (1, 2, 39, 40, 41, 79, 80, 500, 1234):
        values = [chance.random() * 10 ** chance.randint(-12, 12) for _ in range(count)]
        half = count // 40
        windows = [values[max(0, place - half) : place + half + 1] for place in range(count)]
        assert smooth(np.array(values)).tolist() == pytest.approx([sum(w) / len(w) for w in windows], rel=1e-12, abs=0)
    assert smooth(np.ones(1_000_000)).tolist() == [1.0] * 1_000_000


def test_a_curve_of_many_points_keeps_its_extremes_and_ends() -> None:
    values = np.array([Random(place).random() for place in range(50_000)])
    steps = np.arange(50_000) * 3
    shown, thinned = thin(steps, values)
    assert len(shown) <= MOST_POINTS + 2 and shown[0] == 0 and shown[-1] == steps[-1]
    assert all(first < second for first, second in pairwise(shown.tolist()))
    assert thinned.tolist() == values[shown // 3].tolist()
    assert thinned.min() == values.min() and thinned.max() == values.max()
    assert thin(steps[:MOST_POINTS], values[:MOST_POINTS])[0].tolist() == steps[:MOST_POINTS].tolist()


def fail(*_: object, **__: object) -> None:
    raise MemoryError("no room for it")


def font(*_: object) -> None:
    raise OSError("cannot open resource")


@pytest.mark.parametrize(
    ("owner", "name", "broken", "said"),
    [
        (ImageFont, "load_default", font, "pictures are left out: OSError: cannot open resource"),
        (Image.Image, "save", fail, "pictures are left out: MemoryError: no room for it"),
        (Figure, "savefig", fail, "runs/it/curves.png cannot be drawn: MemoryError: no room for it"),
    ],
)
def test_pictures_that_cannot_be_drawn_end_no_training(
    *, owner: object, name: str, broken: Any, said: str, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(curves, "draw_curves", DRAW_CURVES)
    monkeypatch.setattr(owner, name, broken)
    run = train("Sets", "--steps", 4, "--eval-every", 2)
    assert capfd.readouterr().out.count(said) == 1
    assert len(lines(run, "val")) == 2 and json.loads((run / "summary.json").read_text())["status"] == "done"
    assert (run / "curves.png").exists() is (owner is ImageFont)  # matplotlib saves with Pillow
    assert not [*run.rglob(".tmp-*")]


@pytest.mark.parametrize(
    ("option", "environment", "mode", "said"),
    [
        (None, {}, "offline", []),
        (None, {"WANDB_MODE": "", "WANDB_DISABLED": "false"}, "offline", []),
        (None, {"WANDB_MODE": "online"}, "online", ["W&B is online: WANDB_MODE=online"]),
        (None, {"WANDB_MODE": "dryrun"}, "offline", []),
        (None, {"WANDB_MODE": "disabled"}, "off", ["W&B is off: WANDB_MODE=disabled"]),
        (None, {"WANDB_MODE": "online", "WANDB_DISABLED": "True"}, "off", ["W&B is off: WANDB_DISABLED=True"]),
        ("offline", {"WANDB_MODE": "online"}, "offline", ["WANDB_MODE=online is not used: --wandb offline"]),
        ("online", {"WANDB_DISABLED": "1"}, "online", ["WANDB_DISABLED=1 is not used: --wandb online"]),
        ("off", {"WANDB_MODE": "shared", "WANDB_DIR": "x"}, "off", ["WANDB_MODE=shared is not used: --wandb off"]),
        (None, {"WANDB_CONSOLE": "off", "WANDB_SILENT": "True", "WANDB_RESUME": "allow"}, "offline", []),
        (None, {"WANDB_SWEEP_ID": "s", "WANDB_DIR": "x"}, "online", ["W&B is online: WANDB_SWEEP_ID=s"]),
        (None, {"WANDB_SWEEP_ID": "s", "WANDB_MODE": "offline"}, "offline", []),
        (None, {"WANDB_DIR": "x"}, "offline", ["WANDB_DIR=x is not used: W&B's files are in the run folder"]),
    ],
)
def test_where_the_mode_of_wandb_comes_from(
    option: str | None, environment: dict[str, str], mode: str, said: list[str]
) -> None:
    assert wanted_mode(option, environment) == (mode, said)


def test_a_mode_that_wandb_has_not() -> None:
    with pytest.raises(UserError, match=r"WANDB_MODE=onlin is not one of .*; did you mean 'online'"):
        wanted_mode(None, {"WANDB_MODE": "onlin"})


@pytest.mark.slow
def test_the_environment_of_wandb_is_respected(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """A run that goes on keeps its id."""
    asked = {"PROJECT": "mine", "ENTITY": "us", "NAME": "first", "TAGS": "a,b", "RUN_GROUP": "g", "NOTES": "why"}
    for name, value in {**asked, "JOB_TYPE": "t", "RUN_ID": "chosen-1", "DIR": "elsewhere", "RESUME": "must"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = wandb_run_of("--steps", "2")
    said = capfd.readouterr().out
    assert (
        "WANDB_DIR=elsewhere is not used" in said
        and "WANDB_RESUME=must is not used" in said
        and not Path("elsewhere").exists()
    )
    assert (run["project"], run["entity"], run["display_name"], run["run_id"]) == ("mine", "us", "first", "chosen-1")
    assert (run["tags"], run["run_group"], run["notes"], run["job_type"]) == (["a", "b"], "g", "why", "t")
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    assert wandb_run_of("--steps", "4")["run_id"] == "chosen-1"
    assert "WANDB_RUN_ID=another is not used: the W&B run of this run is chosen-1" in capfd.readouterr().out


def wandb_run_of(*options: str) -> dict[str, Any]:
    """Train, without --wandb. What the newest part of the W&B run says of it."""
    forget_accelerator()
    assert main(["--task", "toys:Single", "--run", "it", *options]) == 0
    (*_, part) = sorted(Path("runs/it").glob("wandb/offline-run-*"))
    reader = (sys.executable, "-m", "wandb", "leet", "inspect", str(part), "--json")
    records = map(json.loads, subprocess.run(reader, capture_output=True, text=True, check=True).stdout.splitlines())
    return next(record["run"] for record in records if record["type"] == "run")


def test_a_mode_of_the_environment_turns_wandb_off(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["--task", "toys:Single", "--run", "it", "--steps", "2"]) == 0
    assert not Path("runs/it/wandb").exists() and not Path("runs/it/wandb_id").exists()
    assert "W&B is off: WANDB_MODE=disabled" in capfd.readouterr().out


def test_the_process_of_a_tracker_brings_in_nothing_large() -> None:
    modules = "[name for name in ('torch', 'pydantic', 'matplotlib', 'PIL') if name in sys.modules]"
    code = f"import sys, launchbay.launch.record.tracker_writer; print({modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
