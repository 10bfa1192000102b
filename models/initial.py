"""How layers start: at zero, or passing pictures on, so that training begins with a picture and not with noise."""

from typing import TypeVar

import torch
from torch import nn

L = TypeVar("L", nn.Conv2d, nn.Linear)


@torch.no_grad()
def start_at_zero(layer: L) -> L:
    """Make training start where nothing is corrected."""
    layer.weight.zero_()
    assert layer.bias is not None
    layer.bias.zero_()
    return layer


@torch.no_grad()
def start_as_identity(layer: nn.Conv2d | nn.ConvTranspose2d, channels: int) -> None:
    """Make the first filters of `layer` pass the first `channels` channels on unchanged; the others stay as they are,
    but for a transposed convolution's, which are kept small."""
    assert layer.bias is not None
    if isinstance(layer, nn.ConvTranspose2d):
        layer.weight *= 0.1
        layer.weight[:channels, :channels] = 0
    else:
        layer.weight[:channels] = 0
    nn.init.dirac_(layer.weight[:channels, :channels])
    layer.bias[:channels] = 0
