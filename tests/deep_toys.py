"""Tasks whose networks have blocks, with all in them that is hard to share out or to compute twice."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adafactor, Optimizer
from toys import Noise, NoOptions, Single

from launchbay.data import Load
from launchbay.tasks import Batch, CreateOptimizer, Datasets, Losses, Task, follow


class Block(nn.Module):
    """Statistics, an estimate that each pass improves, and Dropout."""

    def __init__(self, width: int, dropout: float, norm: type[nn.Module]):
        super().__init__()
        first, second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)
        self.layers = nn.Sequential(first, norm(width), nn.SiLU(), spectral_norm(second), nn.Dropout(dropout))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


def deep(inputs: int, outputs: int, dropout: float, norm: type[nn.Module]) -> nn.Sequential:
    blocks = nn.Sequential(*(Block(5, dropout, norm) for _ in range(3)))
    return nn.Sequential(nn.Conv2d(inputs, 5, 3, padding=1), blocks, nn.Conv2d(5, outputs, 1))


@dataclass(frozen=True)
class DeepOptions:
    dropout: float = 0.0
    """Dropout in the blocks."""


class DeepGan(Task[DeepOptions]):
    """Two networks, a penalty on a gradient, and a teacher that follows the generator."""

    defaults: ClassVar = {"batch_size": 12, "steps": 20, "log_every": 1, "warmup": 0, "eval_every": 10}

    def __init__(self, config: DeepOptions):
        super().__init__(config)
        self.generator = deep(3, 3, config.dropout, nn.BatchNorm2d)
        self.discriminator = deep(3, 1, config.dropout, nn.BatchNorm2d)
        self.teacher = deepcopy(self.generator).requires_grad_(False)

    def datasets(self, load: Load) -> Datasets:
        return Noise(24), Noise(5)

    def training_step(self, batch: Batch) -> Losses:
        real, fake = batch.image.requires_grad_(), self.generator(batch.randn(3, 8, 8))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
        penalty = slope.square().mean()
        yield "discriminator", {"real": softplus(-on_real).mean(), "fake": softplus(on_fake).mean(), "r1": penalty}
        yield "generator", {"adversarial": softplus(-self.discriminator(fake)).mean()}
        follow(self.teacher, self.generator, 0.9)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        seen = self.discriminator(self.teacher(batch.image)) + self.generator(batch.image)
        return {"seen": seen.mean(dim=(1, 2, 3))}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"generated": self.generator(batch.image).sigmoid()}


class Scalar(Single):
    """It has a parameter that is a single number."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model.register_parameter("gain", nn.Parameter(torch.ones(())))


class ByColumns(Single):
    """Its optimizer keeps means of rows and of columns."""

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {"model": Adafactor(self.model.parameters())}
