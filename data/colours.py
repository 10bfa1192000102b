"""Pictures of one channel are made of those of three."""

import torch
from torch import Tensor

LUMA = (19595, 38470, 7471)
"""What red, green and blue give to the grey of a picture, of 65536: ITU-R BT.601, as Pillow rounds it."""


def luminance(pictures: Tensor) -> Tensor:
    """Return N×1×H×W of N×3×H×W: of uint8, to the last grey level what Pillow makes of it (`convert("L")`). Pictures
    with three equal channels keep their values.
    """
    red, green, blue = pictures.split(1, dim=1)
    if pictures.is_floating_point():
        return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]) / 65536
    weighted = red.int() * LUMA[0] + green.int() * LUMA[1] + blue.int() * LUMA[2]
    return ((weighted + 32768) >> 16).to(torch.uint8)
