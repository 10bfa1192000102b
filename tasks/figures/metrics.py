"""Figures of single pictures: N×C×H×W in [0, 1] and a target alike in, N values out. Averages are the engine's."""

from collections.abc import Callable, Iterable
from functools import cache
from math import log
from typing import Annotated, Literal

import torch
from pydantic import StringConstraints
from torch import Tensor, nn
from torch.nn.functional import pad

from launchbay import UserError
from launchbay.exact import exact, exact_device
from launchbay.models.resize import quantize
from launchbay.tasks.figures.iqa import PREFIX, load_pyiqa, pyiqa_figure

IDENTICAL = 1e-10
"""Mean squared error that identical pictures are given: 100 dB instead of infinity, so that averages stay finite."""

WINDOW = 11
PLACES = 54
"""Of SSIM's window that are computed at once, by a product with a banded matrix: 25 times as fast as a convolution on
small pictures, and on large ones 10 times as fast as one product for all places."""
SCALES = 5
"""Of MS-SSIM, each half as large as the one before."""

PyiqaMetric = Annotated[str, StringConstraints(pattern=f"^{PREFIX}.+")]
"""The name of one that pyiqa has: pyiqa:niqe."""
ImageMetric = Literal["psnr", "ssim", "ms_ssim", "mse", "mae", "lpips"] | PyiqaMetric
"""The name of a figure of single pictures."""


def image_figures(names: Iterable[ImageMetric], output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the metrics called `names` of each picture."""
    return {
        name: pyiqa_figure(name, output, target) if name.startswith(PREFIX) else METRICS[name](output, target)
        for name in dict.fromkeys(names)
    }


def load_metric_networks(names: Iterable[ImageMetric]) -> None:
    """Have now what these metrics need, or be refused: the first validation may be hours away.

    Raises:
        UserError: AlexNet's weights are neither here nor to be had, or pyiqa or its weights are not here.
    """
    for name in names:
        if name == "lpips":
            lpips_network()
        elif name.startswith(PREFIX):
            load_pyiqa(name)


def smallest_for(names: Iterable[ImageMetric]) -> int:
    """Return the side in pixels that pictures need for these metrics."""
    if "ms_ssim" in names:
        return (WINDOW - 1) * 2 ** (SCALES - 1) + 1
    return WINDOW if "ssim" in names else 1


def check_side(names: Iterable[ImageMetric], side: int) -> None:
    """Raise a UserError if pictures of `side` pixels, which a task brings them all to, are too small for a metric."""
    for name in names:
        if side < smallest_for([name]):
            said = f"--metrics {name}: pictures of {side}×{side} pixels are too small for it"
            raise UserError(said, f"leave it out; it needs at least {smallest_for([name])}×{smallest_for([name])}")


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture, 10·log10(1 / MSE): peak value 1, at most 100; higher is better.

    Blind to what an error looks like: blur and noise of one power score alike, and it prefers blur to a wrong detail.
    """
    return -10 * torch.log10(mse(output, target).clamp_min(IDENTICAL))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture, -1 to 1, higher is better (Wang et al., 2004): 11×11 Gaussian window of
    1.5, mean over the channels and over the places where the whole window fits, as Matlab's `ssim_index` and papers
    have it. Sees local contrast and structure, hardly a shift in colour; flat regions score high whatever is in them.

    Raises:
        UserError: the pictures are smaller than the window.
    """
    if min(output.shape[-2:]) < WINDOW:
        raise UserError(
            f"SSIM needs pictures of at least {WINDOW}×{WINDOW} pixels, there is one of "
            f"{output.shape[-1]}×{output.shape[-2]}",
            "leave it out of the validation pictures",
        )
    maps = torch.stack([output, target, output * output + target * target, output * target])
    mean_o, mean_t, squares, product = weigh(weigh(maps, -2), -1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_o * mean_t + c1) / (mean_o.square() + mean_t.square() + c1)
    variances = squares - mean_o.square() - mean_t.square()
    structure = (2 * (product - mean_o * mean_t) + c2) / (variances + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def ms_ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture over five scales, 0 to 1, higher is better (Wang et al., "Multiscale
    structural similarity for image quality assessment", 2003): the window of `ssim`, and the published weights of the
    scales. Judges as someone who does not know from how far the pictures will be looked at.

    Raises:
        UserError: the pictures have fewer than 161 pixels in width or height.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    smallest = smallest_for(["ms_ssim"])
    if min(output.shape[-2:]) < smallest:
        raise UserError(
            f"MS-SSIM needs pictures of at least {smallest}×{smallest} pixels, there is one of "
            f"{output.shape[-1]}×{output.shape[-2]}",
            "leave it out of --metrics, or small pictures out of the validation pictures",
        )
    return multiscale_structural_similarity_index_measure(
        output, target, kernel_size=WINDOW, sigma=1.5, reduction="none", data_range=1.0, normalize="relu"
    )


def weigh(maps: Tensor, dim: int) -> Tensor:
    """Return the means over SSIM's Gaussian window at each place along `dim`, -2 or -1, where all of it fits: 10 places
    fewer.
    """
    parts, side = list[Tensor](), maps.shape[dim]
    for start in range(0, side - WINDOW + 1, PLACES):
        part = maps.narrow(dim, start, min(PLACES + WINDOW - 1, side - start))
        matrix = window_matrix(part.shape[dim], maps)
        parts.append(matrix @ part if dim == -2 else part @ matrix.T)
    return torch.cat(parts, dim)


def window_matrix(side: int, like: Tensor) -> Tensor:
    """Return SSIM's Gaussian window at each place of a row of `side` pixels where all of it fits: (side - 10)×side."""
    distance = torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2
    window = torch.exp(-distance.square() / (2 * 1.5**2))
    places = side - WINDOW + 1
    rows = pad((window / window.sum()).expand(places, -1), (0, places))
    return rows.flatten()[: places * side].view(places, side)  # rows shorter by one: each begins one further right


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each picture, 0 to 1, lower is better. Says what PSNR says."""
    return (exact(output) - exact(target)).square().mean(dim=(1, 2, 3))


def mae(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each picture, 0 to 1, lower is better. Less moved than MSE by a few large errors."""
    return (exact(output) - exact(target)).abs().mean(dim=(1, 2, 3))


def lpips(output: Tensor, target: Tensor) -> Tensor:
    """Learned perceptual distance of each picture (Zhang et al., 2018, AlexNet), 0 to about 1, lower is better. Nearer
    to human judgement than PSNR; made for photographs of at least 64 pixels, it says little about digits.

    Raises:
        UserError: AlexNet's weights are neither here nor to be had.
    """
    network = lpips_network().to(output.device)
    output, target = (image.expand(-1, 3, -1, -1).float() for image in (output, target))
    return torch.stack([network(one[None], other[None]) for one, other in zip(output, target, strict=True)])


@cache
def lpips_network() -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        return LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    except OSError as error:
        file = "alexnet-owt-7be5be79.pth"
        raise UserError(
            f"LPIPS needs AlexNet's weights, which cannot be downloaded: {error}",
            f"put {file} into {torch.hub.get_dir()}/checkpoints (it is at download.pytorch.org/models/{file}), "
            "or leave lpips out of --metrics",
        ) from error


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr,
    "ssim": ssim,
    "ms_ssim": ms_ssim,
    "mse": mse,
    "mae": mae,
    "lpips": lpips,
}


