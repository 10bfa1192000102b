"""Variational autoencoder: learn a few numbers that describe a picture, and draw new pictures from them.

Reached on binarised MNIST, 10,000 test digits, after 8 epochs (13 minutes on one CPU core): an ELBO of -91.7 nats, with
classes -88.6; -83.8 with examples/records/vae-mnist.yaml (10 epochs); the mean digit alone has -210.1. Of digits drawn
by class, 95 % are taken for that class by a judge.
"""

from dataclasses import dataclass
from math import log, pi
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from launchbay import UserError
from launchbay.data import Load
from launchbay.models import vae
from launchbay.tasks.base import Batch, Datasets, Losses
from launchbay.tasks.figures.metrics import check_side, image_figures, load_metric_networks, quantize
from launchbay.tasks.generative import Generative, SampleMetric
from launchbay.tasks.options import ImageMetricOptions, JudgeOptions, Mark, SizeOptions, check_unused


@dataclass(frozen=True)
class VAEConfig(ImageMetricOptions, JudgeOptions, SizeOptions):
    model: Literal["dense", "conv", "ladder"] = "conv"
    """dense: three fully connected layers in, three out. conv: strided convolutions, mirrored. ladder: latents in six
    levels, from coarse to fine, each drawn in view of those before; better, and slower."""
    latent: Annotated[int, Gt(0)] = 32
    """Numbers that describe a picture. ladder has as many as its levels need, 2,352 for 28×28 pixels."""
    width: Annotated[int, Gt(0)] = 32
    """Channels of conv's and ladder's first layers; their inner ones have twice as many."""
    loss: Literal["bernoulli", "mse", "l1"] = "bernoulli"
    """What a pixel is: bernoulli, the probability of white; mse, a Gaussian of variance 1/2; l1, a Laplacian of scale
    1. With the latter two a smaller --beta gives sharper pictures."""
    binarize: bool = False
    """Draw each pixel as black or white, anew at every visit, its grey being the probability of white. Published
    log-likelihoods of MNIST are of such pictures; those of grey ones with the bernoulli loss are some 10 to 20 nats
    lower and no likelihoods."""
    beta: Annotated[float, Ge(0)] = 1.0
    """Weight of the divergence from the prior (Higgins et al., 2017)."""
    kl_warmup: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the training in which that weight rises from 0, so that latents are used before they cost (Sønderby et
    al., 2016)."""
    classes: Annotated[int, Ge(0)] = 0
    """Number of classes: makes the model conditional, it then draws pictures of a class. 0: it is not told."""
    importance_samples: Annotated[int, Ge(0), Mark.EVALUATION] = 0
    """Draws of the latents for each validation picture, of which a closer bound of its log-likelihood is made beside
    the ELBO (importance_bound: Burda et al., 2016). It takes so many times as long. 0: none."""
    sample_metrics: Annotated[tuple[SampleMetric, ...], Mark.EVALUATION] = ()
    """Figures of samples, by the judge's features."""


