"""Diffusion: take noise away, step by step, until a picture of the wanted class is left."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le
from launchbay import UserError
from launchbay.data import ImageSet, count_classes
from launchbay.tasks import Batch, Generative, Losses
from torch import Tensor

from .network import UNet


@dataclass(frozen=True)
class DiffusionConfig:
    width: int = 32
    """Channels of the outer layers; the inner ones have twice as many."""
    class_dropout: Annotated[float, Ge(0), Le(1)] = 0.1
    """Share of the training pictures whose class the network is not told."""
    guidance: float = 2.0
    """How much the class counts in sampling. 0: not at all; 1: as in training; above 1: more than that."""
    sampling_steps: Annotated[int, Gt(0)] = 20
    """Steps from noise to a picture."""
    eta: Annotated[float, Ge(0), Le(1)] = 1.0
    """How random sampling is (Song et al., 2021). 1: ancestral, new noise in each step; 0: the latent decides all."""
    classes: int | None = None
    """Number of classes. Default: that of the training pictures."""
    judge: str | None = None
    """Run folder of a classify task on the same data, which judges the samples. Default: none."""
    samples: Annotated[int, Ge(2)] = 100
    """Samples to draw in each validation."""
    metrics: tuple[Literal["fid", "kid", "inception_score", "precision_recall"], ...] = ()
    """Figures of these samples, by the judge's features; they need thousands."""
    channels: int | None = None
    """Channels of the pictures. Default: those of the training pictures; folders are read in colour."""
    size: int | None = None
    """Side that pictures are resized to, in pixels. Default: theirs if they are squares of one size, otherwise 32."""


class Diffusion(Generative[DiffusionConfig]):
    """Denoising diffusion (Ho et al., 2020) with classifier-free guidance (Ho and Salimans, 2022).

    A noisy picture is cos(angle)·picture + sin(angle)·noise (after Nichol and Dhariwal, 2021): only noise at π/2, and
    at 0 a picture in [-1, 1]. The network predicts the velocity, the derivative of that (Salimans and Ho, 2022).
    """

    defaults: ClassVar = {
        "data": "glyphs",
        "batch_size": 32,
        "steps": 2000,
        "lr": 3e-3,
        "ema": 0.99,
        "eval_every": 500,
    }
    monitor: ClassVar = "-mse"

    def __init__(self, config: DiffusionConfig):
        super().__init__(config)
        self.classes, channels, size = config.classes or 10, config.channels or 1, config.size or 28
        if size % 4:
            raise UserError(f"--size {size} does not divide by 4", f"try --size {size // 4 * 4 + 4}")
        self.shape, self.latent = (channels, size, size), channels * size**2
        self.sample_metrics = config.metrics
        self.model = UNet(channels, self.classes, config.width)

    @classmethod
    def infer_options(cls, config: DiffusionConfig, images: ImageSet) -> DiffusionConfig:
        return replace(super().infer_options(config, images), classes=config.classes or count_classes(images))

    def training_step(self, batch: Batch) -> Losses:
        told = batch.rand(1) >= self.config.class_dropout
        yield "model", {"mse": self.error(batch, self.condition(batch) * told).mean()}

    def error(self, batch: Batch, condition: Tensor) -> Tensor:
        """Return the mean squared error of the velocity of each picture, made noisy at random: N."""
        angle, noise, picture = batch.rand(1, 1, 1) * math.pi / 2, batch.randn(*self.shape), 2 * batch.image - 1
        cos, sin = angle.cos(), angle.sin()
        velocity = self.model(cos * picture + sin * noise, angle.flatten(), condition)
        return (velocity - (cos * noise - sin * picture)).square().mean(dim=(1, 2, 3))

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"mse": self.error(batch, self.condition(batch))} | super().evaluate(batch)

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        noisy, steps = latent.unflatten(1, self.shape), self.config.sampling_steps
        for angle, next_angle in pairwise(math.pi / 2 * step / steps for step in range(steps, -1, -1)):
            (cos, sin), (next_cos, next_sin) = ((math.cos(a), math.sin(a)) for a in (angle, next_angle))
            picture = (cos * noisy - sin * self.velocity(noisy, angle, condition)).clamp(-1, 1)
            noise = (noisy - cos * picture) / sin
            drawn = self.config.eta * next_sin / sin * math.sqrt(1 - (cos / next_cos) ** 2)
            kept = math.sqrt(next_sin**2 - drawn**2)
            noisy = next_cos * picture + kept * noise + drawn * self.randn(*self.shape)
        return (noisy + 1) / 2

    def velocity(self, noisy: Tensor, angle: float, condition: Tensor) -> Tensor:
        """Return the velocity for the class: `guidance` times as far from that for no class as the network says."""
        conditions = torch.cat([condition, torch.zeros_like(condition)])
        angles = noisy.new_full((conditions.shape[0],), angle)
        told, untold = self.model(torch.cat([noisy, noisy]), angles, conditions).chunk(2)
        return untold + self.config.guidance * (told - untold)
