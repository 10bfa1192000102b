"""Pictures that are trained on and reported: found also where they are not the same file."""

import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest
import torch
from conftest import ROOT
from PIL import Image

from launchbay.data import Folder, Glyphs
from launchbay.data.overlap import find_alike
from launchbay.data.photos import Photos
from launchbay.data.resident import Resident

Train = Callable[..., Path]


def save(name: str, index: int, *, side: int = 96, suffix: str = ".png", mirrored: bool = False) -> None:
    pixels = Photos("train").image(index)[:, :256, :256].permute(1, 2, 0).numpy()
    path = Path(name) / f"{index}{suffix}"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels[:, :: -1 if mirrored else 1]).resize((side, side)).save(path)


def test_a_picture_is_found_at_another_size_and_in_another_format(
    train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        save("training", index)
    save("training", 2, side=80, suffix=".webp")
    save("validation", 5)
    save("validation", 2, side=69, suffix=".jpg")
    assert find_alike(Folder("all", Path("validation")), Folder("all", Path("training"))) == [(0, 2), (0, 3)]
    folders = ("--data", "folder", "--data-root", "training", "--val-root", "validation")
    train("superres", *folders, "--steps", 1, "--model", "espcn")
    said = " ".join(capfd.readouterr().out.split())
    assert "validation pictures that are trained on: 1, such as" in said and "2.jpg" in said


def test_the_command_compares_all_of_two_folders_also_mirrored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(3):
        save("training", index)
    save("validation", 1, side=69, suffix=".jpg", mirrored=True)
    save("validation", 5)
    monkeypatch.setattr(sys, "argv", ["overlap.py", "validation", "training"])
    run_path(str(ROOT / "benchmarks/overlap.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert said.split("\n")[0] == "validation/1.jpg  training/1.png"
    assert "1 of 2 × 3 pictures of validation and training are alike" in said


def test_pictures_of_one_kind_are_not_the_same() -> None:
    assert not find_alike(Photos("val"), Photos("train"))
    assert not find_alike(Glyphs("val"), Glyphs("train"), budget=1e6)
    digits = Glyphs("val")
    again = Resident(torch.cat([digits.pixels[7:8], digits.pixels[3:4]]), torch.zeros(2), ("0",))
    assert find_alike(again, digits) == [(0, 7), (1, 3)]