class VAE(Generative[VAEConfig]):
    """Figures in nats per picture: elbo, the evidence lower bound (higher is better), is minus the sum of
    reconstruction (negative log-likelihood, one draw of the latent) and kl (divergence of the posterior from the
    prior). Those of reconstructions are of the posterior's mean. The baseline of all is the mean training picture.
    """

    defaults: ClassVar = {"data": "glyphs", "batch_size": 128, "epochs": 10.0, "lr": 1e-3}
    monitor: ClassVar = "elbo"
    baseline_name: ClassVar = "baseline"

    def __init__(self, config: VAEConfig):
        super().__init__(config)
        channels, size = config.channels or 1, config.size or 28
        check_unused(config, "model", {"width": ["conv", "ladder"], "latent": ["dense", "conv"]})
        if config.model != "dense" and size % 4:
            said = f"--size {size} does not divide by 4, as --model {config.model} needs"
            raise UserError(said, f"try {size // 4 * 4 + 4}")
        self.latent, self.classes = config.latent, config.classes
        self.sample_metrics = config.sample_metrics
        match config.model:
            case "dense":
                self.model = vae.dense(channels, size, config.latent, config.classes)
            case "conv":
                self.model = vae.convolutional(channels, size, config.latent, config.classes, config.width)
            case "ladder":
                self.model = vae.LadderVAE(channels, size, config.classes, config.width)
                self.latent = self.model.latent
        self.register_buffer("mean_picture", torch.full((channels, size, size), 0.5), persistent=False)

    def datasets(self, load: Load) -> Datasets:
        load_metric_networks(self.config.metrics)
        check_side(self.config.metrics, self.mean_picture.shape[-1])
        train, validation = super().datasets(load)
        some = train.__getitems__(range(min(1000, len(train))))["image"]
        self.mean_picture = (some / 255).mean(dim=0).clamp(0.01, 0.99)
        return train, validation

    def target(self, batch: Batch) -> Tensor:
        if not self.config.binarize:
            return batch.image
        return (batch.rand(*batch.image.shape[1:]) < batch.image).to(batch.image.dtype)

    def training_step(self, batch: Batch) -> Losses:
        image = self.target(batch)
        logits, mean, log_variance = self.model(image, self.condition(batch), batch.randn(self.latent))
        weight = self.config.beta * min(1.0, batch.progress / self.config.kl_warmup if self.config.kl_warmup else 1.0)
        kl = weight * divergence(mean, log_variance).mean()
        yield "model", {"reconstruction": self.negative_log_likelihood(logits, image).mean(), "kl": kl}

    def negative_log_likelihood(self, logits: Tensor, image: Tensor) -> Tensor:
        """Negative log-likelihood of each picture in nats, for mse and l1 as a density of grey values in [0, 1]."""
        if self.config.loss == "bernoulli":
            loss = binary_cross_entropy_with_logits(logits, image, reduction="none")
        elif self.config.loss == "mse":
            loss = (logits.sigmoid() - image).square() + log(pi) / 2
        else:
            loss = (logits.sigmoid() - image).abs() + log(2)
        return loss.flatten(1).sum(dim=1)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        image, condition = self.target(batch), self.condition(batch)
        logits, mean, log_variance = self.model(image, condition, batch.randn(self.latent))
        reconstruction, kl = self.negative_log_likelihood(logits, image), divergence(mean, log_variance)
        mean_logits = torch.logit(self.mean_picture).expand_as(image)
        baseline = self.negative_log_likelihood(mean_logits, image)
        output = quantize(self.of_mean(image, condition))
        of_mean = image_figures(self.config.metrics, quantize(self.mean_picture.expand_as(image)), image)
        figures = {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        figures |= {"baseline/elbo": -baseline, "baseline/reconstruction": baseline}
        if self.config.importance_samples:
            figures |= {"importance_bound": self.importance_bound(batch, image), "baseline/importance_bound": -baseline}
        figures |= image_figures(self.config.metrics, output, image)
        figures |= {f"baseline/{name}": value for name, value in of_mean.items()}
        return figures | super().evaluate(batch)

    def importance_bound(self, batch: Batch, image: Tensor) -> Tensor:
        """Return, of each picture, the logarithm of the mean of p(x, z) / q(z | x) over draws of z from the posterior
        q (Burda et al., "Importance Weighted Autoencoders", 2016, equation 8), in nats: at most its log-likelihood, and
        on average the closer to it the more draws.
        """
        condition, bounds = self.condition(batch), []
        for _ in range(self.config.importance_samples):
            noise = batch.randn(self.latent)
            logits, mean, log_variance = self.model(image, condition, noise)
            latent = mean + noise * (log_variance / 2).exp()
            ratio = (log_variance + noise.square() - latent.square()).sum(dim=1) / 2
            bounds.append(ratio - self.negative_log_likelihood(logits, image))
        return torch.stack(bounds).logsumexp(dim=0) - log(len(bounds))

    def of_mean(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return what the network makes of the posterior's mean: pictures in [0, 1]."""
        logits, _, _ = self.model(image, condition, image.new_zeros(len(image), self.latent))
        return logits.sigmoid()

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        image, condition = self.target(batch), self.condition(batch)
        return {"input": image, "reconstruction": self.of_mean(image, condition)}

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.model.decode(latent, condition).sigmoid()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N normal distributions from the standard one, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
