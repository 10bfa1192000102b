"""GAN: a generator learns to draw pictures that a discriminator cannot tell from real ones.

Reached on MNIST after 1,500 steps (6 minutes on 2 CPU cores), with each of five seeds: all ten classes, as judged by a
classifier that is right on 99.5 % of the test digits; its features' FID is 202 to 253, where real digits have 1.5; 45
to 48 with examples/records/dcgan-mnist.yaml (8 minutes on one core). On CIFAR-10 as many steps (14 minutes on one core)
give clouds of colour that a judge calls six of the ten classes; examples/records/dcgan-cifar10.yaml draws, in an hour,
cars and horses that one recognises: FID 97 by the features of a classifier that is right on 94 %.
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
from launchbay.models.dcgan import Discriminator, Generator, PyramidDiscriminator, PyramidGenerator
from launchbay.models.entropy import LatentSampler
from launchbay.tasks.base import Batch, CreateOptimizer, Losses
from launchbay.tasks.generative import Generative, SampleMetric
from launchbay.tasks.options import JudgeOptions, Mark, SizeOptions, check_unused


@dataclass(frozen=True)
class DCGANConfig(JudgeOptions, SizeOptions):
    model: Literal["plain", "pyramid"] = "plain"
    """plain: a fully connected layer, one transposed convolution; many channels at half the size. pyramid: sides are
    doubled and channels halved several times, from 4 or 7 pixels on, with BatchNorm: faster, and better where it is
    trained for long."""
    width: Annotated[int, Gt(0)] = 32
    """Channels of the largest maps of --model pyramid; maps of half the side have twice as many."""
    classes: Annotated[int, Ge(0)] = 0
    """Number of classes that --model pyramid is told: it then draws pictures of a class. 0: it is not told."""
    latent: Annotated[int, Gt(0)] = 100
    """Random numbers that a picture is made of."""
    loss: Literal["bce", "minimax", "hinge"] = "bce"
    """bce: binary cross-entropy, the generator's in its non-saturating form. minimax: in the form log(1 - D), which
    learns little while the discriminator is sure (Goodfellow et al., 2014). hinge: as in later GANs."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of features that the discriminator drops in training."""
    spectral_norm: bool = False
    """Bound the discriminator's slope layer by layer."""
    r1: Annotated[float, Ge(0)] = 0.0
    """Weight of the penalty on the discriminator's gradient at real pictures (Mescheder et al., 2018); 0.1 to 10."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Change real and generated pictures alike before the discriminator sees them (DiffAugment: Zhao et al., 2020):
    against overfitting where data are few."""
    generator_lr: Annotated[float | None, Gt(0)] = None
    """Learning rate of the generator. Default: --lr."""
    discriminator_lr: Annotated[float | None, Gt(0)] = None
    """Learning rate of the discriminator. Default: --lr. Two time scales: some four times the generator's."""
    regularize: Literal["none", "presgan"] = "none"
    """presgan: reward the entropy of what is generated (Dieng et al., 2019), against collapse; five to
    seven times slower."""
    entropy: Annotated[float, Gt(0)] = 0.01
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
        check_unused(config, "model", {"dropout": ["plain"], "regularize": ["plain"]})
        check_unused(config, "model", {"width": ["pyramid"], "classes": ["pyramid"]})
        self.latent, self.classes, self.sample_metrics = config.latent, config.classes, config.metrics
        self.monitor = "-fid" if "fid" in config.metrics else ""  # pyright: ignore[reportAttributeAccessIssue]
        self.prescribed, numbers = config.regularize == "presgan", config.latent + config.classes
        self.plain_generator: list[Generator] = []  # in a list it is no second network, and stays without a wrapper
        if config.model == "plain":
            self.generator = plain = Generator(channels, size, numbers, noisy=self.prescribed)
            self.plain_generator.append(plain)
            self.discriminator = Discriminator(channels, size, config.dropout, config.spectral_norm)
        else:
            self.generator = PyramidGenerator(channels, size, numbers, config.width)
            self.discriminator = PyramidDiscriminator(
                channels, size, config.width, config.spectral_norm, config.classes
            )
        if self.prescribed:
            self.sampler = LatentSampler(config.latent)

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        rates = {"generator": self.config.generator_lr, "discriminator": self.config.discriminator_lr}
        own = {name: {"lr": rate} if rate else {} for name, rate in rates.items()}
        return {
            name: create(network.parameters(), betas=(0.5, 0.999), **own[name])
            for name, network in self.networks().items()
        }

    def training_step(self, batch: Batch) -> Losses:
        config, real = self.config, 2 * batch.image - 1
        condition = self.condition(batch)
        latent = torch.cat([batch.randn(config.latent), condition], dim=1)
        if self.prescribed:  # real pictures get the noise of generated ones, or it would give these away
            noise = batch.randn(*real.shape[1:])
            fake = self.generator(latent, noise)
            real = real + self.plain_generator[0].deviation().detach() * noise
        else:
            fake = self.generator(latent)

        real.requires_grad_(config.r1 > 0)
        on_real = self.discriminator(self.augment(real, batch), condition)
        on_fake = self.discriminator(self.augment(fake.detach(), batch), condition)
        terms = {"real": self.discriminator_loss(on_real), "fake": self.discriminator_loss(-on_fake)}
        if config.r1:
            (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
            terms["r1"] = config.r1 / 2 * slope.square().flatten(1).sum(dim=1).mean()
        yield "discriminator", terms

        on_fake = self.discriminator(self.augment(fake, batch), condition)
        terms = {"adversarial": self.generator_loss(on_fake)}
        if self.prescribed:
            slope = self.sampler.log_density_gradient(self.plain_generator[0], fake.detach(), latent, batch)
            terms["entropy"] = config.entropy * (slope * fake).flatten(1).sum(dim=1).mean()
        yield "generator", terms
        if self.prescribed:
            self.plain_generator[0].bound_deviation()

    def discriminator_loss(self, logits: Tensor) -> Tensor:
        """Return how far the discriminator is from holding pictures for real."""
        return (relu(1 - logits) if self.config.loss == "hinge" else softplus(-logits)).mean()

    def generator_loss(self, logits: Tensor) -> Tensor:
        """Return how far generated pictures are from being held for real."""
        match self.config.loss:
            case "bce":
                return softplus(-logits).mean()
            case "minimax":
                return -softplus(logits).mean()
            case "hinge":
                return -logits.mean()

    def augment(self, image: Tensor, batch: Batch) -> Tensor:
        """Return pictures in [-1, 1] with the changes of `differentiable_augment` that were asked for."""
        for kind in self.config.augment:
            image = differentiable_augment(image, kind, batch)
        return image

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        return (self.generator(torch.cat([latent, condition], dim=1)) + 1) / 2


def differentiable_augment(image: Tensor, kind: Literal["color", "translation", "cutout"], batch: Batch) -> Tensor:
    """Change N×C×S×S pictures in [-1, 1], each by numbers of its own, with gradients: as published (Zhao et al.,
    "Differentiable Augmentation for Data-Efficient GAN Training", 2020, and their code).

    - color: brightness ± 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5, one after the other.
    - translation: up to an eighth of the side, in whole pixels; 0, which is grey, comes in.
    - cutout: a square of half the side, at most half of it outside, becomes 0.
    """
    size = image.shape[-1]
    if kind == "color":
        brightness, saturation, contrast = batch.rand(3, 1, 1, 1).unbind(dim=1)
        image = image + (brightness - 0.5)
        grey = image.mean(dim=1, keepdim=True)
        image = (image - grey) * (2 * saturation) + grey
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        return (image - mean) * (contrast + 0.5) + mean
    if kind == "translation":
        most = int(size / 8 + 0.5)
        down, across = (batch.rand(2) * (2 * most + 1)).floor().sub(most).T
        still = torch.zeros_like(down)
        return warp(image, still, still > 0, down, across)
    side = int(size / 2 + 0.5)
    centre = ((batch.rand(2) * (size + 1 - side % 2)).floor() + side % 2 / 2) / size
    return cutout(image, side, *centre.T, fill=0.0)
