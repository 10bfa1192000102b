"""How often a run validates, and what a person sees of long work."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import forget_accelerator, lines
from rich.console import Console
from toys import Noise

from launchbay.launch.config.options import OptimizationOptions
from launchbay.launch.engine import interval
from launchbay.launch.engine.interval import eval_every
from launchbay.launch.record.progress import Bar, Lines
from launchbay.launch.train import main

Train = Callable[..., Path]
SUMMARY = {
    "best_by": "psnr", "final": {"psnr": 26.25}, "baseline": {"psnr": 24.5}, "baseline_name": "noisy",
    "best": {"psnr": 26.5, "step": 40},
}  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "validation", "networks", "expected"),
    [
        (3, 2000, 1, 1),  # a trial: at its end only
        (8000, 2000, 1, 6),  # 98 million pixels are learnt from, a validation costs as much as 1.5 million
        (8000, 2000, 2, 10),  # two networks learn from each pixel
        (8000, 20_000, 1, 3),
        (40_000, 2000, 1, 10),
    ],
)
def test_validations_are_at_most_a_tenth_of_the_work(steps: int, validation: int, networks: int, expected: int) -> None:
    """However few they are, the last step has one."""
    every = eval_every(steps, networks, OptimizationOptions(batch_size=64), Noise(12), {"": Noise(validation)})
    assert [step % every == 0 or step == steps for step in range(1, steps + 1)].count(True) == expected
    work, cost = 3 * networks * steps * 64 * 64, 1.5 * validation * 64 + 1_300_000
    assert expected == 1 or expected * cost <= 0.1 * work


def test_where_a_run_validates(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps in one go and in two; as asked, where it is asked."""
    monkeypatch.setattr(interval, "DRAWN", 0)
    at = [line["step"] for line in lines(train("Single", "--steps", 20), "val")]
    assert at == [7, 14, 20]
    Path("runs/it").rename("runs/once")
    forget_accelerator()
    assert (
        main(["--task", "toys:Single", "--run", "it", "--steps", "20", "--max-time", "0.001s", "--wandb", "off"]) == 75
    )
    assert [line["step"] for line in lines(train("Single", "--steps", 20), "val")] == at
    Path("runs/it").rename("runs/twice")
    assert [line["step"] for line in lines(train("Single", "--steps", 6, "--eval-every", 2), "val")] == [2, 4, 6]


def test_the_bar_has_the_figure_its_baseline_and_the_best_one() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    bar = Bar(0, 100, float("inf"), console)
    try:
        bar.phase("evaluate", 0.25)
        assert bar.bar.tasks[1].percentage == 25
        assert bar.bar.tasks[1].description == "validating"
        bar.phase("gallery", None)
        assert bar.bar.tasks[1].description == "drawing the gallery" and bar.bar.tasks[1].total is None
        bar.summary(SUMMARY)
        assert bar.bar.tasks[0].fields["val"] == "psnr 26.25  noisy 24.5  best 26.5 at 40"
        assert len(bar.bar.tasks) == 1
    finally:
        bar.close()


def test_a_long_validation_says_how_far_it_is_where_there_is_no_terminal() -> None:
    console = Console(file=(output := io.StringIO()), width=100)
    shown = Lines(0, 100, float("inf"), console)
    shown.step(50)
    shown.phase("evaluate", 0.25)
    assert output.getvalue() == ""
    shown.last -= 11
    shown.phase("evaluate", 0.5)
    shown.phase("evaluate", 0.75)
    assert output.getvalue() == "step 50/100  validating 50%\n"
