"""Variational autoencoders: N×C×S×S pictures in [0, 1] to mean and log variance of N×L latents, latents to logits of
pixels. `condition` is N×K, one-hot classes or, with K = 0, nothing: conditional or not, the code is the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
        mean, log_variance = self.encode(image, condition)
        return self.decode(mean + noise * (log_variance / 2).exp(), condition), mean, log_variance

    def encode(self, image: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.trunk(image), condition).chunk(2, dim=1)
        return mean, log_variance

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
