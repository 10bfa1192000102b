"""Batched augmentation: tensor arithmetic on a whole batch, with parameters drawn per sample by whoever calls it."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from launchbay import UserError

GREY = (0.2989, 0.587, 0.114)
"""Share of red, green and blue in brightness (ITU-R BT.601), as in torchvision."""

QUARTER_TURN = ((-0.1686, -0.3298, 0.4984), (0.3280, -0.0346, -0.2934), (-1.2465, 1.0432, 0.2032))
"""What a quarter turn of the hue makes of red, green and blue, less their grey: to YIQ, (I, Q) -> (Q, -I), and back."""


def dihedral(image: Tensor, code: Tensor) -> Tensor:
    """Flip and turn each picture of a batch on its own: the eight symmetries of the square.

    Args:
        image: N×C×H×W, or masks N×H×W; of any type.
        code: N integers in 0..7: bit 1 flips upside down, bit 2 left to right, bit 4 swaps rows and columns. Pictures
            that are not square have the four symmetries without bit 4: 0..3.

    Raises:
        UserError: bit 4 is set for pictures that are not square.
    """
    height, width = image.shape[-2:]
    if height != width and bool((code > 3).any()):  # the only case in which a GPU is waited for
        said = f"pictures of {width}×{height} pixels, which are not square, cannot swap rows and columns"
        raise UserError(said, "draw codes from 0 to 3 for them, (batch.rand() * 4).long(), or crop squares")
    places = torch.arange(height * width, device=image.device).view(height, width)
    flipped = [places, places.flip(0), places.flip(1), places.flip(0, 1)]
    turned = [place.T for place in flipped]
    return moved(image, torch.stack([place.reshape(height, width) for place in flipped + turned])[code])


def moved(image: Tensor, places: Tensor) -> Tensor:
    """N×C×H×W whose pixels come from `places` (integers N×H×W, counted row by row) of `image`, of any size and type; or
    N×H×W from N×H×W.
    """
    if image.ndim == 3:
        return moved(image[:, None], places)[:, 0]
    count, channels, height, width = image.shape
    pixels = image.permute(0, 2, 3, 1).reshape(-1, channels)
    places = places + (torch.arange(count, device=image.device) * (height * width))[:, None, None]
    # Whole pixels from one long row of them: a gather along each channel would take twice as long.
    return pixels.index_select(0, places.flatten()).view(*places.shape, channels).permute(0, 3, 1, 2)


def warp(image: Tensor, angle: Tensor, mirror: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Mirror, turn and shift each picture of a batch: one gather of the nearest pixels, black where there is none.

    Args:
        image: N×C×H×W, or masks N×H×W; of any type. Black is 0.
        angle: N angles in degrees, counter-clockwise, about the centre.
        mirror: N booleans: left to right, before turning.
        down: N shifts in pixels, after turning.
        across: N shifts to the right, as well.
    """
    height, width = image.shape[-2:]
    last_row, last_column = height - 1, width - 1
    # Where each new pixel comes from: the inverse of what is done to the picture. The sums of what its row (N×H) and
    # what its column (N×W) add are all that is as large as the pictures.
    radians, side = angle[:, None] * (math.pi / 180), 1 - 2 * mirror[:, None].to(angle.dtype)
    cos, sin = torch.cos(radians), torch.sin(radians)
    y = torch.arange(height, dtype=angle.dtype, device=image.device) - last_row / 2 - down[:, None]
    x = torch.arange(width, dtype=angle.dtype, device=image.device) - last_column / 2 - across[:, None]
    row = ((cos * y + last_row / 2)[:, :, None] + (sin * x)[:, None, :]).round_().clamp_(-1, height)
    column = ((last_column / 2 - sin * side * y)[:, :, None] + (cos * side * x)[:, None, :]).round_().clamp_(-1, width)
    # Whatever lies outside comes from a black frame of one pixel.
    return moved(pad(image, (1, 1, 1, 1)), row.add_(1).mul_(width + 2).add_(column).add_(1).long())


def color_jitter(image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each colour picture, in this order, as one 3×4 matrix per picture.

    Torchvision's definitions but for the hue, which turns colours about the grey axis at constant brightness (YIQ), and
    for clipping, which happens once, at the end.

    Args:
        image: N×3×H×W in [0, 1].
        brightness, contrast, saturation: N factors, 1 changes nothing.
        hue: N turns, 0 changes nothing; a third makes red green, as in HSV and torchvision.
    """
    identity, grey, _ = constants(image.dtype, image.device)
    matrix = turn_hue(hue) @ torch.lerp(grey, identity, saturation[:, None, None])
    # Contrast pulls towards the mean grey of the picture, which saturation and hue leave alone.
    mean = (image.mean(dim=(2, 3)) @ grey[0]) * brightness
    offset = ((1 - contrast) * mean)[:, None, None]
    matrix = matrix * (brightness * contrast)[:, None, None]
    # Four pixels at once, by four times the matrix along a diagonal: products with 3×3 take four times as long.
    count, _, height, width = image.shape
    together = math.gcd(height * width, 4)
    diagonal = torch.eye(together, dtype=image.dtype, device=image.device)[:, None, :, None]
    matrix = (diagonal * matrix.transpose(1, 2)[:, None, :, None, :]).reshape(count, 3 * together, 3 * together)
    pixels = image.permute(0, 2, 3, 1).reshape(count, -1, 3 * together)
    changed = torch.baddbmm(offset, pixels, matrix).clamp_(0, 1)
    return changed.view(count, height, width, 3).permute(0, 3, 1, 2)


def turn_hue(hue: Tensor) -> Tensor:
    """N×3×3 matrices that turn colours by `hue` turns about the grey axis, in the plane of YIQ's I and Q."""
    identity, grey, quarter = constants(hue.dtype, hue.device)
    turns = (hue * 2 * math.pi)[:, None, None]
    return grey + torch.cos(turns) * (identity - grey) + torch.sin(turns) * quarter


@lru_cache
def constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Made once for each device, since each copy to one makes the host wait: the identity, the matrix that makes
    colours grey, and that which turns their difference from grey by a quarter.
    """
    identity, grey = torch.eye(3), torch.tensor(GREY).expand(3, 3)
    return identity.to(device, dtype), grey.to(device, dtype), torch.tensor(QUARTER_TURN).to(device, dtype)


def cutout(image: Tensor, side: int, down: Tensor, across: Tensor, *, fill: float = 0.5) -> Tensor:
    """Set a square of `side` pixels in each picture to `fill` (DeVries and Taylor, 2017), its centre anywhere.

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
