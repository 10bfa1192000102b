"""What the reports behind the tasks show: the untrained network, as many samples as asked for, classes, totals."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, lines
from pages import DOCS, blocks, commands, options_of
from PIL import Image

from launchbay.tasks import Batch
from launchbay.tasks.classify import Classify, ClassifyConfig

Train = Callable[..., Path]
STAND_IN = {
    "mnist": "toys:Digits", "cifar10": "toys:Patches", "mixture": "toys:Digits+toys:Patches",
    "DATA/T91": "toys:Patches", "DATA/Set5": "toys:Patches",
}  # fmt: skip
"""Data of this size for those that a page names."""
SHORT = {"--steps": ["1"], "--batch-size": ["4"], "--shown": ["1"], "--precision": ["fp32"]}
ALWAYS = ("--rotate 90", "--model transposed", "--model dense", "--resampling torch")
"""Parts of commands that the default suite starts: the options that only the reports have."""
PAGE = [
    command.line
    for block in blocks(DOCS / "reports.md")
    if block.language == "bash"
    for command in commands(block)
    if "DATA" in command.line
]


def marked(line: str) -> object:
    """A command of the page; all but some are slow."""
    return pytest.param(line, marks=[] if any(part in line for part in ALWAYS) else [pytest.mark.slow])


def test_a_run_shows_the_untrained_network_and_goes_on_after_it(train: Train) -> None:
    run = train("Brighten", "--steps", 2, "--eval-every", 1, "--eval-first")
    assert [line["step"] for line in lines(run, "val")] == [0, 1, 2]
    assert (run / "samples/step-00000000.png").is_file()
    run = run.rename("first")
    saved = run / "checkpoints/step-00000000"
    other = train("Brighten", "--steps", 2, "--eval-every", 1, "--eval-first", "--resume", saved)
    assert [line["step"] for line in lines(other, "val")] == [1, 2], "the run before has shown it"
    after = [json.loads((one / "summary.json").read_text())["final"] for one in (run, other)]
    assert after[0] == after[1]


def test_several_terms_have_a_total(train: Train) -> None:
    first = lines(train("Gan", "--steps", 1), "train")[0]
    assert first["discriminator/total"] == pytest.approx(first["discriminator/real"] + first["discriminator/fake"])


def test_only_the_first_picture_is_learned_where_that_is_asked(train: Train) -> None:
    pairs = ("--data", "toys:Digits+toys:Digits", "--batch-size", 4)
    run = train("unmix", *pairs, "--steps", 1, "--second", "subtract-untrained", "--shown", 3)
    assert "model/first" in (first := lines(run, "train")[0]) and "model/second" not in first
    assert "psnr_second" in lines(run, "val")[0]
    with Image.open(run / "samples/step-00000001.png") as grid:
        assert grid.height == 26 + 3 * (128 + 6) and grid.width == 6 * (128 + 6) + 6, (
            "with the classes of both pictures"
        )


def test_half_of_the_pictures_are_turned_upside_down() -> None:
    options = {"channels": 1, "size": 8, "classes": 2, "flip": False, "shift": 0, "flip_vertically": True}
    task = Classify(ClassifyConfig(**options))  # pyright: ignore[reportArgumentType]
    images = torch.rand(400, 1, 8, 8)
    changed = task.augment(Batch({"image": images}, range(400))).image
    flipped = (changed == images.flip(-2)).flatten(1).all(dim=1)
    assert torch.equal(changed[~flipped], images[~flipped]) and 160 < flipped.sum() < 240


@pytest.mark.parametrize("line", [marked(line) for line in PAGE])
def test_each_command_of_the_page_starts(line: str, train: Train) -> None:
    Path("launch").symlink_to(ROOT / "launch")
    given = grouped(options_of(shlex.split(line)))
    task = given.pop("--task")[0]
    said = {option: [STAND_IN.get(value, value) for value in values] for option, values in given.items()}
    for option in ("--data-root", "--weights", "--epochs"):
        said.pop(option, None)
    if task == "superres":
        said["--patch"] = ["24"]
    run = train(task, *(word for option, values in (said | SHORT).items() for word in (option, *values)))
    assert json.loads((run / "summary.json").read_text())["status"] == "done"


def grouped(words: list[str]) -> dict[str, list[str]]:
    """The values of each option."""
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            found[word] = []
        else:
            found[[*found][-1]].append(word)
    return found
