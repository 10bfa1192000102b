"""Classifiers: N×C×H×W in [0, 1] in, N×classes logits out. `features` gives what their last layer sees."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from launchbay import UserError
from launchbay.models.pretrained import timm_network


class Classifier(nn.Module):
    """A trunk that gives N×D features, and a linear layer on them.

    Pixels are brought to about zero mean and unit deviation first.
    """

    head: nn.Linear
    """The last layer, N×D features in, N×classes logits out."""
    mean: Tensor
    """Mean of the pixels, C×1×1, or one for all channels."""
    deviation: Tensor
    """Standard deviation of the pixels, likewise."""

    def __init__(
        self,
        trunk: nn.Module,
        head: nn.Linear,
        mean: tuple[float, ...] = (0.5,),
        deviation: tuple[float, ...] = (0.25,),
    ):
        super().__init__()
        self.trunk, self.head = trunk, head
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def features(self, image: Tensor) -> Tensor:
        """Return what the last layer sees of pictures N×C×H×W in [0, 1]: N×D."""
        return self.trunk((image - self.mean) / self.deviation)

    def forward(self, image: Tensor) -> Tensor:
        """Return N×classes logits of pictures N×C×H×W in [0, 1]."""
        return self.head(self.features(image))


def cnn(channels: int, size: int, classes: int) -> Classifier:
    """Three blocks of convolution, ReLU and pooling, and two fully connected layers: 32-64-128, then 2048-128-classes
    for pictures of 32×32.
    """
    if size < 8:
        raise RuntimeError("three times halved, nothing is left")
    widths = (channels, 32, 64, 128)
    blocks: list[nn.Module] = []
    for before, after in pairwise(widths):
        # Pooling first gives the same numbers as ReLU first, from a quarter of the work.
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
    trunk = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * (size // 8) ** 2, 128), nn.ReLU())
    return Classifier(trunk, nn.Linear(128, classes))


def resnet9(channels: int, width: int, classes: int) -> Classifier:
    """Return a small residual network in the manner of the fast CIFAR-10 records (Page, "How to Train Your ResNet",
    2018; Jordan, "94% on CIFAR-10 in 3.29 Seconds", 2024): `width`, 2, 4 and 4 times that many channels, pooling after
    the first convolution of each stage, GELU, a residual pair of convolutions in each stage, global max pooling.
    """
    stages = [(width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)]
    trunk = nn.Sequential(
        *conv(channels, width),
        *(layer for before, after in stages for layer in (*conv(before, after, nn.MaxPool2d(2)), Residual(after))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )
    head = nn.Linear(4 * width, classes)
    nn.init.normal_(head.weight, std=0.05)
    return Classifier(trunk, head)


def conv(before: int, after: int, *pool: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(after), nn.GELU()]


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(*conv(width, width), *conv(width, width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


@torch.no_grad()
def build_classifier(name: str, channels: int, size: int, classes: int, width: int, *, pretrained: bool) -> Classifier:
    """Return the classifier called `name`: cnn, resnet9 or timm/NAME.

    Raises:
        UserError: there is none of that name, its weights cannot be had, or it cannot take pictures of that size.
    """
    try:
        network = by_name(name, channels, size, classes, width, pretrained=pretrained)
        network.eval()(torch.zeros(1, channels, size, size))
    except (RuntimeError, AssertionError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{name} cannot take pictures of {size}×{size}: {reason}",
            "choose another --size: cnn and resnet9 need 8 or more, networks of timm often 224",
        ) from error
    return network.train()


def by_name(name: str, channels: int, size: int, classes: int, width: int, *, pretrained: bool) -> Classifier:
    if name.startswith("timm/"):
        network: Any = timm_network(
            name.removeprefix("timm/"), pretrained=pretrained, in_chans=channels, num_classes=classes
        )
        head = network.get_classifier()
        network.reset_classifier(0)
        mean, deviation = (network.pretrained_cfg[key] for key in ("mean", "std"))
        return Classifier(network, head, *((mean, deviation) if channels == 3 else ()))
    match name:
        case "cnn":
            return cnn(channels, size, classes)
        case "resnet9":
            return resnet9(channels, width, classes)
    raise UserError(f"there is no classifier {name!r}", "--model cnn, resnet9 or timm/NAME, such as timm/resnet18")
