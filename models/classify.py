"""Classifiers: N×C×H×W in [0, 1] in, N×classes logits out. `features` gives what their last layer sees."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from launchbay import UserError
from launchbay.models.pretrained import timm_network


class Classifier(nn.Module):
    """A trunk that gives N×D features, and a linear layer on them.

    Pixels are brought to about zero mean and unit deviation first, and logits are divided by a `temperature`.
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
        temperature: float = 1.0,
    ):
        super().__init__()
        self.trunk, self.head, self.temperature = trunk, head, temperature
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def features(self, image: Tensor) -> Tensor:
        """Return what the last layer sees of pictures N×C×H×W in [0, 1]: N×D."""
        return self.trunk((image - self.mean) / self.deviation)

    def forward(self, image: Tensor) -> Tensor:
        """Return N×classes logits of pictures N×C×H×W in [0, 1]."""
        return self.head(self.features(image)) / self.temperature


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


def airbench(channels: int, width: int, classes: int) -> Classifier:
    """Return the network of the fastest CIFAR-10 records (Jordan, "94% on CIFAR-10 in 3.29 Seconds", 2024): a fixed
    whitening convolution, then three pairs of convolutions to 2, 8 and 8 times `width` maps, each halving the sides
    after its first, without residual connections. Filters start by passing their input on.

    His whitening takes the principal components of the training pictures' squares of 2×2. These are, but for
    correlations of up to 0.13 on CIFAR-10, sums and differences of pixels and of colours, so that they need no data.
    """
    bases = whitening(channels)
    look = nn.Conv2d(channels, len(bases), 2)
    look.weight = nn.Parameter(bases, requires_grad=False)
    nn.init.zeros_(look.bias)  # pyright: ignore[reportArgumentType]
    widths = (len(bases), 2 * width, 8 * width, 8 * width)
    trunk = nn.Sequential(
        look,
        nn.GELU(),
        *(layer for before, after in pairwise(widths) for layer in pair(before, after)),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
    )
    return Classifier(trunk, nn.Linear(8 * width, classes), temperature=9.0)


def whitening(channels: int) -> Tensor:
    """Return filters F×C×2×2 whose outputs have about unit variance and little correlation on photographs, and their
    negatives: of brightness, red against blue and green against both, the mean of four pixels and their differences
    across, down and both ways. Deviations are CIFAR-10's, of pixels whose deviation is one. Other channels than three
    are taken one by one.
    """
    step = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    places = torch.einsum("ai,bj->abij", step, step).reshape(4, 2, 2) / 2
    spread = torch.tensor([3.2, 0.63, 0.58, 0.24])
    colours, shares = torch.eye(channels), torch.ones(channels)
    if channels == 3:
        colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
        colours, shares = colours / colours.norm(dim=1, keepdim=True), torch.tensor([1.0, 0.23, 0.12])
    deviation = shares[:, None] * spread
    filters = torch.einsum("kc,fij->kfcij", colours, places) / deviation[..., None, None, None]
    return torch.cat([filters, -filters]).flatten(0, 1)


def pair(before: int, after: int) -> list[nn.Module]:
    return [*passing(before, after, nn.MaxPool2d(2)), *passing(after, after)]


def passing(before: int, after: int, *pool: nn.Module) -> list[nn.Module]:
    """Return a convolution that starts by passing its input on, as far as it has maps for it, BatchNorm and GELU."""
    layer, norm = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after, momentum=0.4)
    nn.init.dirac_(layer.weight[:before])
    norm.weight.requires_grad_(False)
    return [layer, *pool, norm, nn.GELU()]


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
    """Return the classifier called `name`: cnn, resnet9, airbench or timm/NAME.

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
            "choose another --size: cnn and resnet9 need 8 or more, airbench 9, networks of timm often 224",
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
        case "airbench":
            return airbench(channels, width, classes)
    raise UserError(
        f"there is no classifier {name!r}", "--model cnn, resnet9, airbench or timm/NAME, such as timm/resnet18"
    )
