"""Figures of single pictures: N×C×H×W in [0, 1] and a target alike in, N values out. Averages are the engine's."""

import torch
from torch import Tensor

from launchbay import UserError

IDENTICAL = 1e-10
"""Mean squared error that identical pictures are given: 100 dB instead of infinity, so that averages stay finite."""

WINDOW = 11


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture, 10·log10(1 / MSE): peak value 1, at most 100."""
    error = (output.double() - target.double()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(IDENTICAL))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture, at most 1 (Wang et al., 2004): 11×11 Gaussian window of 1.5, mean over the
    channels and over the places where the whole window fits, as Matlab's `ssim_index` and papers have it.

    Raises:
        UserError: the pictures are smaller than the window.
    """
    if min(output.shape[-2:]) < WINDOW:
        raise UserError(
            f"SSIM needs pictures of at least {WINDOW}×{WINDOW} pixels, there is one of "
            f"{output.shape[-1]}×{output.shape[-2]}",
            "leave it out of the validation pictures",
        )
    # Here, not at the top: it takes two seconds that training does not have to wait for.
    from torchmetrics.functional.image import structural_similarity_index_measure

    # torchmetrics' own mean takes in a border of five reflected pixels.
    result = structural_similarity_index_measure(
        output, target, data_range=1.0, reduction="none", return_full_image=True
    )
    border = WINDOW // 2
    return result[1][..., border:-border, border:-border].mean(dim=(1, 2, 3))


def luma(image: Tensor) -> Tensor:
    """The Y channel (N×1×H×W, 16 to 235 over 255) of ITU-R BT.601, rounded as by Matlab's `rgb2ycbcr`."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=image.dtype, device=image.device).view(3, 1, 1)
    return quantize(((image * weights).sum(dim=1, keepdim=True) + 16) / 255)


def quantize(image: Tensor) -> Tensor:
    """`image` as an 8-bit file would keep it: clipped to [0, 1], in steps of 1/255."""
    return (image.clamp(0, 1) * 255).round() / 255
