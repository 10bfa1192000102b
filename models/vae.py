"""Variational autoencoders: N×C×S×S pictures in [0, 1] to mean and log variance of N×L latents, latents to logits of
pixels. `condition` is N×K, one-hot classes or, with K = 0, nothing: conditional or not, the code is the same.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from launchbay.models.initial import start_at_zero


class VAE(nn.Module):
    """Encoder and decoder in one network, since one loss trains both (Kingma and Welling, "Auto-Encoding Variational
    Bayes", 2014; with classes: Sohn et al., 2015).

    `trunk` takes pictures to `width` features; `tail` takes the last of the `hidden` layers' features to logits. The
    class acts on the posterior and on the hidden layers, so that latents need not tell it.
    """

    def __init__(
        self,
        trunk: nn.Module,
        width: int,
        latent: int,
        classes: int,
        *,
        hidden: Sequence[int],
        activation: nn.Module,
        tail: nn.Module,
    ):
        super().__init__()
        self.trunk, self.activation, self.tail = trunk, activation, tail
        self.posterior = Conditioned(width, 2 * latent, classes)
        befores = (latent, *hidden)
        self.hidden = nn.ModuleList(Conditioned(b, a, classes) for b, a in zip(befores, hidden, strict=False))

    def forward(self, image: Tensor, condition: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits of a reconstruction, posterior mean, posterior log variance); `noise` is
        standard normal, N×L.
        """
        mean, log_variance = self.posterior(self.trunk(image), condition).chunk(2, dim=1)
        return self.decode(mean + noise * (log_variance / 2).exp(), condition), mean, log_variance

    def decode(self, latent: Tensor, condition: Tensor) -> Tensor:
        features = latent
        for layer in self.hidden:
            features = self.activation(layer(features, condition))
        return self.tail(features)


class Conditioned(nn.Module):
    """A fully connected layer whose outputs each class scales and shifts (Perez et al., "FiLM", 2018).

    The shifts start far apart: if the class says little at first, latents learn to tell it, and keep to that.
    """

    def __init__(self, before: int, after: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(before, after)
        self.film = nn.Linear(classes, 2 * after, bias=False) if classes else None
        if self.film is not None:
            scale, shift = self.film.weight.chunk(2)
            nn.init.zeros_(scale)
            nn.init.normal_(shift)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        features = self.linear(features)
        if self.film is None:
            return features
        scale, shift = self.film(condition).chunk(2, dim=1)
        return torch.addcmul(features + shift, features, scale)


def dense(channels: int, size: int, latent: int, classes: int) -> VAE:
    """Three fully connected layers in (512, 256, latent), three out, ReLU between."""
    pixels = channels * size**2
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
    tail = nn.Sequential(nn.Linear(512, pixels), nn.Unflatten(1, (channels, size, size)))
    return VAE(trunk, 256, latent, classes, hidden=(256, 512), activation=nn.ReLU(), tail=tail)


def convolutional(channels: int, size: int, latent: int, classes: int, width: int) -> VAE:
    """Strided convolutions to `width` and 2·`width` maps of a quarter of the size and a fully connected layer of 256,
    mirrored by transposed convolutions, SiLU between.
    """
    quarter, wide = size // 4, 2 * width
    trunk = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(),
        nn.Conv2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(width, wide, 3, padding=1), nn.SiLU(),
        nn.Conv2d(wide, wide, 4, stride=2, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(wide * quarter**2, 256), nn.SiLU(),
    )  # fmt: skip
    tail = nn.Sequential(
        nn.Unflatten(1, (wide, quarter, quarter)),
        nn.ConvTranspose2d(wide, wide, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(wide, width, 3, padding=1), nn.SiLU(),
        nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(width, channels, 3, padding=1),
    )  # fmt: skip
    hidden = (256, wide * quarter**2)
    return VAE(trunk, 256, latent, classes, hidden=hidden, activation=nn.SiLU(), tail=tail)


BOUND = 5.0
"""Of a ladder's posterior means and log variances, softly: one outlier would be infinite (Vahdat and Kautz, "NVAE",
2020, and their code)."""


class LadderVAE(nn.Module):
    """Latents in several levels, each of them maps, coarse ones first (Sønderby et al., "Ladder Variational
    Autoencoders", 2016; residual, as in Child, "Very Deep VAEs", 2021). Pictures go up to features of a half and a
    quarter of the size. On the way down each level's posterior sees these and what the levels above have drawn. All
    priors are standard normal: what a level makes of its latents, and how large it makes them, depends on the levels
    above, which is as much as if their mean and variance did (as in Child's).

    `width` maps at half the size, twice as many at a quarter of it.
    """

    LEVELS = ((4, 5, 8), (2, 1, 2))
    """What the size is divided by, levels there, and maps of latents of each."""

    def __init__(self, channels: int, size: int, classes: int, width: int):
        super().__init__()
        widths = {2: width, 4: 2 * width}
        self.shapes = [(maps, size // part, size // part) for part, levels, maps in self.LEVELS for _ in range(levels)]
        self.latent = sum(prod(shape) for shape in self.shapes)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), Block(after), Block(after))
            for before, after in ((channels, width), (width, 2 * width))
        )
        self.top = nn.Parameter(torch.zeros(widths[4], size // 4, size // 4))
        self.told = nn.Linear(classes, widths[4], bias=False) if classes else None
        self.levels = nn.ModuleList(
            Level(widths[part], maps) for part, levels, maps in self.LEVELS for _ in range(levels)
        )
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.tail = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, image: Tensor, condition: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits of a reconstruction, posterior mean, posterior log variance), the latter N×L; `noise` is
        standard normal, N×L.
        """
        half = self.up[0](image)
        return self.down(condition, noise, (self.up[1](half), half))

    def decode(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Return the logits of pictures of latents, N×L, standard normal where they are drawn."""
        return self.down(condition, latent, None)[0]

    def down(
        self, condition: Tensor, noise: Tensor, seen: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        state = self.top.expand(noise.shape[0], -1, -1, -1)
        if self.told is not None:
            state = state + self.told(condition)[:, :, None, None]
        parts = noise.split([prod(shape) for shape in self.shapes], dim=1)
        means, log_variances = [], []
        for level, shape, part in zip(self.levels, self.shapes, parts, strict=True):
            state = state if state.shape[-1] == shape[-1] else self.enlarge(state)
            features = None if seen is None else next(one for one in seen if one.shape[-1] == shape[-1])
            state, mean, log_variance = level(state, part.unflatten(1, shape), features)
            means.append(mean.flatten(1))
            log_variances.append(log_variance.flatten(1))
        return self.tail(state), torch.cat(means, dim=1), torch.cat(log_variances, dim=1)


class Level(nn.Module):
    """Draw latents, N×`maps`×H×W, scale them by what the state says, and add what they make of it, N×`width`×H×W."""

    def __init__(self, width: int, maps: int):
        super().__init__()
        self.look = nn.Conv2d(2 * width, width, 3, padding=1)
        self.posterior = nn.Conv2d(width, 2 * maps, 3, padding=1)
        self.log_scale = start_at_zero(nn.Conv2d(width, maps, 3, padding=1))
        self.add = nn.Conv2d(maps, width, 3, padding=1)
        self.block = Block(width)

    def forward(self, state: Tensor, noise: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return (state, posterior mean, posterior log variance). Where nothing is `seen`, `noise` are the latents."""
        mean = log_variance = torch.zeros_like(noise)
        if seen is not None:
            features = silu(self.look(silu(torch.cat([state, seen], dim=1))))
            mean, log_variance = (BOUND * (self.posterior(features) / BOUND).tanh()).chunk(2, dim=1)
        latents = mean + noise * (log_variance / 2).exp()
        scaled = latents * self.log_scale(silu(state)).exp()
        return self.block(state + self.add(scaled)), mean, log_variance


class Block(nn.Module):
    """A residual block, N×`width`×H×W to the same, that starts as the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = start_at_zero(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(silu(self.first(silu(features))))
