"""Labelled grids of sample pictures, as PNG. A row per sample and a column per heading."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from launchbay import UserError
from launchbay.launch.files import to_json
from launchbay.launch.record.drawing import LAYOUT

SMALLEST_SHOWN, LARGEST_SHOWN, GAP, HEADING = 128, 288, 6, 26
"""Pixels: pictures smaller than SMALLEST_SHOWN are enlarged, of larger ones than LARGEST_SHOWN the middle is shown."""
DRAWABLE = "give N×C×H×W in preview and C×H×W in gallery; [:, None] makes a channel of N×H×W"
"""What to do about pictures that have another shape."""


def grid(columns: Mapping[str, Sequence[Tensor]]) -> Image.Image:
    """Draw `columns`: under each heading the pictures (C×H×W in [0, 1], C = 1 or 3) of the same samples.

    Pictures of a row may differ in size: all show the same part of the scene, pixels enlarged as they are. A single
    column becomes a square of pictures. Where each is goes along as `info[LAYOUT]`, for whoever cuts them out again.
    """
    drawn = [[to_image(heading, picture) for picture in pictures] for heading, pictures in columns.items()]
    rows = [list(row) for row in zip(*drawn, strict=True)]
    headings = list(columns)
    if len(headings) == 1 and len(rows) > 3:
        wide = ceil(len(rows) ** 0.5)
        pictures = [row[0] for row in rows]
        rows = [pictures[start : start + wide] for start in range(0, len(pictures), wide)]
        headings += [""] * (wide - 1)
    rows = [same_size(row) for row in rows]

    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(len(headings))]
    heights = [row[0].height for row in rows]
    canvas = Image.new(
        "RGB", (sum(widths) + GAP * (len(widths) + 1), HEADING + sum(heights) + GAP * len(heights)), "white"
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    boxes: list[list[tuple[int, int, int, int]]] = [[] for _ in rows]
    left = GAP
    for column, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        draw.text((left, 4), heading, fill="black", font=font)
        top = HEADING
        for row, height, placed in zip(rows, heights, boxes, strict=True):
            if column < len(row):
                canvas.paste(row[column], (left, top))
                placed.append((left, top, *row[column].size))
            top += height + GAP
        left += width + GAP
    if len(columns) == 1:
        boxes = [[box] for row in boxes for box in row]
    canvas.info[LAYOUT] = to_json({"headings": list(columns), "samples": boxes})
    return canvas


def to_image(name: str, picture: Tensor) -> Image.Image:
    if picture.ndim != 3 or len(picture) not in (1, 3):
        raise UserError(
            f"the picture {name!r} has shape {tuple(picture.shape)}, but C×H×W can be drawn, C = 1 or 3",
            DRAWABLE,
        )
    pixels = (picture.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)))


def same_size(row: list[Image.Image]) -> list[Image.Image]:
    """Return the middle of each picture, enlarged to the size that the largest of them is shown in."""
    width, height = max(image.width for image in row), max(image.height for image in row)
    shown = (min(width, LARGEST_SHOWN) / width, min(height, LARGEST_SHOWN) / height)
    enlarge = ceil(SMALLEST_SHOWN / max(width, height))
    size = (round(width * shown[0]) * enlarge, round(height * shown[1]) * enlarge)
    result = []
    for image in row:
        part_width, part_height = image.width * shown[0], image.height * shown[1]
        left, top = (image.width - part_width) / 2, (image.height - part_height) / 2
        box = (left, top, left + part_width, top + part_height)
        result.append(image.resize(size, Image.Resampling.NEAREST, box=box))
    return result
