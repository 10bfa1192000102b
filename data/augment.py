"""Batched augmentation: tensor arithmetic on a whole batch, with parameters drawn per sample by whoever calls it."""

import math

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Share of red, green and blue in brightness (ITU-R BT.601), as in torchvision."""


def dihedral(image: Tensor, code: Tensor) -> Tensor:
    """Flip and turn each picture of a batch on its own: the eight symmetries of the square.

    Args:
        image: N×C×H×W. For pictures that are not square, only the four codes without bit 4 keep the size.
        code: N integers in 0..7: bit 1 flips upside down, bit 2 left to right, bit 4 swaps rows and columns.
    """
    result = torch.empty_like(image)
    for value in code.unique().tolist():
        chosen = code == value
        part = image[chosen]
        if flips := [dim for bit, dim in ((1, -2), (2, -1)) if value & bit]:
            part = part.flip(flips)
        result[chosen] = part.transpose(-2, -1) if value & 4 else part
    return result


def warp(image: Tensor, angle: Tensor, mirror: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Mirror, turn and shift each picture of a batch: one gather of the nearest pixels, black where there is none.

    Args:
        image: N×C×H×W.
        angle: N angles in degrees, counter-clockwise, about the centre.
        mirror: N booleans: left to right, before turning.
        down, across: N shifts in pixels, after turning.
    """
    count, channels, height, width = image.shape
    radians = angle * (math.pi / 180)
    cos, sin = torch.cos(radians)[:, None, None], torch.sin(radians)[:, None, None]
    y, x = (torch.arange(side, dtype=angle.dtype, device=image.device) - (side - 1) / 2 for side in (height, width))
    y, x = y[None, :, None] - down[:, None, None], x[None, None, :] - across[:, None, None]
    # Where each new pixel comes from: the inverse of what is done to the picture.
    row, column = (y * cos + x * sin), (x * cos - y * sin)
    column = torch.where(mirror[:, None, None], -column, column)
    row, column = (row + (height - 1) / 2).round().long(), (column + (width - 1) / 2).round().long()
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = torch.where(inside, row * width + column, 0).flatten(1)
    pixels = image.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    moved = pixels.gather(1, place[..., None].expand(-1, -1, channels)) * inside.view(count, -1, 1)
    return moved.view(count, height, width, channels).permute(0, 3, 1, 2)


def color_jitter(image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each colour picture, in this order, as one 3×4 matrix per picture.

    Torchvision's definitions but for the hue, which turns colours about the grey axis at constant brightness (YIQ), and
    for clipping, which happens once, at the end.

    Args:
        image: N×3×H×W in [0, 1].
        brightness, contrast, saturation: N factors, 1 changes nothing.
        hue: N turns, 0 changes nothing.
    """
    grey = torch.tensor(GREY, dtype=image.dtype, device=image.device)
    identity = torch.eye(3, dtype=image.dtype, device=image.device)
    to_grey = grey.expand(3, 3)
    matrix = turn_hue(hue) @ (saturation[:, None, None] * identity + (1 - saturation)[:, None, None] * to_grey)
    # Contrast pulls towards the mean grey of the picture, which saturation and hue leave alone.
    mean = (image.mean(dim=(2, 3)) @ grey) * brightness
    offset = ((1 - contrast) * mean)[:, None, None]
    matrix = matrix * (brightness * contrast)[:, None, None]
    pixels = image.permute(0, 2, 3, 1).reshape(len(image), -1, 3)
    changed = torch.baddbmm(offset, pixels, matrix.transpose(1, 2)).clamp_(0, 1)
    return changed.view(len(image), *image.shape[2:], 3).permute(0, 3, 1, 2)


def turn_hue(hue: Tensor) -> Tensor:
    """N×3×3 matrices that turn colours by `hue` turns about the grey axis, in the plane of YIQ's I and Q."""
    to_yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype=hue.dtype, device=hue.device
    )
    cos, sin = torch.cos(hue * 2 * math.pi), torch.sin(hue * 2 * math.pi)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    return torch.linalg.inv(to_yiq) @ turn @ to_yiq


def cutout(image: Tensor, side: int, down: Tensor, across: Tensor, *, fill: float = 0.5) -> Tensor:
    """A square of `side` pixels in each picture is set to `fill` (DeVries and Taylor, 2017), its centre anywhere.

    Args:
        image: N×C×H×W.
        down, across: N numbers in [0, 1): where the centre is.
    """
    height, width = image.shape[-2:]
    rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    top, left = (down * height - side / 2).round(), (across * width - side / 2).round()
    in_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    in_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    return image.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], fill)
