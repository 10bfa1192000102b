"""`--data pairs`: what belongs together by its names, and tasks that take given inputs in place of made ones."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from launchbay import UserError
from launchbay.data import Index, LoadOptions
from launchbay.data.decode import decode
from launchbay.data.folder import Folder
from launchbay.data.held_out import split
from launchbay.data.loader import TrainingOrder, samples
from launchbay.data.mixture import pair
from launchbay.data.pairs import Pairs
from launchbay.data.partners import find_partners
from launchbay.data.sources import Source
from launchbay.data.unsuitable import UnsuitablePictures
from launchbay.launch.commands.compare import compare

Train = Callable[..., Path]
Mistake = Callable[..., str]
Verb = Callable[..., tuple[int, str]]


def draw(name: str, width: int = 48, height: int = 36, shade: int = 0) -> None:
    """Write a picture whose grey levels say where each pixel is: across in red, down in green."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns, rows, np.full_like(rows, shade)], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def draw_pairs(
    root: str, count: int = 12, scale: int = 1, low: str = "low/{:02}.png", high: str = "high/{:02}.png"
) -> None:
    for number in range(count):
        width, height = 48 + 4 * number, 36
        draw(f"{root}/{high.format(number)}", width, height, number)
        draw(f"{root}/{low.format(number)}", width // scale, height // scale, number)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ("low/1.jpg high/1.png", {0: "high/1.png low/1.jpg"}),
        ("Noisy/a/1.png clean/a/1.png Noisy/b/1.png clean/b/1.png",
         {0: "clean/a/1.png Noisy/a/1.png clean/b/1.png Noisy/b/1.png"}),
        ("Set5/HR/baby.png Set5/LR_bicubic/X4/babyx4.png", {4: "Set5/HR/baby.png Set5/LR_bicubic/X4/babyx4.png"}),
        ("D_train_HR/0001.png D_train_LR_bicubic/X2/0001x2.png D_train_LR_bicubic/X4/0001x4.png",
         {2: "D_train_HR/0001.png D_train_LR_bicubic/X2/0001x2.png",
          4: "D_train_HR/0001.png D_train_LR_bicubic/X4/0001x4.png"}),
        ("image_SRF_2/i_SRF_2_HR.png image_SRF_2/i_SRF_2_LR.png image_SRF_4/i_SRF_4_HR.png image_SRF_4/i_SRF_4_LR.png",
         {2: "image_SRF_2/i_SRF_2_HR.png image_SRF_2/i_SRF_2_LR.png",
          4: "image_SRF_4/i_SRF_4_HR.png image_SRF_4/i_SRF_4_LR.png"}),
        ("01/01_GT_SRGB_010.png 01/01_NOISY_SRGB_010.png", {0: "01/01_GT_SRGB_010.png 01/01_NOISY_SRGB_010.png"}),
        ("train/GOPR1/blur/1.png train/GOPR1/sharp/1.png", {0: "train/GOPR1/sharp/1.png train/GOPR1/blur/1.png"}),
        ("noisy/box_x2.png clean/box_x2.png", {0: "clean/box_x2.png noisy/box_x2.png"}),
        ("images/dark_cat.jpg masks/dark_cat.png", {0: "images/dark_cat.jpg masks/dark_cat.png"}),
        ("cat.jpg cat_mask.png", {0: "cat.jpg cat_mask.png"}),
    ],
)  # fmt: skip
def test_names_say_what_belongs_together(names: str, pairs: dict[int, str]) -> None:
    found = find_partners(names.split())
    assert found is not None and not found.problems
    assert {scale: [name for pair in both for name in pair] for scale, both in found.pairs.items()} == {
        scale: both.split() for scale, both in pairs.items()
    }


def test_names_that_say_nothing_are_refused() -> None:
    draw("imgs/A/1.png")
    draw("imgs/B/1.png")
    with pytest.raises(UserError, match="imgs does not say what belongs together: it has A, B"):
        Pairs("train", Path("imgs"))
    with pytest.raises(UserError, match="--data pairs does not say which"):
        Pairs("train", None)


def test_a_folder_of_pairs_taken_for_others_is_told(mistake: Mistake) -> None:
    draw_pairs("imgs/train")
    source = Source(Folder, Path("imgs"))
    source.open("train")
    assert source.describe()[0].endswith("; if these are pairs: --data pairs --data-root imgs")
    for number in range(8):
        draw(f"sr/DIV2K_train_HR/{number}.png", 80, 80)
        draw(f"sr/DIV2K_train_LR_bicubic/X4/{number}x4.png", 20, 20)
        draw(f"no/high/{number}.png", 80, 80)
        draw(f"no/low/1{number}.png", 20, 20)
    said = mistake("--task", "superres", "--data", "sr")
    assert "→ if these are pairs: --data pairs --data-root sr; otherwise choose smaller crops with --patch" in said
    assert "pairs" not in mistake("--task", "superres", "--data", "no")


