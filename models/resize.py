"""Bicubic resampling as the super-resolution literature does it. Nothing here is learned."""

from functools import lru_cache
from math import ceil
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from launchbay.exact import exact

Resampling = Literal["matlab", "pillow", "torch"]
"""Whose bicubic: see `resample`."""


def resample(image: Tensor, size: tuple[int, int], rule: Resampling) -> Tensor:
    """Resample 8-bit pictures (N×C×H×W in [0, 1]) to `size` (height, width), to 8-bit pictures: in steps of 1/255.

    - matlab: to the last grey level what Matlab's `imresize` makes of uint8 pictures, and so the low-resolution files
      that papers publish: Keys' kernel with a = -0.5, widened by the reduction factor; pictures go on beyond their
      borders as in a mirror; the axis that shrinks most comes first (of two alike, height), and is rounded to 8 bits
      before the other.
    - pillow: the same kernel, cut off at the borders, without a rounding between (Pillow's own has one).
    - torch: `interpolate` with its a = -0.75 and no widening, as in code that calls it without `antialias`.
    """
    if rule != "matlab":
        return quantize(bicubic(image, size) if rule == "pillow" else sharp_bicubic(image, size))
    levels = exact((image * 255).round())
    axes = sorted((-2, -1), key=lambda axis: (size[axis] / image.shape[axis], axis))
    for axis in axes:
        weights = imresize_weights(image.shape[axis], size[axis], levels.device)
        levels = weights @ levels if axis == -2 else levels @ weights.T
        levels = (levels + 0.5).floor().clamp(0, 255)  # ties away from zero, where torch's `round` goes to even
    return (levels / 255).to(image.device, image.dtype)


@lru_cache(maxsize=256)
def imresize_weights(length: int, wanted: int, device: torch.device) -> Tensor:
    """Return what each of `length` pixels of a row gives to each of `wanted`: wanted×length, float64."""
    scale = wanted / length
    shrink = min(scale, 1.0)
    reach = ceil(4 / shrink) + 2
    place = (torch.arange(wanted, dtype=torch.float64) + 0.5) / scale - 0.5
    nearest = (place - 2 / shrink).floor()[:, None] + torch.arange(reach)
    weights = keys_cubic((place[:, None] - nearest) * shrink)
    unfolded = nearest.long() % (2 * length)
    mirrored = torch.minimum(unfolded, 2 * length - 1 - unfolded)
    matrix = torch.zeros(wanted, length, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, weights / weights.sum(dim=1, keepdim=True)).to(device)


def keys_cubic(distance: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -0.5 (Keys, "Cubic convolution interpolation for digital image processing", 1981,
    equation 15).
    """
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


def bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample `image` (N×C×H×W, float) to `size` (height, width), with gradients: what networks do within.

    Keys' cubic kernel with a = -0.5, widened by the reduction factor when shrinking, cut off at the borders. Values may
    overshoot the input's range a little. Half precisions, which torch cannot resample everywhere, give float32.
    """
    if image.element_size() < 4:
        image = image.float()
    return interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False)


def sharp_bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample as `bicubic` does, by torch's own kernel: a = -0.75, not widened."""
    if image.element_size() < 4:
        image = image.float()
    return interpolate(image, size=size, mode="bicubic", align_corners=False)


def upscale(image: Tensor, scale: int, *, sharp: bool = False) -> Tensor:
    """Enlarge `image` (N×C×H×W) `scale` times with `bicubic`, or, where it is to be `sharp`, with `sharp_bicubic`."""
    size = image.shape[-2] * scale, image.shape[-1] * scale
    return sharp_bicubic(image, size) if sharp else bicubic(image, size)


def downscale(image: Tensor, scale: int) -> Tensor:
    """Shrink `image` (N×C×H×W, height and width multiples of `scale`) `scale` times with `bicubic`."""
    return bicubic(image, (image.shape[-2] // scale, image.shape[-1] // scale))


def quantize(image: Tensor) -> Tensor:
    """Return `image` as an 8-bit file would keep it: clipped to [0, 1], in steps of 1/255."""
    return (image.clamp(0, 1) * 255).round() / 255
