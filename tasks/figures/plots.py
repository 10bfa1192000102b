"""Pictures of a whole model or set, for `Task.gallery`: tiles of generated pictures, a confusion matrix. C×H×W out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SHOWN = 64
"""Pixels that a tile has at least."""

LONGEST_NAME = 20
"""Characters of a class beside the matrix: longer ones would leave no room for it."""


def tile_pictures(images: Tensor, across: int) -> Tensor:
    """N×C×H×W as one picture, `across` in a row, small ones enlarged."""
    from torchvision.utils import make_grid

    factor = max(1, -(-SHOWN // images.shape[-1]))
    enlarged = images.clamp(0, 1).repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    return make_grid(enlarged, nrow=across, padding=2, pad_value=1.0)


def text_picture(text: str, side: int = 128) -> Tensor:
    """Return a picture of a few words, 1×side×side: black on white, from the upper left."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("L", (side, side), 255)
    ImageDraw.Draw(canvas).multiline_text((4, 4), text, fill=0, font=ImageFont.load_default(14), spacing=6)
    return torch.from_numpy(np.asarray(canvas).copy())[None] / 255


def answer_picture(probabilities: Tensor, label: int, names: Sequence[str], side: int = 128) -> Tensor:
    """Return a picture of the three most probable classes, 3×side×side, each with a bar as long as it is probable, that
    of the right one green. Below them is what is right, if the first is not.
    """
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    values, places = probabilities.topk(min(3, len(probabilities)))
    for row, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
        top, colour = 4 + 32 * row, "#1a7f37" if place == label else "#c0392b" if row == 0 else "#8a939e"
        draw.text((4, top), f"{names[place][:12]}  {100 * value:.0f} %", fill="black", font=font)
        draw.rectangle((4, top + 17, 4 + value * (side - 9), top + 24), fill=colour)
    if places[0] != label:
        draw.text((4, side - 24), f"it is {names[label]}"[:18], fill="#1a7f37", font=font)
    return torch.from_numpy(np.asarray(canvas).copy()).permute(2, 0, 1) / 255


def confusion_matrix(answer: Tensor, label: Tensor, names: Sequence[str]) -> Tensor:
    """Return how often pictures of a class (rows) are taken for another (columns), as shares of the row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(names)
    counts = torch.bincount(label * count + answer, minlength=count**2).view(count, count)
    share = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    figure = Figure(figsize=(2 + 0.45 * count, 1.6 + 0.45 * count), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    axes.set_xticks(range(count), short, rotation=90)
    axes.set_yticks(range(count), short)
    axes.set(xlabel="answer, % of the class", ylabel="class")
    if count <= 20:
        for row in range(count):
            for column in range(count):
                if share[row, column] >= 0.005:
                    text = f"{100 * share[row, column]:.0f}"
                    axes.text(
                        column, row, text, ha="center", va="center", color="w" if share[row, column] > 0.5 else "k"
                    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1) / 255
