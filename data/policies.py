"""RandAugment and TrivialAugment as torchvision has them, on a whole batch: operations and magnitudes drawn per sample
by whoever calls, samples grouped by operation, 8-bit arithmetic. So a picture is the same in any batch, on any device.

Sources: Cubuk et al., 2019 (RandAugment, https://arxiv.org/abs/1909.13719); Müller and Hutter, 2021 (TrivialAugment,
https://arxiv.org/abs/2103.10158); torchvision.transforms.v2.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, sin

import torch
from torch import Tensor
from torch.nn.functional import pad

from launchbay.data.augment import GREY, moved

BINS = 31
"""Magnitudes that each operation has, from 0 on."""

CACHED = 2**17
"""Values that a CPU changes at once."""


@dataclass(frozen=True)
class Space:
    """How far the operations of a policy go at the last magnitude; at the first they change nothing."""

    shear: float
    """Pixels to the side per pixel."""
    rotate: float
    """Degrees."""
    enhance: float
    """Brightness, colour, contrast and sharpness are multiplied by up to 1 plus or minus this."""
    bits: int
    """Lowest bits that posterizing clears."""
    shift: float | None
    """Pixels; None: 150/331 of the width or the height."""


RANDAUGMENT = Space(shear=0.3, rotate=30.0, enhance=0.9, bits=4, shift=None)
TRIVIALAUGMENT = Space(shear=0.99, rotate=135.0, enhance=0.99, bits=6, shift=32.0)
"""TrivialAugment (Wide)."""


def change(image: Tensor, space: Space, operation: Tensor, magnitude: Tensor, sign: Tensor) -> Tensor:
    """Change each picture of a batch by one operation, in whole grey levels.

    Args:
        image: N×C×H×W in [0, 1], C being 1 or 3.
        operation: N integers below `len(OPERATIONS)`.
        magnitude: N integers below `BINS`.
        sign: N booleans: the other way, for operations that have two.
    """
    pixels = (image * 255).round_().byte()
    chosen = operation.tolist()  # where a GPU is waited for
    # More at once would not stay in a processor's cache.
    together = len(image) if not image.is_cpu else max(1, CACHED // image[0].numel())
    for number, (name, apply) in enumerate(OPERATIONS.items()):
        if rows := [row for row, one in enumerate(chosen) if one == number]:
            levels = magnitudes(name, space, *image.shape[-2:]).to(image.device)
            for some in torch.tensor(rows, device=image.device).split(together):
                amount = levels[magnitude[some]]
                amount = torch.where(sign[some] & (name in SIGNED), -amount, amount)
                pixels[some] = apply(pixels[some], amount)
    return pixels.to(image.dtype).div_(255)


def magnitudes(name: str, space: Space, height: int, width: int) -> Tensor:
    """Return how far the operation `name` goes, float32, for each of the `BINS` magnitudes."""
    most = {
        "shear_x": space.shear,
        "shear_y": space.shear,
        "translate_x": 150.0 / 331.0 * width if space.shift is None else space.shift,
        "translate_y": 150.0 / 331.0 * height if space.shift is None else space.shift,
        "rotate": space.rotate,
    }
    if name == "posterize":
        return (8 - torch.arange(BINS) / ((BINS - 1) / space.bits)).round()
    if name == "solarize":
        return torch.linspace(1.0, 0.0, BINS, dtype=torch.float32)
    return torch.linspace(0.0, most.get(name, space.enhance), BINS, dtype=torch.float32)


def identity(pixels: Tensor, amount: Tensor) -> Tensor:
    return pixels


def shear_x(pixels: Tensor, amount: Tensor) -> Tensor:
    # About the upper left corner, as torchvision does.
    return affine(pixels, [(1, much, much * pixels.shape[-2] / 2, 0, 1, 0) for much in amount.tolist()])


def shear_y(pixels: Tensor, amount: Tensor) -> Tensor:
    return affine(pixels, [(1, 0, 0, much, 1, much * pixels.shape[-1] / 2) for much in amount.tolist()])


def translate_x(pixels: Tensor, amount: Tensor) -> Tensor:
    return affine(pixels, [(1, 0, -int(much), 0, 1, 0) for much in amount.tolist()])


def translate_y(pixels: Tensor, amount: Tensor) -> Tensor:
    return affine(pixels, [(1, 0, 0, 0, 1, -int(much)) for much in amount.tolist()])


def rotate(pixels: Tensor, amount: Tensor) -> Tensor:
    """Counter-clockwise, by degrees."""
    angles = [math.radians(much) for much in amount.tolist()]
    return affine(pixels, [(cos(angle), -sin(angle), 0, sin(angle), cos(angle), 0) for angle in angles])


def affine(pixels: Tensor, matrices: Sequence[tuple[float, ...]]) -> Tensor:
    """Nearest pixels at (a·x + b·y + c, d·x + e·y + f) from the centre, by (a, b, c, d, e, f) for each picture; black
    outside.

    Where the middle between two pixels is asked for, rounding decides, so each is rounded to as torchvision does: in
    units of half the side, to 24 bits after each product and sum.
    """
    height, width = pixels.shape[-2:]
    factors = torch.tensor(matrices, dtype=torch.float32).T.to(pixels.device)[..., None, None]
    x = torch.arange(width, dtype=torch.float64, device=pixels.device) - (width - 1) / 2
    y = (torch.arange(height, dtype=torch.float64, device=pixels.device) - (height - 1) / 2)[:, None]
    places: list[Tensor] = []
    for (of_x, of_y, constant), side in ((factors[:3], width), (factors[3:], height)):
        by_x, by_y, by_one = (factor / (0.5 * side) for factor in (of_x, of_y, constant))
        row = ((x * by_x).float() + (y * by_y)).float() + by_one
        places.append(((row + 1) * (side / 2) - 0.5).round_().clamp_(-1, side))
    return moved(pad(pixels, (1, 1, 1, 1)), ((places[1] + 1) * (width + 2) + places[0] + 1).long())


def blend(pixels: Tensor, other: Tensor, amount: Tensor) -> Tensor:
    """`other`, and 1 + `amount` times what `pixels` differ from it; both N×C×H×W in whole levels, fractions cut off.

    Where nothing differs a fraction too little would be a level too little, so it is rounded to 24 bits where
    torchvision does: after the product, and after the sum.
    """
    share = amount.double()[:, None, None, None]
    scaled = pixels * (1 + share).float()
    return (scaled + other * (-share).float().double()).float().clamp_(0, 255).byte()


def brightness(pixels: Tensor, amount: Tensor) -> Tensor:
    return (pixels * (1 + amount.double()).float()[:, None, None, None]).clamp_(0, 255).byte()


def color(pixels: Tensor, amount: Tensor) -> Tensor:
    return blend(pixels, grey(pixels), amount) if pixels.shape[1] == 3 else pixels


def contrast(pixels: Tensor, amount: Tensor) -> Tensor:
    # The sum of whole numbers, which has no order.
    mean = grey(pixels).long().sum(dim=(1, 2, 3), keepdim=True).double() / (pixels.shape[-2] * pixels.shape[-1])
    return blend(pixels, mean.float(), amount)


def grey(pixels: Tensor) -> Tensor:
    """Return brightness in whole levels, float32 N×1×H×W."""
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = (one.float() * share for one, share in zip(pixels.split(1, dim=1), GREY, strict=True))
    return (red + green + blue).floor_()


def sharpness(pixels: Tensor, amount: Tensor) -> Tensor:
    """Away from, or towards, the mean of 3×3 pixels in which the middle one counts five times; borders stay."""
    height, width = pixels.shape[-2:]
    if min(height, width) <= 2:
        return pixels
    whole, inner = pixels.int(), pixels[..., 1:-1, 1:-1]
    around = 4 * whole[..., 1:-1, 1:-1]
    for down in range(3):
        for across in range(3):
            around = around + whole[..., down : down + height - 2, across : across + width - 2]
    changed = pixels.clone()
    share = (-amount.double()).float().double()[:, None, None, None]
    sharper = inner + share * ((around / 13).round_() - inner)
    changed[..., 1:-1, 1:-1] = sharper.float().clamp_(0, 255).byte()
    return changed


def posterize(pixels: Tensor, amount: Tensor) -> Tensor:
    return pixels & (256 - 2 ** (8 - amount.int())).byte()[:, None, None, None]


def solarize(pixels: Tensor, amount: Tensor) -> Tensor:
    return torch.where(pixels >= (255 * amount).ceil().byte()[:, None, None, None], 255 - pixels, pixels)


def autocontrast(pixels: Tensor, amount: Tensor) -> Tensor:
    lowest, highest = (end.float() for end in (pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)))
    scale = (highest - lowest) * (1 / 255)
    flat = highest == lowest
    stretched = (pixels - lowest) / torch.where(flat, 1.0, scale)
    return torch.where(flat, pixels, stretched.clamp_(0, 255).byte())


def equalize(pixels: Tensor, amount: Tensor) -> Tensor:
    """Each channel's levels, so that they are about equally frequent: as Pillow does it."""
    levels = pixels.flatten(2).long()
    counts = torch.zeros(*levels.shape[:2], 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(2) - counts
    highest = levels.amax(dim=2, keepdim=True)
    step = (levels.shape[2] - counts.gather(2, highest)) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255)
    table = torch.where(step == 0, torch.arange(256, device=pixels.device), table)
    return table.gather(2, levels).view(pixels.shape).byte()


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": identity, "shear_x": shear_x, "shear_y": shear_y, "translate_x": translate_x,
    "translate_y": translate_y, "rotate": rotate, "brightness": brightness, "color": color, "contrast": contrast,
    "sharpness": sharpness, "posterize": posterize, "solarize": solarize, "autocontrast": autocontrast,
    "equalize": equalize,
}  # fmt: skip
"""Each changes uint8 N×C×H×W by N amounts, float32; in torchvision's order."""
SIGNED = frozenset(list(OPERATIONS)[1:10])
"""Operations that go two ways."""
