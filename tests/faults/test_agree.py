"""Figures of the validation set are those of every sample once, on any number of processes."""

import json
from pathlib import Path

import evaluations
import pytest
from conftest import ROOT, Command
from toys import Noise


def check(found: dict[str, dict[str, float]]) -> None:
    assert len(found) == 85
    for name, figures in found.items():
        size = int(name.split()[0])
        corners = Noise(size).pixels[:, :, 0, 0].float().div(255).double()
        weights = range(1, 3 * size + 1)
        expected = {
            "mean": sum(corners[:, 0].tolist()) / size,
            "samples": size,
            "in_order": sum(weight * value for weight, value in zip(weights, corners.flatten().tolist(), strict=True)),
        }
        assert figures == pytest.approx(expected, rel=1e-12, abs=0), name


def test_every_sample_counts_once() -> None:
    """1 to 17 samples in batches of 1 to 5, on one process."""
    check(evaluations.figures())


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_sample_counts_once_on_more_processes(processes: int, accelerate: Command) -> None:
    """So it does where there are fewer samples than processes."""
    done = accelerate("multi_cpu", "--num_processes", processes, ROOT / "tests/evaluations.py")
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in range(processes):
        check(json.loads(Path(f"figures-{rank}.json").read_text()))
