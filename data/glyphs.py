"""The embedded digits: drawn with the font that Pillow carries. Nothing is downloaded."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from launchbay import UserError
from launchbay.data.randomness import generator
from launchbay.data.resident import Resident

SIDE, CANVAS = 28, 56
WEIGHTS = (0, 1, 2, 3)
"""Widths of the stroke that is drawn around a digit on its canvas, in pixels."""
COUNT = {"train": 10_000, "val": 2_000}


class Glyphs(Resident):
    """Grey digits of 28×28 pixels, white on black: 10,000 for training, 2,000 for validation. The label is the digit.

    Pose (turned up to 20°, scaled, slanted, shifted), stroke, brightness and a little noise follow from the split and
    the digit's number alone. Easier than handwriting: there is one font.
    """

    def __init__(self, split: str, root: Path | None = None):
        if root is not None:
            raise UserError(
                f"the embedded glyphs have no --data-root or --val-root ({root})",
                "for handwritten digits: --data mnist",
            )
        parts = [draw_split(name) for name in (COUNT if split == "all" else (split,))]
        pixels, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        super().__init__(pixels, labels, [str(digit) for digit in range(10)])


def draw_split(split: str) -> tuple[Tensor, Tensor]:
    """Return the digits of one split: uint8 N×1×28×28, and their labels."""
    count, random = COUNT[split], generator("glyphs", split)
    labels = torch.arange(count) % 10
    parameters = torch.rand(count, 8, generator=random, dtype=torch.float32)  # whatever --precision says
    angle, scale, slant, across, down, stroke, brightness, noise = parameters.T
    angle, slant = (angle - 0.5) * 40 * math.pi / 180, (slant - 0.5) * 0.5
    scale = 1.0 + (scale - 0.5) * 0.4
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cos, -sin + slant * cos, (across - 0.5) * 0.3, sin, cos + slant * sin, (down - 0.5) * 0.3]
    pose = torch.stack(rows, dim=1).view(count, 2, 3)

    originals = torch.stack([original(digit, weight) for digit in range(10) for weight in WEIGHTS])
    chosen = originals[labels * len(WEIGHTS) + (stroke * len(WEIGHTS)).long()]
    grid = affine_grid(pose, [count, 1, SIDE, SIDE], align_corners=False)
    image = grid_sample(chosen, grid, align_corners=False) * (0.7 + 0.3 * brightness).view(-1, 1, 1, 1)
    image += torch.randn(image.shape, generator=random, dtype=image.dtype) * (noise * 0.04).view(-1, 1, 1, 1)
    return (image.clamp(0, 1) * 255).round().byte(), labels


def original(digit: int, weight: int) -> Tensor:
    """Return one upright digit in the middle of its canvas, 1×56×56 in [0, 1]."""
    image = Image.new("L", (CANVAS, CANVAS))
    middle = (CANVAS / 2, CANVAS / 2)
    ImageDraw.Draw(image).text(
        middle, str(digit), fill=255, font=ImageFont.load_default(46), anchor="mm", stroke_width=weight
    )
    return torch.from_numpy(np.array(image))[None].float() / 255
