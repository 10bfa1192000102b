"""The networks: an encoder of small pictures, and the perceptrons behind it."""

from torch import nn


def encoder(channels: int, width: int, features: int) -> nn.Sequential:
    """Pictures N×C×H×W in [0, 1] in, N×features out, for any H and W.

    With GroupNorm and LayerNorm, not BatchNorm: what it says of a picture depends neither on the others of its batch
    nor on how many processes there are.
    """
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(4 * width * 4**2, features)]
    return nn.Sequential(*layers, nn.LayerNorm(features), nn.ReLU())


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """N×inputs in, N×outputs out."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))
