"""Batched augmentation: tensor arithmetic on a whole batch, with parameters drawn per sample by whoever calls it."""

import torch
from torch import Tensor


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
