"""Chains of degradations: what each operation does, how they are read, and that a sample's follow from its key."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import difference, forget_accelerator
from PIL import Image
from scipy.special import j1
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from launchbay import UserError
from launchbay.data import Index, generator
from launchbay.data.chains import Degraded, expand, one_line, parse, read_file, ready_names
from launchbay.data.decode import decode
from launchbay.data.degrade import Draw, Noise, Ringing, degrade
from launchbay.data.photos import Photos
from launchbay.data.transforms import Crops
from launchbay.launch.train import main

Train = Callable[..., Path]
Mistake = Callable[..., str]
Launchbay = Callable[..., tuple[int, str]]
FILE = Path("chain.yaml")


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return Photos("train").image(2)[:, 40:104, 60:140]


def apply(line: str, picture: Tensor, *, seed: int = 0, size: tuple[int, int] = (64, 80)) -> Tensor:
    return degrade(picture, parse([line]), Draw(generator("test", seed), size))


def test_blur_is_that_of_torchvision(photo: Tensor) -> None:
    """Inside, where the border is not seen."""
    wanted = gaussian_blur(photo.double() / 255, [13, 13], [2.0, 2.0]) * 255
    assert (apply("blur: {sigma: 2}", photo)[:, 6:-6, 6:-6] - wanted[:, 6:-6, 6:-6]).abs().max() <= 0.5 + 1e-6


def test_a_second_deviation_blurs_across_the_first() -> None:
    point = torch.zeros(1, 61, 61, dtype=torch.float64)
    point[0, 30, 30] = 1
    angles = set[float]()
    for seed in range(3):
        operation = parse(["blur: {sigma: 4, second: 1}"])[0]
        spread = operation(point, Draw(generator("test", seed), (61, 61)))[0]
        y, x = torch.meshgrid(*[torch.arange(-30.0, 31.0, dtype=torch.float64)] * 2, indexing="ij")
        moments = torch.stack([(spread * y * y).sum(), (spread * x * y).sum(), (spread * x * x).sum()])
        deviations = torch.linalg.eigvalsh(moments[[0, 1, 1, 2]].view(2, 2)).sqrt()
        assert torch.allclose(deviations, torch.tensor([1.0, 4.0], dtype=torch.float64), atol=0.08)
        angles.add(round(math.atan2(2 * moments[1], moments[2] - moments[0]), 3))
    assert len(angles) == 3


def test_ringing_is_real_esrgans_filter() -> None:
    """`circular_lowpass_kernel` of BasicSR."""
    point = torch.zeros(1, 41, 41, dtype=torch.float64)
    point[0, 20, 20] = 1
    given = Ringing(cutoff=(1.5, 1.5), size=(13, 13)).change(point, Draw(generator("test"), (41, 41)))[0, 14:27, 14:27]
    wanted = torch.tensor(
        [
            [
                1.5**2 / (4 * math.pi) if (y, x) == (6, 6) else 1.5 * j1(1.5 * r) / (2 * math.pi * r)
                for x in range(13)
                for r in [math.hypot(y - 6, x - 6)]
            ]
            for y in range(13)
        ],
        dtype=torch.float64,
    )
    assert torch.allclose(given, wanted / wanted.sum(), atol=1e-9)


def test_jpeg_is_that_of_a_file(photo: Tensor) -> None:
    Image.fromarray(photo.permute(1, 2, 0).numpy()).save("photo.jpg", quality=40)
    assert torch.equal(apply("jpeg: {quality: 40}", photo), decode(Path("photo.jpg")))
    Image.fromarray(photo[0].numpy()).save("grey.jpg", quality=40)
    assert torch.equal(apply("jpeg: {quality: 40}", photo[:1]), decode(Path("grey.jpg"))[:1])
    sizes = {apply("jpeg: {quality: [10, 90]}", photo, seed=seed).float().std().item() for seed in range(5)}
    assert len(sizes) > 3


def test_noise_is_as_strong_as_said() -> None:
    flat, draw = torch.full((3, 128, 128), 0.5, dtype=torch.float64), Draw(generator("test"), (128, 128))
    for noise, deviation in (
        (Noise(gaussian=(20, 20)), 20 / 255),
        (Noise(poisson=(1, 1)), math.sqrt(0.5 / 255)),
        (Noise(poisson=(2, 2)), 2 * math.sqrt(0.5 / 255)),
        (Noise(poisson=(1, 1), grey=1), math.sqrt(0.5 / 255)),
    ):
        added = noise.change(flat, draw) - flat
        assert abs(added.mean()) < 0.002 and abs(added.std() / deviation - 1) < 0.03
        assert torch.allclose(added[0], added[1]) == (noise.grey == 1)


def test_chances_and_orders_are_drawn() -> None:
    white, black = torch.full((1, 8, 8), 255, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    line = "one-of: [{noise: {gaussian: 255, chance: 0.25}}, {blur: {sigma: 1, chance: 0.25}}]"
    changed = sum(not torch.equal(apply(line, white, seed=n, size=(8, 8)), white) for n in range(200))
    assert 30 < changed < 75  # a quarter: nothing is seen of the blur
    checks = black.clone()
    checks[:, ::2, ::2] = 255
    line = "any-order: [{resize: {factor: 0.5, modes: area}}, {jpeg: {quality: 5}}]"
    assert len({apply(line, checks, seed=n, size=(4, 4)).numpy().tobytes() for n in range(12)}) == 2


@pytest.mark.parametrize("name", ready_names())
def test_ready_chains_follow_from_the_visit_alone(name: str) -> None:
    images = Degraded(Crops(Photos("train"), 48), expand([name]), scale=4)
    indices = [Index(number % 7, key=100 + number) for number in range(12)]
    together = images.__getitems__(indices)
    assert together["input"].shape == (12, 3, 12, 12) and together["input"].dtype == torch.uint8
    alone = [images.__getitems__([index])["input"] for index in indices]
    assert torch.equal(together["input"], torch.cat(alone))
    assert not torch.equal(images.__getitems__([Index(0, key=1)])["input"], alone[0])


def test_a_chain_comes_back_from_a_line_each() -> None:
    for name in ready_names():
        lines = expand([name])
        assert expand(lines) == lines and len(lines) > 3
    FILE.write_text("- blur: {sigma: [0.5, 2], chance: 1e-1}\n- fit: {modes: [area]}\n")
    assert read_file(FILE) == ["blur: {sigma: [0.5, 2], chance: 0.1}", "fit: {modes: [area]}"]
    assert expand(["chain.yaml", "jpeg: {quality: 30}"]) == (*read_file(FILE), "jpeg: {quality: 30}")
    assert one_line({"fit": {}}) == "fit: {}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no list of operations"),
        ("blur: {sigma: 1}", "holds no list of operations"),
        ("- blur: {sigma: 1}\n- blurr: {sigma: 1}", ":2: there is no operation 'blurr'"),
        ("- blur: {sigma: 1}\n  jpeg: {quality: 3}", ":1: an operation is one name, a colon and its settings"),
        ("- blur: {sigma: 1, width: 2}", ":1: blur has no setting 'width'"),
        ("- blur:\n    sigma: [3, 1]", ":2: blur: sigma is [3, 1], and has to be a number above 0 and at most 30, or"),
        ("- blur: {sigma: 0}", ":1: blur: sigma is 0, and"),
        ("- blur: {sigma: .nan}", ":1: blur: sigma is nan, and"),
        ("- blur: {chance: 0.5}", ":1: blur lacks sigma"),
        ("- jpeg: {quality: 0}", ":1: jpeg: quality is 0, and has to be a whole number from 1 to 100"),
        ("- jpeg: {quality: 30.5}", ":1: jpeg: quality is 30.5"),
        ("- jpeg: {quality: 30, chance: [0, 1]}", ":1: jpeg: chance is [0, 1], and has to be a number from 0 to 1"),
        ("- jpeg: 30", ":1: jpeg has settings by name: quality, chance"),
        ("- resize: {factor: 2, modes: [nearest]}", "has to be one or a list of area, bilinear, bicubic"),
        ("- noise: {grey: 1}", ":1: noise is either gaussian or poisson"),
        ("- noise: {gaussian: 1, poisson: 1}", ":1: noise is either gaussian or poisson"),
        ("- one-of: {jpeg: 1}", ":1: one-of holds a list of operations"),
        ("- one-of:\n    - jpeg: {quality: 30}", ":2: jpeg lacks chance, which one-of needs of each"),
        ("- one-of: [{jpeg: {quality: 3, chance: 0.7}}, {jpeg: {quality: 4, chance: 0.7}}]", "sum up to 1.4"),
        ("- one-of: [{fit: {}}]", ":1: one-of holds fit"),
        ("- fit: {}\n- any-order: [{fit: {}}]", "fitted twice"),
        ("- resize: {factor: 4}\n- one-of: [{resize: {factor: [1, 3], chance: 1}}]", "together enlarge up to 12 times"),
        ("- jpeg: {quality: 3, quality: 4}", "not valid YAML: a key that is there twice"),
    ],
)
def test_a_wrong_chain_is_named_with_its_line(text: str, said: str) -> None:
    FILE.write_text(text)
    with pytest.raises(UserError) as raised:
        expand([str(FILE)])
    assert said in raised.value.message and raised.value.hint


def test_what_is_no_chain_is_named(mistake: Mistake) -> None:
    said = mistake("--task", "reconstruct", "--degrade", "lihgt", "--steps", 1)
    assert "--degrade lihgt: there is no such chain or file → name a ready one (light, real-esrgan)" in said
    said = mistake("--task", "reconstruct", "--degrade", "none.yaml")
    assert "cannot read none.yaml: No such file" in said and "or a ready chain (light, real-esrgan)" in said
    assert "change nothing with --degrade" in mistake("--task", "denoise", "--degrade", "light", "--sigma", 0.2)


def test_a_run_keeps_its_chain_and_goes_on_bit_for_bit(train: Train, mistake: Mistake, launchbay: Launchbay) -> None:
    FILE.write_text("- blur: {sigma: [0.5, 2]}\n- jpeg: {quality: [30, 90]}\n")
    options: tuple[Any, ...] = (
        "--steps",
        4,
        "--batch-size",
        4,
        "--log-every",
        1,
        "--patch",
        24,
        "--eval-every",
        4,
        "--degrade",
        FILE,
    )
    whole = train("reconstruct", *options).rename("whole")
    forget_accelerator()
    argv = ("--task", "reconstruct", "--run", "it", "--wandb", "off", "--max-time", "0.001s", *options)
    assert main(list(map(str, argv))) == 75
    FILE.write_text("- blur: {sigma: [0.5, 3]}\n- jpeg: {quality: [30, 90]}\n")
    assert "degrade" in mistake("--task", "reconstruct", "--run", "it", "--wandb", "off", *options)
    FILE.unlink()
    again = train("reconstruct", "--config", "runs/it/config.yaml", "--max-time", "1h", "--workers", 1)
    assert difference(whole, again) == 0
    code, said = launchbay("evaluate", "it")
    assert code == 0, said