def test_all_that_makes_no_pair_is_told_at_once(mistake: Mistake) -> None:
    draw_pairs("imgs")
    draw("imgs/low/alone.png")
    draw("imgs/high/lone.png")
    draw("imgs/low/03.jpg", 60)
    Path("imgs/high/02.png").write_bytes(b"no picture")
    draw("imgs/low/05.png", 7, 5)
    said = mistake("--task", "denoise", "--data", "pairs", "--data-root", "imgs")
    for line in (
        "imgs has 5 pictures that make no pair",
        "low/alone.png has no partner",
        "high/lone.png has no partner",
        "high/03.png has 2 candidates: low/03.jpg, low/03.png",
        "high/02.png: Pillow does not recognise",
        "high/05.png has 68×36 pixels, low/05.png 7×5, which is not as large",
    ):
        assert line in said


def load(root: str, split: str, **how: int) -> tuple[Source, dict[str, torch.Tensor]]:
    source = Source(Pairs, Path(root))
    options: LoadOptions = {**how}  # pyright: ignore[reportAssignmentType]
    images = source(split, **options)
    order = TrainingOrder(size=len(images), batch_size=1 if "multiple" in how else 8, steps=range(2), seed=3)
    batch, _ = samples(images, order, workers=0, device=torch.device("cpu"))
    return source, batch.values


