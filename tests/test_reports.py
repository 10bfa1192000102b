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
from torch.nn.functional import conv2d, conv_transpose2d, relu, silu

from launchbay.models.autoencoders import WideningAutoencoder
from launchbay.models.dcgan import Generator
from launchbay.models.unmix import Transposed
from launchbay.tasks import Batch
from launchbay.tasks.classify import Classify, ClassifyConfig
from launchbay.tasks.dcgan import DCGANConfig
from launchbay.tasks.superres import SuperResConfig, build_network

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


@torch.no_grad()
def test_the_denoising_report_has_a_decoder_that_widens() -> None:
    """8, 16, 32 maps, each twice as large as before; the last ones go through SiLU twice."""
    network, image = WideningAutoencoder(3), torch.rand(2, 3, 12, 8)
    weights = [*network.parameters()]
    maps = image
    for weight, bias in (weights[0:2], weights[2:4]):
        maps = silu(conv2d(maps, weight, bias, stride=2, padding=1))
    for channels, weight, bias in ((16, *weights[4:6]), (32, *weights[6:8])):
        maps = silu(conv_transpose2d(maps, weight, bias, stride=2, padding=1, output_padding=1))
        assert maps.shape[1] == channels
    output = conv2d(silu(maps), *weights[8:], stride=1, padding=1)
    assert maps.shape[2:] == image.shape[2:] and [*weights[4].shape] == [8, 16, 3, 3] and len(weights) == 10
    torch.testing.assert_close(network(image), output)


@torch.no_grad()
def test_the_unmixing_report_has_a_decoder_of_threes_whose_channels_rise() -> None:
    network, features = Transposed(), torch.randn(2, 512, 1, 1)
    weights = [*network.parameters()]
    assert [tuple(weight.shape) for weight in weights[::2]] == [
        (2, 16, 3, 3), (16, 32, 3, 3), (32, 64, 3, 3), (64, 3, 3, 3),
    ]  # fmt: skip
    maps = conv_transpose2d(features.view(2, 2, 16, 16), *weights[:2], stride=2, padding=1, output_padding=1)
    for place in (2, 4, 6):
        maps = conv_transpose2d(relu(maps), *weights[place : place + 2], stride=1, padding=1)
    torch.testing.assert_close(network(torch.zeros(2, 3, 32, 32), [features.expand(-1, -1, 2, 2)]), maps)


@torch.no_grad()
def test_the_superresolution_report_has_three_layers_after_a_sharp_bicubic() -> None:
    """Keys' kernel by its formula, with a = -0.75: what a line of one brighter column becomes."""
    a, scale, width = -0.75, 4, 9
    network = build_network(SuperResConfig(model="srcnn", resampling="torch"))
    assert {name.partition(".")[0] for name in network.state_dict()} == {"conv1", "conv2", "conv3"}
    image = torch.full((1, 3, width, width), 0.5)
    image[..., 4] = 0.9
    x = ((torch.arange(width * scale, dtype=torch.float64) + 0.5) / scale - 0.5 - 4).abs()
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    expected = 0.5 + 0.4 * torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    torch.testing.assert_close(network(image)[0, 1, 20].double(), expected, atol=1e-5, rtol=0)
    smoother = build_network(SuperResConfig(model="srcnn"))(image)[0, 1, 20].double()
    assert (smoother - expected).abs().max() > 0.005


def test_presgan_starts_as_its_authors_do() -> None:
    """With their weight and their noise, softplus(-1), which a step brings to between 0.01 and 0.3."""
    assert DCGANConfig().entropy == 0.01
    generator = Generator(1, 8, 5, noisy=True)
    assert generator.deviation().flatten().tolist() == pytest.approx([0.3132617] * 64)
    with torch.no_grad():
        generator.raw_deviation[0, 0] = -9.0
    generator.bound_deviation()
    assert (
        generator.deviation().min().item() == pytest.approx(0.01)
        and generator.deviation()[0, 1:].tolist() == [pytest.approx([0.3] * 8)] * 7
    )


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
