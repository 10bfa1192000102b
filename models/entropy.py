"""PresGAN's estimate of the entropy of generated pictures (Dieng et al., "Prescribed Generative Adversarial Networks",
2019, section 3.2), which a generator is rewarded for.
"""

from typing import Protocol

import torch
from torch import Tensor

from launchbay.models.dcgan import Generator

BURN_IN, SAMPLES, LEAPFROG = 2, 2, 5
STEP_SIZE = 0.02
"""Of the leapfrog. The authors adapt it in training; a constant keeps a step a function of its samples alone."""


class Draws(Protocol):
    """Source of random numbers, a row for each picture: a task's batch."""

    def rand(self, *shape: int) -> Tensor: ...

    def randn(self, *shape: int) -> Tensor: ...


def log_density_gradient(generator: Generator, image: Tensor, latent: Tensor, draws: Draws) -> Tensor:
    """Return the gradient of log p(x) at generated pictures x = `image`, N×C×S×S, whose latents were `latent`.

    p(x) is the mixture of N(mean(z), deviation²) over all latents z, so the gradient is minus the posterior mean of
    (x - mean(z)) / deviation². The posterior is sampled by Hamiltonian Monte Carlo, which starts at the true latent.
    """
    deviation = generator.deviation().detach()
    mean = torch.zeros_like(image)
    for number in range(BURN_IN + SAMPLES):
        latent = hamiltonian_step(generator, image, latent, deviation, draws)
        if number >= BURN_IN:
            with torch.no_grad():
                mean += generator(latent) / SAMPLES
    return (mean - image) / deviation.square()


def hamiltonian_step(generator: Generator, image: Tensor, latent: Tensor, deviation: Tensor, draws: Draws) -> Tensor:
    """Return one proposal for each picture, taken or not by Metropolis' rule."""
    momentum = draws.randn(latent.shape[1])
    energy, slope = potential(generator, image, latent, deviation)
    before = energy + momentum.square().sum(dim=1) / 2
    proposed = latent
    momentum = momentum - STEP_SIZE / 2 * slope
    for number in range(LEAPFROG):
        proposed = proposed + STEP_SIZE * momentum
        energy, slope = potential(generator, image, proposed, deviation)
        momentum = momentum - STEP_SIZE * (1 if number < LEAPFROG - 1 else 0.5) * slope
    after = energy + momentum.square().sum(dim=1) / 2
    taken = draws.rand() < (before - after).clamp(max=0).exp()
    return torch.where(taken[:, None], proposed, latent)


def potential(generator: Generator, image: Tensor, latent: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x, z) of each picture and latent, up to a constant, and its gradient in the latent."""
    latent = latent.detach().requires_grad_()
    with torch.enable_grad():
        distance = ((image - generator(latent)) / deviation).square().flatten(1).sum(dim=1)
        energy = (distance + latent.square().sum(dim=1)) / 2
        (slope,) = torch.autograd.grad(energy.sum(), latent)
    return energy.detach(), slope
