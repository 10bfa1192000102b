"""PresGAN's estimate of the entropy of generated pictures (Dieng et al., "Prescribed Generative Adversarial Networks",
2019, section 3.2), which a generator is rewarded for.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from launchbay.models.dcgan import Generator

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From latents to -log p(x, z) of each picture and its latent, up to a constant, and its gradient in the latent."""
BURN_IN, SAMPLES, LEAPFROG = 2, 2, 5
ACCEPTANCE = 0.67
"""Share of proposals that is best taken (Neal, "MCMC using Hamiltonian dynamics", 2011, section 4.4: 0.65)."""
RATE = 0.02
"""Of the adaptation of the step size, as the authors have it."""
LEAST_WEIGHT = 0.01
"""Of one batch in the mean curvature."""


class Draws(Protocol):
    """Source of random numbers, a row for each picture, and what brings the rows of all processes together: a task's
    batch.
    """

    def rand(self, *shape: int) -> Tensor: ...

    def randn(self, *shape: int) -> Tensor: ...

    def gather(self, tensor: Tensor, /) -> Tensor: ...


class LatentSampler(nn.Module):
    """Draws latents that may have given a picture: Hamiltonian Monte Carlo, whose step size is adapted in training to
    the acceptance above.

    The authors' step is the same for all directions of the latent. Where these differ, as singular values of 0.2 and 5
    do, a step that is short enough for one is too short to leave its start in another, and the gradient is lost there.
    So steps are measured by the posterior's mean curvature, J'J / deviation² + 1 with the generator's slope J: the mean
    of the squared slopes at true latents.
    """

    step_size: Tensor
    curvature: Tensor
    batches: Tensor

    def __init__(self, latent: int):
        super().__init__()
        self.register_buffer("step_size", torch.tensor(1.85 * latent**-0.25))  # best for normal posteriors
        self.register_buffer("curvature", torch.zeros(latent, latent))
        self.register_buffer("batches", torch.zeros(()))

    def log_density_gradient(self, generator: Generator, image: Tensor, latent: Tensor, draws: Draws) -> Tensor:
        """Return the gradient of log p(x) at generated pictures x = `image`, N×C×S×S, whose latents were `latent`, N×L.

        p(x) is the mixture of N(mean(z), deviation²) over all latents z, so the gradient is minus the posterior mean of
        (x - mean(z)) / deviation². The chain starts at the true latent, which is a sample of the posterior, but says
        nothing of the gradient: there the difference is pure noise. It has to be left behind.
        """
        deviation = generator.deviation().detach()
        energy = partial(potential, generator, image, deviation)
        scale = self.measure(energy(latent)[1] - latent, draws)
        mean, accepted = torch.zeros_like(image), torch.zeros_like(latent[:, 0])
        for number in range(BURN_IN + SAMPLES):
            latent, taken = hamiltonian_step(energy, latent, self.step_size * scale, draws)
            accepted += taken / (BURN_IN + SAMPLES)
            if number >= BURN_IN:
                with torch.no_grad():
                    mean += generator(latent) / SAMPLES
        self.step_size *= 1 + RATE * (draws.gather(accepted).mean() - ACCEPTANCE)
        return (mean - image) / deviation.square()

    def measure(self, slopes: Tensor, draws: Draws) -> Tensor:
        """Take the `slopes` of pictures' log-likelihoods at their true latents, N×L, into the mean curvature. Return a
        matrix W with W·W' its inverse, L×L: the steps along its columns are equally long.
        """
        slopes = draws.gather(slopes).to(self.curvature.dtype)
        self.batches += 1
        self.curvature.lerp_(slopes.T @ slopes / len(slopes), (1 / self.batches).clamp_min(LEAST_WEIGHT))
        identity = torch.eye(len(self.curvature), dtype=self.curvature.dtype, device=self.curvature.device)
        factor = torch.linalg.cholesky(self.curvature + identity)
        return torch.linalg.solve_triangular(factor.T, identity, upper=True)


def hamiltonian_step(potential: Potential, latent: Tensor, scale: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return (latent, whether it is new) after one proposal for each picture, taken or not by Metropolis' rule. Steps
    are `scale`, L×L, times the momentum, and half as long to half as long again: where all are of one length, it may be
    one that leads back to the start.
    """
    luck = draws.rand(2)
    scale = scale * (0.5 + luck[:, 0, None, None])
    momentum = draws.randn(latent.shape[1])
    energy, slope = potential(latent)
    before = energy + momentum.square().sum(dim=1) / 2
    proposed = latent
    momentum = momentum - torch.einsum("nl,nlm->nm", slope, scale) / 2
    for number in range(LEAPFROG):
        proposed = proposed + torch.einsum("nlm,nm->nl", scale, momentum)
        energy, slope = potential(proposed)
        momentum = momentum - torch.einsum("nl,nlm->nm", slope, scale) * (1 if number < LEAPFROG - 1 else 0.5)
    after = energy + momentum.square().sum(dim=1) / 2
    taken = luck[:, 1] < (before - after).clamp(max=0).exp()
    return torch.where(taken[:, None], proposed, latent), taken


def potential(generator: Generator, image: Tensor, deviation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a `Potential` does, of a generator with this `deviation`."""
    latent = latent.detach().requires_grad_()
    with torch.enable_grad():
        distance = ((image - generator(latent)) / deviation).square().flatten(1).sum(dim=1)
        energy = (distance + latent.square().sum(dim=1)) / 2
        (slope,) = torch.autograd.grad(energy.sum(), latent)
    return energy.detach(), slope