@pytest.mark.parametrize("scale", [1, 3])
def test_both_are_cut_at_one_place(scale: int) -> None:
    """Where a pixel is says its colour; blue says which picture it is of."""
    draw_pairs("imgs", scale=scale)
    source, values = load("imgs", "train", crop=12, scale=scale)
    image, low = values["image"], values["input"]
    assert image.shape == (8, 3, 12, 12) and low.shape == (8, 3, 12 // scale, 12 // scale)
    assert torch.equal(image[:, :2, ::scale, ::scale], low[:, :2] * scale)
    assert torch.equal(image[:, 2, ::scale, ::scale], low[:, 2])
    assert len({(int(at[0, 0, 0]), int(at[1, 0, 0])) for at in image}) > 4, "at another place each time"
    smaller = ", 3 times smaller" if scale == 3 else ""
    cut = "; 8 cut to a multiple of 3 pixels" if scale == 3 else ""
    source.open("val")
    assert source.describe() == [f"imgs: pairs, high/ with inputs from low/{smaller}: 10 to train, 2 to validate{cut}"]
    _, whole = load("imgs", "val", multiple=2, scale=scale)
    assert whole["image"].shape[-2:] == tuple(scale * length for length in whole["input"].shape[-2:])
    assert not any(length % 2 for length in whole["image"].shape[-2:])


def test_of_several_scales_the_tasks_is_taken() -> None:
    for scale in (2, 4):
        draw_pairs("imgs", 4, scale, f"X_train_LR_bicubic/X{scale}/{{:02}}x{scale}.png", "X_train_HR/{:02}.png")
        draw_pairs("imgs", 2, scale, f"X_valid_LR_bicubic/X{scale}/8{{:02}}x{scale}.png", "X_valid_HR/8{:02}.png")
    for scale in (2, 4):
        source, values = load("imgs", "train", crop=8, scale=scale)
        assert values["input"].shape[-1] == 8 // scale
        assert f", {scale} times smaller: 4 to train" in source.describe()[0]
        assert len(source.open("val")) == 2
    with pytest.raises(UnsuitablePictures, match="the inputs in imgs are 2 or 4 times smaller, not 3"):
        load("imgs", "train", crop=9, scale=3)


def test_a_part_of_pairs_is_of_pairs_and_a_mixture_is_not() -> None:
    draw_pairs("imgs", scale=2)
    for part in split(Pairs, 0.3):
        images = Source(part, Path("imgs"))("train", crop=8, scale=2)
        assert images.__getitems__([Index(0, 1)])["input"].shape == (1, 3, 4, 4)
        assert images.essential == ("input",)
    with pytest.raises(UserError, match="a mixture makes no use of 'input'"):
        pair(Pairs, Pairs)("train", Path("imgs"))


def test_masks_keep_their_values() -> None:
    values = np.full((36, 48), 2, np.uint8)
    values[:18] = 255
    for number in range(4):
        draw(f"imgs/images/{number}.jpg")
        mask = Image.fromarray(values)
        if number % 2:
            mask = mask.convert("P")
            mask.putpalette([9] * 768)
        Path("imgs/masks").mkdir(exist_ok=True)
        mask.save(f"imgs/masks/{number}.png")
    pairs = Pairs("all", Path("imgs"))
    assert pairs.masks == pairs.essential == ("mask",) and pairs.pictures == ("image",)
    masks = pairs.__getitems__([0, 1, 2, 3])["mask"]
    assert masks.shape == (4, 36, 48) and masks.dtype == torch.uint8
    assert (masks[:, :18] == 255).all() and (masks[:, 18:] == 2).all()
    draw("imgs/masks/2.png")
    Path("imgs/masks/3.png").unlink()
    Image.fromarray(values).save("imgs/masks/3.jpg")
    with pytest.raises(UserError, match=r"(?s)2.png: it has colours .*3.jpg: JPEG changes the values of a mask"):
        Pairs("all", Path("imgs"))


QUICK = ("--steps", 4, "--batch-size", 4, "--log-every", 1, "--width", 4, "--blocks", 1, "--patch", 24)


def test_super_resolution_learns_from_given_pictures(train: Train, launchbay: Verb, mistake: Mistake) -> None:
    """Given inputs are all white: whatever the network makes of them is not what it makes of the pictures shrunk."""
    draw_pairs("imgs", scale=2)
    for path in Path("imgs/low").iterdir():
        with Image.open(path) as low:
            Image.new("RGB", low.size, (255, 255, 255)).save(path)
    run = train("superres", "--data", "pairs", "--data-root", "imgs", "--scale", 2, *QUICK)
    figures = json.loads((run / "summary.json").read_text())["baseline"]
    assert figures["psnr"] < 6, "bicubic of a white picture is white"
    code, said = launchbay("evaluate", str(run), "--val-data", "pairs", "--val-root", "imgs")
    assert code == 0 and "imgs: pairs, high/ with inputs from low/, 2 times smaller: 12 to validate" in said
    code, said = launchbay("apply", str(run), "imgs/low", "out")
    assert code == 0 and decode(Path("out/00.png")).shape == decode(Path("imgs/high/00.png")).shape
    shutil.copytree("imgs", "others")
    code, said = launchbay("evaluate", str(run), "--val-data", "pairs", "pairs", "--val-root", "imgs", "others")
    assert code == 0 and "imgs: pairs, high/ with inputs from low/" in said and "others: pairs" in said
    given = ("--data", "pairs", "--data-root", "imgs")
    assert "are 2 times smaller, not 4" in mistake("--task", "superres", *given)
    said = mistake("--task", "denoise", *given)
    assert "are 2 times smaller, not as large" in said and "→ choose superres with --scale 2" in said
    for task, said in {"vae": "VAE makes no use of 'input'", "reconstruct": "'input'", "classify": "no labels"}.items():
        assert said in mistake("--task", task, *given)


@pytest.mark.slow
def test_a_chain_of_degradations_is_judged_on_given_pairs(train: Train, mistake: Mistake) -> None:
    """What is made to train on, and what is given to judge by, go together; two inputs to train on do not."""
    draw_pairs("imgs", low="noisy/{:02}.png", high="clean/{:02}.png")
    made = ("denoise", "--degrade", "light", *QUICK)
    run = train(*made, "--val-data", "pairs", "--val-root", "imgs")
    assert json.loads((run / "summary.json").read_text())["baseline"]["psnr"] == 100, "what is given is not noisy"
    said = mistake("--task", *made, "--data", "pairs", "--data-root", "imgs")
    assert "--degrade makes what the network gets, but the data have that already" in said


def test_denoising_learns_from_given_pictures_and_goes_on(train: Train, mistake: Mistake) -> None:
    draw_pairs("imgs", low="noisy/{:02}.png", high="clean/{:02}.png")
    given = ("--data", "pairs", "--data-root", "imgs", *QUICK)
    assert "--sigma 0.3 changes nothing, as noisy pictures are given" in mistake(
        "--task", "denoise", *given, "--sigma", 0.3
    )
    run = train("denoise", *given, "--save-every", 2)
    assert json.loads((run / "summary.json").read_text())["baseline"]["psnr"] == 100, "they are not noisy at all"
    shutil.copytree(run, "whole")
    for checkpoint in (run / "checkpoints").glob("step-*"):
        if int(checkpoint.name[5:]) > 2:
            shutil.rmtree(checkpoint)
    assert compare([Path("whole"), train("denoise", *given, "--save-every", 2, "--workers", 2)], Console())
    draw("imgs/clean/00.png", shade=9)
    assert "other" in mistake("--task", "denoise", "--run", "it", *given, "--save-every", 2, "--steps", 6)


def test_two_processes_get_the_parts_of_one_batch() -> None:
    draw_pairs("imgs", scale=2)
    images = Source(Pairs, Path("imgs"))("train", crop=12, scale=2)
    order = TrainingOrder(size=len(images), batch_size=8, steps=range(3), seed=1)
    parts = (order, replace(order, rank=0, world=2), replace(order, rank=1, world=2))
    whole, first, second = (
        [each.values for each in samples(images, part, workers=1, device=torch.device("cpu"))] for part in parts
    )
    for name in ("image", "input"):
        for one, left, right in zip(whole, first, second, strict=True):
            assert torch.equal(one[name], torch.cat([left[name], right[name]]))


def test_degradations_are_not_for_given_inputs(mistake: Mistake) -> None:
    draw_pairs("set", 20, scale=1)
    said = mistake("--task", "denoise", "--data", "pairs", "--data-root", "set", "--patch", 16, "--degrade", "light")
    assert "--degrade makes what the network gets, but the data have that already" in said
