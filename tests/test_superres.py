"""Super-resolution: resampling and figures as the literature has them, networks, and the task as a user runs it."""

import json
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import lines
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter
from skimage.color import rgb2gray
from skimage.data import camera
from skimage.measure import shannon_entropy
from skimage.metrics import structural_similarity

from launchbay.data.photos import Photos
from launchbay.models.resize import bicubic, downscale, resample, upscale
from launchbay.models.superres import ESPCN, SRCNN, SRResNet
from launchbay.tasks.figures.metrics import entropy, luma, mask_precision_recall, ms_ssim, psnr, quantize, ssim

Train = Callable[..., Path]


def photograph(index: int) -> torch.Tensor:
    return Photos("val").image(index)[None] / 255


@pytest.mark.parametrize("size", [(24, 24), (32, 48), (200, 180)])
def test_bicubic_is_that_of_the_literature(size: tuple[int, int]) -> None:
    """Pillow's kernel is Matlab's (a = -0.5, antialiased), but it rounds to 8 bits between its two passes."""
    image = photograph(0)
    ours = quantize(bicubic(image, size))
    pixels = Image.fromarray((image[0] * 255).byte().permute(1, 2, 0).numpy())
    theirs = (
        torch.from_numpy(np.array(pixels.resize((size[1], size[0]), Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    )
    error = (ours[0] - theirs).abs() * 255
    assert error.mean() < 0.2 and error.max() < 5


def imresize(rows: list[list[int]], height: int, width: int) -> list[list[int]]:
    """Matlab's rule for uint8 pictures, one pixel at a time and in fractions: nothing is rounded but what Matlab
    rounds.
    """

    def kernel(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)

    def along(line: list[int], wanted: int) -> list[int]:
        scale = Fraction(wanted, len(line))
        shrink, result = min(scale, Fraction(1)), []
        for place in range(1, wanted + 1):
            centre = place / scale + (1 - 1 / scale) / 2  # counted from 1, as in Matlab
            total, weights = Fraction(0), Fraction(0)
            for pixel in range(floor(centre - 2 / shrink) - 1, ceil(centre + 2 / shrink) + 2):
                mirrored = (pixel - 1) % (2 * len(line))
                mirrored = mirrored if mirrored < len(line) else 2 * len(line) - 1 - mirrored
                weight = kernel((centre - pixel) * shrink)
                total, weights = total + weight * line[mirrored], weights + weight
            result.append(min(255, max(0, floor(total / weights + Fraction(1, 2)))))
        return result

    def turned(lines: list[list[int]]) -> list[list[int]]:
        return [list(column) for column in zip(*lines, strict=True)]

    if Fraction(height, len(rows)) <= Fraction(width, len(rows[0])):
        rows = turned([along(column, height) for column in turned(rows)])
        return [along(row, width) for row in rows]
    rows = [along(row, width) for row in rows]
    return turned([along(column, height) for column in turned(rows)])


@pytest.mark.parametrize("size", [(5, 6), (10, 12), (7, 24), (20, 8), (40, 48), (13, 31)])
def test_resampling_is_matlabs_to_the_last_grey_level(size: tuple[int, int]) -> None:
    pixels = photograph(0)[..., 20:40, 30:54]
    pixels[0, 2] = torch.rand(20, 24, generator=torch.Generator().manual_seed(0)).round()  # ties, overshoot
    expected = [imresize((channel * 255).round().int().tolist(), *size) for channel in pixels[0]]
    assert (resample(pixels, size, "matlab")[0] * 255).round().int().tolist() == expected


def test_the_rules_of_resampling_differ() -> None:
    pixels = photograph(0)[..., :64, :64]
    small = {rule: resample(pixels, (16, 16), rule) for rule in ("matlab", "pillow", "torch")}
    inside = (small["matlab"] - small["pillow"])[..., 3:-3, 3:-3].abs().max()
    assert inside * 255 < 2 < (small["matlab"] - small["pillow"]).abs().max() * 255, "they differ at the borders"
    assert (small["matlab"] - small["torch"]).abs().mean() * 255 > 2


def test_psnr_by_its_definition() -> None:
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8
    assert psnr(target + 0.1, target).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(target, target).tolist() == [100, 100]


def test_ssim_is_scikit_images_on_the_valid_region() -> None:
    target, output = photograph(0), quantize(upscale(downscale(photograph(0), 4), 4))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pictures = [picture[0].double().numpy() for picture in (target, output)]
    where = structural_similarity(*pictures, channel_axis=0, full=True, **settings)[1]
    assert ssim(output, target).item() == pytest.approx(where[:, 5:-5, 5:-5].mean(), abs=1e-5)


def test_ms_ssim_is_as_published() -> None:
    """Five scales, halved by the mean of four pixels; luminance counts on the last alone."""
    generator = torch.Generator().manual_seed(0)
    target = gaussian_filter(torch.rand(1, 176, 190, generator=generator).double().numpy(), (0, 2, 2)) * 3 - 1
    output = gaussian_filter(target, (0, 1, 1))
    window = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    window /= window.sum()

    def blur(picture: np.ndarray) -> np.ndarray:
        return convolve1d(convolve1d(picture, window, axis=1), window, axis=2)[:, 5:-5, 5:-5]

    def halved(picture: torch.Tensor) -> torch.Tensor:
        return picture.unfold(1, 2, 2).unfold(2, 2, 2).mean(dim=(3, 4))

    score, one, two = 1.0, output, target
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        mean_1, mean_2 = blur(one), blur(two)
        variances = blur(one**2) - mean_1**2 + blur(two**2) - mean_2**2
        structure = (2 * (blur(one * two) - mean_1 * mean_2) + 0.03**2) / (variances + 0.03**2)
        luminance = (2 * mean_1 * mean_2 + 0.01**2) / (mean_1**2 + mean_2**2 + 0.01**2)
        score *= (structure if weight != 0.1333 else structure * luminance).mean() ** weight
        one, two = (halved(torch.from_numpy(picture)).numpy() for picture in (one, two))
    ours = ms_ssim(torch.from_numpy(output)[None], torch.from_numpy(target)[None])
    assert ours.tolist() == pytest.approx([score], abs=1e-5) and score < 0.999


def test_entropy_is_scikit_images() -> None:
    picture = photograph(0)
    grey = (rgb2gray(picture[0].permute(1, 2, 0).numpy()) * 255).round()
    assert entropy(picture[:, :1]).item() == pytest.approx(shannon_entropy((picture[0, 0] * 255).round().numpy()))
    assert entropy(picture).item() == pytest.approx(shannon_entropy(grey), abs=0.05), "other weights of the colours"
    assert entropy(torch.full((1, 1, 4, 4), 0.5)).item() == 0
    theirs = 7.231695011055706  # in scikit-image's documentation of `shannon_entropy`
    assert entropy(torch.from_numpy(camera())[None, None] / 255).item() == pytest.approx(theirs)


def test_precision_and_recall_of_masks() -> None:
    answer = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    mask = torch.tensor([[[1, 0], [1, 1]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]])
    precision, recall = mask_precision_recall(answer, mask)
    assert precision.tolist() == [0.5, 1, 1] and recall.tolist() == [pytest.approx(1 / 3), 0, 1]


def test_luma_is_matlabs() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]])[:, :, None, None]
    assert (luma(colours) * 255).flatten().tolist() == pytest.approx([16, 235, 81, 41], abs=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("build", [SRCNN, lambda s: SRCNN(s, upscale_last=True), ESPCN, lambda s: SRResNet(s, 8, 2)])
def test_networks_enlarge_pictures_of_any_size(build: Callable[[int], torch.nn.Module], scale: int) -> None:
    network = build(scale)
    for batch, height, width in ((1, 7, 12), (3, 1, 5)):
        assert network(torch.rand(batch, 3, height, width)).shape == (batch, 3, height * scale, width * scale)


def test_parameter_counts_are_those_of_the_papers() -> None:
    def count(network: torch.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    srcnn = 3 * 64 * 81 + 64 + 64 * 32 * 25 + 32 + 32 * 3 * 25 + 3
    assert count(SRCNN(4)) == count(SRCNN(4, upscale_last=True)) == srcnn == 69251
    assert count(ESPCN(3)) == 3 * 64 * 25 + 64 + 64 * 32 * 9 + 32 + 32 * 27 * 9 + 27


@pytest.mark.parametrize("build", [SRCNN, lambda s: SRCNN(s, upscale_last=True), ESPCN, lambda s: SRResNet(s, 8, 2)])
def test_networks_work_in_bfloat16(build: Callable[[int], torch.nn.Module]) -> None:
    network, image = build(4), torch.rand(1, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image)
    assert (output.float() - network(image)).abs().max() < 0.05


@pytest.mark.parametrize("build", [SRCNN, lambda s: SRCNN(s, upscale_last=True), lambda s: SRResNet(s, 8, 2)])
def test_training_starts_at_the_bicubic_picture(build: Callable[[int], torch.nn.Module]) -> None:
    image = downscale(photograph(3), 4).clamp(0, 1)
    assert torch.allclose(build(4)(image).clamp(0, 1), upscale(image, 4).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("model", ["srcnn", "srcnn-post", "espcn", "srresnet"])
@pytest.mark.parametrize(("scale", "loss"), [(2, "mse"), (3, "l1"), (4, "charbonnier")])
def test_every_network_learns_with_every_scale_and_loss(train: Train, model: str, scale: int, loss: str) -> None:
    options = ["--scale", scale, "--patch", 24, "--steps", 3, "--batch-size", 4, "--log-every", 1, "--warmup", 0]
    run = train("superres", "--model", model, "--loss", loss, "--lr", "1e-4", *options)
    steps = lines(run, "train")
    assert [line["step"] for line in steps] == [1, 2, 3] and all(0 < line[f"model/{loss}"] < 1 for line in steps)
    validation = lines(run, "val")[-1]
    assert {"psnr", "ssim", "psnr_y", "ssim_y"} == {name for name in validation if f"baseline/{name}" in validation}


def test_the_network_soon_beats_bicubic(train: Train) -> None:
    run = train("superres", "--steps", 120, "--width", 16, "--blocks", 2, "--eval-every", 120)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["final"]["psnr_y"] > summary["baseline"]["psnr_y"] + 0.3
    assert summary["final"]["ssim_y"] > summary["baseline"]["ssim_y"]
    assert summary["baseline_name"] == "bicubic"


def test_photographs_of_different_sizes_validate_one_by_one(train: Train) -> None:
    Path("photographs").mkdir()
    sizes = [(61, 50), (48, 75), (90, 90)]
    for number, (width, height) in enumerate(sizes):
        pixels = (photograph(number)[0, :, :height, :width] * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(
            np.pad(pixels, ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)), "reflect")
        ).save(f"photographs/{number}.png")
    run = train("superres", "--val-root", "photographs", "--steps", 1, "--model", "espcn")
    expected = []
    for path in sorted(Path("photographs").iterdir()):
        target = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
        target = target[..., : target.shape[-2] // 4 * 4, : target.shape[-1] // 4 * 4]
        height, width = target.shape[-2:]
        small = resample(target, (height // 4, width // 4), "matlab")
        expected.append(psnr(resample(small, (height, width), "matlab"), target).item())
    assert lines(run, "val")[0]["baseline/psnr"] == pytest.approx(sum(expected) / 3, abs=1e-6)
