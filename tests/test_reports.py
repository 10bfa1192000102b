"""What the reports behind the tasks show: the untrained network, as many samples as asked for, classes, totals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import lines
from PIL import Image

Train = Callable[..., Path]
PAIRS = ("--data", "toys:Digits+toys:Patches", "--batch-size", 4)


def test_a_run_shows_the_untrained_network_and_goes_on_after_it(train: Train) -> None:
    run = train("unmix", *PAIRS, "--steps", 2, "--eval-every", 1, "--eval-first")
    assert [line["step"] for line in lines(run, "val")] == [0, 1, 2]
    assert (run / "samples/step-00000000.png").is_file()
    run = run.rename("first")
    saved = run / "checkpoints/step-00000000"
    other = train("unmix", *PAIRS, "--steps", 2, "--eval-every", 1, "--eval-first", "--resume", saved)
    assert [line["step"] for line in lines(other, "val")] == [1, 2], "the run before has shown it"
    after = [json.loads((one / "summary.json").read_text())["final"] for one in (run, other)]
    assert after[0] == after[1]


def test_several_terms_have_a_total(train: Train) -> None:
    first = lines(train("unmix", *PAIRS, "--steps", 1), "train")[0]
    assert first["model/total"] == pytest.approx(first["model/first"] + first["model/second"])


def test_only_the_first_picture_is_learned_where_that_is_asked(train: Train) -> None:
    pairs = ("--data", "toys:Digits+toys:Digits", "--batch-size", 4)
    run = train("unmix", *pairs, "--steps", 1, "--second", "subtract-untrained", "--shown", 3)
    assert "model/first" in (first := lines(run, "train")[0]) and "model/second" not in first
    assert "psnr_second" in lines(run, "val")[0]
    with Image.open(run / "samples/step-00000001.png") as grid:
        assert grid.height == 26 + 3 * (128 + 6) and grid.width == 6 * (128 + 6) + 6, (
            "with the classes of both pictures"
        )
