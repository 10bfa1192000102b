"""Grey pictures and pictures in colour, in networks of one channel and of three."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from toys import Digits

from launchbay.data import Index
from launchbay.data.colours import luminance
from launchbay.data.folder import Folder
from launchbay.data.pairs import Pairs
from launchbay.data.sources import Source

Train = Callable[..., Path]


def draw(path: str, mode: str, side: int = 32) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(path.encode())).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def by_pillow(path: str) -> Tensor:
    """The grey of a picture in colour, 1×H×W."""
    with Image.open(path) as opened:
        return torch.tensor(np.asarray(opened.convert("RGB").convert("L")))[None]


@pytest.mark.parametrize("how", [{}, {"crop": 32}, {"size": 32}, {"size": 32, "area": (1.0, 1.0)}])
def test_a_folder_is_read_in_one_channel(how: dict[str, object]) -> None:
    for number, mode in enumerate(("RGB", "L", "LA", "I;16", "P", "CMYK")):
        Path("imgs").mkdir(exist_ok=True)
        if mode == "I;16":
            Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64).save(f"imgs/{number}.png")
        else:
            draw(f"imgs/{number}.{'tif' if mode == 'CMYK' else 'png'}", mode)
    source = Source(Folder, Path("imgs"))
    for split in ("train", "val"):
        images = source(split, channels=1, **how)  # pyright: ignore[reportArgumentType]
        assert images.channels == 1
        for index in range(len(images)):
            picture = images.__getitems__([Index(index, 0)])["image"]
            assert torch.equal(picture, luminance(source.open(split).image(index)[None])), how
            if "I;16" not in (name := images.name(index)) and not name.endswith("3.png"):
                assert torch.equal(picture[0], by_pillow(name))
    assert source.describe()[1] == "3 of 6 pictures are saved in colour, and made grey (their luminance)"


def test_grey_stays_what_it_is_and_colours_become_what_pillow_makes_of_them() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(luminance(levels), levels[:, :1])
    assert torch.allclose(luminance(levels / 255), levels[:, :1] / 255, atol=1e-6)
    assert luminance(levels.double()).dtype == torch.float64


def test_inputs_of_pairs_become_grey_as_their_pictures_do() -> None:
    for number in range(4):
        draw(f"pairs/clean/{number}.png", "RGB", 64)
        draw(f"pairs/noisy/{number}.png", ("RGB", "L")[number % 2], 64)
    batch = Source(Pairs, Path("pairs"))("train", crop=64, channels=1, scale=1).__getitems__([Index(0, 0)])
    assert torch.equal(batch["image"][0], by_pillow("pairs/clean/1.png"))
    assert torch.equal(batch["input"][0], by_pillow("pairs/noisy/1.png"))


def test_what_is_grey_is_said_and_can_be_trained_in_one_channel(
    train: Train, capfd: pytest.CaptureFixture[str], launchbay: Callable[..., tuple[int, str]]
) -> None:
    """In superres, whose networks take colours unless asked; and what it makes of pictures has one channel."""
    for number in range(10):
        draw(f"imgs/{number}.png", "L", 48)
    short = ("--data", "imgs", "--steps", 1, "--patch", 24, "--batch-size", 2, "--width", 8, "--blocks", 1)
    source = Source(Folder, Path("imgs"))
    source("train", channels=3)
    assert source.describe()[1:] == []
    said = "all 9 pictures are grey, read as RGB; --channels 1 trains on one channel"
    assert source.describe(choosable=True)[1:] == [said]
    train("superres", *short, "--scale", 2, "--channels", 1)
    assert "\n  all 10 pictures are grey\n" in capfd.readouterr().out
    draw("one.png", "RGB", 20)
    assert launchbay("apply", "it", "one.png", "large.png")[0] == 0
    with Image.open("large.png") as made:
        assert made.mode == "L" and made.size == (40, 40)
    draw("more/1.png", "RGB", 48)
    draw("more/2.png", "L", 48)
    code, said = launchbay("evaluate", "it", "--val-root", "more")
    assert code == 0 and "1 of 2 pictures are saved in colour, and made grey" in said


def test_digits_are_validated_on_pictures_in_colour(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    assert Digits("val").channels == 1
    for number in range(3):
        draw(f"imgs/{number}.png", "RGB")
    options = ("--width", 8, "--model", "dncnn", "--depth", 3, "--steps", 1, "--batch-size", 2)
    train("denoise", "--data", "toys:Digits", "--val-root", "imgs", *options)
    assert "all 3 pictures are saved in colour, and made grey" in capfd.readouterr().out
