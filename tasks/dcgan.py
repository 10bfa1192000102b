"""GAN: a generator learns to draw pictures that a discriminator cannot tell from real ones.

Reached on MNIST after 1,500 steps (6 minutes on 2 CPU cores), with each of five seeds: all ten classes, as judged by a
classifier that is right on 99.5 % of the test digits; its features' FID is 202 to 253, where real digits have 1.5. On
CIFAR-10 as many steps (14 minutes on one core) give clouds of colour that a judge calls six of the ten classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn.functional import relu, softplus
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.data.augment import cutout, warp
from launchbay.models.dcgan import Discriminator, Generator
from launchbay.models.entropy import log_density_gradient
from launchbay.tasks.base import Batch, CreateOptimizer, Losses
from launchbay.tasks.generative import Generative, SampleMetric
from launchbay.tasks.options import JudgeOptions, Mark, SizeOptions, check_unused


@dataclass(frozen=True)
class DCGANConfig(JudgeOptions, SizeOptions):
    latent: Annotated[int, Gt(0)] = 100
    """Random numbers that a picture is made of."""
    loss: Literal["bce", "hinge"] = "bce"
    """bce: binary cross-entropy (the generator's in its non-saturating form). hinge: as in later GANs."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of features that the discriminator drops in training."""
    spectral_norm: bool = False
    """Bound the discriminator's slope layer by layer."""
    r1: Annotated[float, Ge(0)] = 0.0
    """Weight of the penalty on the discriminator's gradient at real pictures (Mescheder et al., 2018); 0.1 to 10."""
    augment: tuple[Literal["translation", "cutout", "brightness"], ...] = ()
    """Change real and generated pictures alike before the discriminator sees them (DiffAugment: Zhao et al., 2020):
    against overfitting where data are few."""
    generator_lr: Annotated[float | None, Gt(0)] = None
    """Learning rate of the generator. Default: --lr."""
    discriminator_lr: Annotated[float | None, Gt(0)] = None
    """Learning rate of the discriminator. Default: --lr. Two time scales: some four times the generator's."""
    regularize: Literal["none", "presgan"] = "none"
    """presgan: reward the entropy of what is generated (Dieng et al., 2019), against collapse; ten times slower."""
    entropy: Annotated[float, Gt(0)] = 2e-4
    """Weight of the entropy, with --regularize presgan."""
    metrics: Annotated[tuple[SampleMetric, ...], Mark.EVALUATION] = ()
    """fid, kid, inception_score: of samples, by the judge's features."""


class DCGAN(Generative[DCGANConfig]):
    defaults: ClassVar = {
        "data": "glyphs", "batch_size": 32, "steps": 1500, "lr": 5e-4, "ema": 0.99, "schedule": "constant",
        "clip_norm": None,
    }  # fmt: skip

    def __init__(self, config: DCGANConfig):
        super().__init__(config)
        channels, size = config.channels or 1, config.size or 28
        if size % 4:
            raise UserError(f"--size {size} does not divide by 4", f"try --size {size // 4 * 4 + 4}")
        check_unused(config, "regularize", {"entropy": ["presgan"]})
        self.latent, self.sample_metrics = config.latent, config.metrics
        self.monitor = "-fid" if "fid" in config.metrics else ""  # pyright: ignore[reportAttributeAccessIssue]
        self.prescribed = config.regularize == "presgan"
        self.generator = Generator(channels, size, config.latent, noisy=self.prescribed)
        self.discriminator = Discriminator(channels, size, config.dropout, config.spectral_norm)
        self.plain_generator = [self.generator]  # in a list it is no second network, and stays without a wrapper

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        rates = {"generator": self.config.generator_lr, "discriminator": self.config.discriminator_lr}
        own = {name: {"lr": rate} if rate else {} for name, rate in rates.items()}
        return {
            name: create(network.parameters(), betas=(0.5, 0.999), **own[name])
            for name, network in self.networks().items()
        }

    def training_step(self, batch: Batch) -> Losses:
        config, real = self.config, 2 * batch.image - 1
        latent = batch.randn(config.latent)
        if self.prescribed:  # real pictures get the noise of generated ones, or it would give these away
            noise = batch.randn(*real.shape[1:])
            fake = self.generator(latent, noise)
            real = real + self.plain_generator[0].deviation().detach() * noise
        else:
            fake = self.generator(latent)

        real.requires_grad_(config.r1 > 0)
        on_real = self.discriminator(self.augment(real, batch))
        on_fake = self.discriminator(self.augment(fake.detach(), batch))
        terms = {"real": self.discriminator_loss(on_real), "fake": self.discriminator_loss(-on_fake)}
        if config.r1:
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            terms["r1"] = config.r1 / 2 * slope.square().flatten(1).sum(dim=1).mean()
        yield "discriminator", terms

        on_fake = self.discriminator(self.augment(fake, batch))
        adversarial = softplus(-on_fake) if config.loss == "bce" else -on_fake
        terms = {"adversarial": adversarial.mean()}
        if self.prescribed:
            slope = log_density_gradient(self.plain_generator[0], fake.detach(), latent, batch)
            terms["entropy"] = config.entropy * (slope * fake).flatten(1).sum(dim=1).mean()
        yield "generator", terms

    def discriminator_loss(self, logits: Tensor) -> Tensor:
        """Return how far the discriminator is from holding pictures for real."""
        return (softplus(-logits) if self.config.loss == "bce" else relu(1 - logits)).mean()

    def augment(self, image: Tensor, batch: Batch) -> Tensor:
        """Differentiable changes of pictures in [-1, 1], drawn anew for each picture."""
        kinds, size = self.config.augment, image.shape[-1]
        if "brightness" in kinds:
            image = image + (batch.rand(1, 1, 1) - 0.5)
        if "translation" in kinds:
            down, across = ((2 * batch.rand(2) - 1) * size / 8).round().T
            still = torch.zeros_like(down)
            image = warp(image + 1, still, still > 0, down, across) - 1  # black is -1 here
        if "cutout" in kinds:
            image = cutout(image, size // 2, *batch.rand(2).T, fill=0.0)
        return image

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        return (self.generator(latent) + 1) / 2
