"""`launchbay compare`: two runs are the same, or it is said where they first part and what they were made with."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import lines
from PIL import Image
from safetensors.numpy import load_file

from launchbay.launch.commands import compare

Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]


@pytest.fixture
def twins(train: Train) -> tuple[Path, Path]:
    """A run of four steps with a checkpoint of each, and its copy."""
    run = train("Single", "--steps", 4, "--save-every", 1, "--eval-every", 2, "--keep", 9)
    return run, Path(shutil.copytree(run, "runs/copy"))


def rewrite(twins: tuple[Path, Path], change: Callable[[dict[str, Any]], Any]) -> None:
    """Give the copy the changed lines of the run; those that become None are left out."""
    changed = [change(line) for line in lines(twins[0])]
    (twins[1] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed if line))


def test_the_same_command_twice(train: Train, launchbay: Verb) -> None:
    run = train("Gan", "--ema", 0.9).rename("runs/once")
    code, said = launchbay("compare", run, train("Gan", "--ema", 0.9))
    tensors = sum(len(load_file(file)) for file in run.glob("checkpoints/step-*/*.safetensors"))
    assert "options, data, versions, hardware and number of processes are the same" in said
    assert code == 0 and f"the runs are the same: {len(lines(run))} lines, {tensors} tensors" in said


def test_a_reader_that_goes_away_is_no_difference(twins: tuple[Path, Path]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from launchbay.launch.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "compare", *twins]
    assert subprocess.run(command, stdout=writing, timeout=100, check=False).returncode == 0
    os.close(writing)


def test_other_options_may_learn_the_same(train: Train, launchbay: Verb) -> None:
    run = train("Single").rename("runs/once")
    code, said = launchbay("compare", run, train("Single", "--max-time", "1h", "--output-dir", "runs"))
    assert code == 0 and "--max-time None 1h" in said and "--output-dir" not in said
    assert "what they learned is the same: 4 lines" in said


def test_where_two_runs_part(twins: tuple[Path, Path], train: Train, launchbay: Verb) -> None:
    """The learning rate falls to its end, so that a longer run is another one from its second step on."""
    shorter, longer = twins[1], Path("runs/longer")
    train("Single", "--steps", 6, "--save-every", 1, "--eval-every", 2, "--keep", 9, "--run", "longer")
    rates = [line["lr"] for run in (shorter, longer) for line in lines(run, "train") if line["step"] == 2]
    code, said = launchbay("compare", shorter, longer)
    assert code == 1 and "--steps 4 6" in said
    assert (
        "the records first differ at step 2 (train); of 6 lines in both, 5 differ: figure runs/copy runs/longer" in said
    )
    assert f"lr {rates[0]} {rates[1]} 0." in said
    assert "only runs/longer has 3 of its 9 lines, first at step 5, last at step 6" in said
    assert "the newest checkpoints are step-00000004 in runs/copy, step-00000006 in runs/longer" in said
    weights = [load_file(run / "checkpoints/step-00000002/model.safetensors")["bias"] for run in (shorter, longer)]
    distance = f"{np.abs(weights[0].astype(float) - weights[1]).max():.2g}"
    assert "the checkpoints first differ at step-00000002: 2 of 8 tensors differ, by name first" in said
    assert f"model.safetensors: bias, by at most {distance}" in said


def test_what_a_run_was_made_with(twins: tuple[Path, Path], launchbay: Verb) -> None:
    run, copy = twins
    summary = json.loads((copy / "summary.json").read_text())
    summary["versions"]["torch"] = "2.11.0"
    (copy / "summary.json").write_text(json.dumps({**summary, "world_size": 8, "device": "cuda:0", "threads": 16}))
    code, said = launchbay("compare", run, copy)
    assert code == 0 and "processes 1 8 device cpu cuda:0 threads 1 16 torch" in said and "2.11.0 what they" in said


def test_other_pictures_under_the_same_name(train: Train, launchbay: Verb) -> None:
    Path("pictures").mkdir()
    for run, brightness in (("one", 0), ("two", 9)):
        for number in range(10):
            pixels = np.full((48, 48, 3), 20 * number + brightness, dtype=np.uint8)
            Image.fromarray(pixels).save(f"pictures/{number}.png")
        options = ("--data", "folder", "--data-root", "pictures", "--steps", 1, "--patch", 16, "--batch-size", 2)
        train("reconstruct", *options).rename(f"runs/{run}")
    code, said = launchbay("compare", "runs/one", "runs/two")
    assert code == 1 and "the training and validation pictures are not the same" in said
    assert "made with" not in said


def test_records(twins: tuple[Path, Path], launchbay: Verb) -> None:
    def only(split: str, **figures: object) -> Callable[[dict[str, Any]], Any]:
        return lambda line: line | (figures if line["split"] == split else {})

    cases = [
        (only("train", samples_per_s=1), 0, "the runs are the same: 6 lines"),
        (
            lambda line: line if line["step"] < 4 else None,
            1,
            "only runs/it has 2 of its 6 lines, first at step 4, last",
        ),
        (only("val", fid=1.0), 1, "only runs/copy has fid (val)"),
        (only("val", error=None), 1, "the records first differ at step 2 (val); of 6 lines in both, 2 differ"),
    ]
    for change, expected_code, expected in cases:
        rewrite(twins, change)
        code, said = launchbay("compare", *twins)
        assert code == expected_code and expected in said
        assert code == 0 or "the checkpoints are the same: 32 tensors" in said


def test_a_line_that_is_there_twice_is_a_difference(twins: tuple[Path, Path], launchbay: Verb) -> None:
    record = twins[1] / "metrics.jsonl"
    record.write_text(record.read_text() + record.read_text().splitlines()[-1] + "\n")
    code, said = launchbay("compare", *twins)
    assert code == 1 and "in another order, or more than once" in said


def test_other_networks(twins: tuple[Path, Path], train: Train, launchbay: Verb) -> None:
    train("Tied", "--steps", 4, "--run", "deeper")
    code, said = launchbay("compare", twins[1], "runs/deeper")
    assert code == 1 and "--task toys:Single toys:Tied" in said
    assert "model.safetensors: 0.bias, which only runs/deeper has" in said


def test_a_damaged_checkpoint_is_named_and_the_rest_compared(twins: tuple[Path, Path], launchbay: Verb) -> None:
    file = twins[1] / "checkpoints/step-00000003/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, said = launchbay("compare", *twins)
    assert code == 2 and "not all could be compared: runs/copy/checkpoints/step-00000003: model.safetensors is" in said
    rewrite(twins, lambda line: line | {"epoch": 0.5})
    code, said = launchbay("compare", *twins)
    assert code == 1 and "not compared: runs/copy/checkpoints/step-00000003" in said and "same: 24 tensors" in said


def test_a_run_without_checkpoints(twins: tuple[Path, Path], launchbay: Verb) -> None:
    shutil.rmtree(twins[1] / "checkpoints")
    code, said = launchbay("compare", *twins)
    assert code == 2 and "not all could be compared: runs/copy has no checkpoint" in said


def test_what_is_no_run(twins: tuple[Path, Path], launchbay: Verb) -> None:
    code, said = launchbay("compare", twins[0], "runs")
    assert code == 2 and "runs is not a run folder" in said


def test_what_cannot_be_found_out_is_no_difference(
    twins: tuple[Path, Path], launchbay: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A summary or lines that are damaged, a bug of ours: exit code 2, never 1."""
    for name, damage in (("summary.json", b"[" * 9999), ("metrics.jsonl", b"[1]\n")):
        file = twins[1] / name
        whole = file.read_bytes()
        file.write_bytes(damage + (whole if name == "metrics.jsonl" else b""))
        code, said = launchbay("compare", *twins)
        assert code == 2 and "not all could be compared" in said and f"runs/copy/{name}" in said
        assert f"→ put back {name} as the run wrote it" in said
        file.write_bytes(whole)
    monkeypatch.setattr(compare, "compare_records", lambda *_: 1 / 0)
    code, said = launchbay("compare", *twins)
    assert code == 2 and "ZeroDivisionError" in said


def test_steps_are_compared_as_numbers(twins: tuple[Path, Path], launchbay: Verb) -> None:
    for run, step in zip(twins, ("step-99999999", "step-100000000"), strict=True):
        shutil.copytree(run / "checkpoints/step-00000004", run / "checkpoints" / step)
    assert (
        "the newest checkpoints are step-99999999 in runs/it, step-100000000 in runs/copy"
        in launchbay("compare", *twins)[1]
    )