def luma(image: Tensor) -> Tensor:
    """Return the Y channel (N×1×H×W, 16 to 235 over 255) of ITU-R BT.601, rounded as by Matlab's `rgb2ycbcr`."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=image.dtype, device=image.device).view(3, 1, 1)
    return quantize(((image * weights).sum(dim=1, keepdim=True) + 16) / 255)


def entropy(image: Tensor) -> Tensor:
    """Shannon entropy of the grey levels of each picture, in bits: 0 (one level) to 8. Colour pictures are made grey
    first (ITU-R BT.601), as by scikit-image's `shannon_entropy` of such a picture.
    """
    if image.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=image.dtype, device=image.device).view(3, 1, 1)
        image = (image * weights).sum(dim=1, keepdim=True)
    levels = (image.clamp(0, 1) * 255).round().long().flatten(1).to(exact_device(image.device))
    counts = torch.zeros(len(levels), 256, dtype=torch.float64, device=levels.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float64))
    share = counts / levels.shape[1]
    return -torch.xlogy(share, share).sum(dim=1) / log(2)


def mask_precision_recall(answer: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each picture, the share of right pixels among those that `answer` marks, and among those that are in
    `mask`: N booleans each way round, N×H×W or N×C×H×W. Where there are none to be right or wrong about it is 1.
    """
    answer, mask = answer.bool().flatten(1), mask.bool().flatten(1)
    right, marked, wanted = (exact(pixels.sum(dim=1)) for pixels in (answer & mask, answer, mask))
    return tuple(torch.where(of > 0, right / of.clamp_min(1), 1.0) for of in (marked, wanted))  # pyright: ignore
