"""Variational autoencoders: N×C×S×S pictures in [0, 1] to mean and log variance of N×L latents, latents to logits of
pixels. `condition` is N×K, one-hot classes or, with K = 0, nothing: conditional or not, the code is the same.
"""

import torch
from torch import Tensor, nn


class VAE(nn.Module):
    """Encoder and decoder in one network, since one loss trains both (Kingma and Welling, "Auto-Encoding Variational
    Bayes", 2014; with classes: Sohn et al., 2015).

    `encoder` takes pictures and condition flattened into what its first layer wants, see `dense` and `convolutional`.
    """

    def __init__(self, trunk: nn.Module, width: int, latent: int, classes: int, decoder: nn.Module):
        super().__init__()
        self.trunk = trunk
        self.posterior = nn.Linear(width + classes, 2 * latent)
        self.decoder = decoder

    def forward(self, image: Tensor, condition: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits of a reconstruction, posterior mean, posterior log variance); `noise` is standard normal, N×L."""
        mean, log_variance = self.encode(image, condition)
        return self.decode(mean + noise * (log_variance / 2).exp(), condition), mean, log_variance

    def encode(self, image: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self.trunk(image), condition], dim=1)
        mean, log_variance = self.posterior(features).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.decoder(torch.cat([latent, condition], dim=1))


def dense(channels: int, size: int, latent: int, classes: int) -> VAE:
    """Three fully connected layers in (512, 256, latent), three out, ReLU between."""
    pixels = channels * size**2
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(),
        nn.Linear(512, pixels), nn.Unflatten(1, (channels, size, size)),
    )  # fmt: skip
    return VAE(trunk, 256, latent, classes, decoder)


def convolutional(channels: int, size: int, latent: int, classes: int, width: int) -> VAE:
    """Strided convolutions to `width` and 2·`width` maps of a quarter of the size and a fully connected layer of 256,
    mirrored by transposed convolutions, SiLU between. The decoder's first layer sees the class beside the latent, the
    encoder's last one does.
    """
    quarter, wide = size // 4, 2 * width
    trunk = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(),
        nn.Conv2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(width, wide, 3, padding=1), nn.SiLU(),
        nn.Conv2d(wide, wide, 4, stride=2, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(wide * quarter**2, 256), nn.SiLU(),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latent + classes, 256), nn.SiLU(),
        nn.Linear(256, wide * quarter**2), nn.SiLU(), nn.Unflatten(1, (wide, quarter, quarter)),
        nn.ConvTranspose2d(wide, wide, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(wide, width, 3, padding=1), nn.SiLU(),
        nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(width, channels, 3, padding=1),
    )  # fmt: skip
    return VAE(trunk, 256, latent, classes, decoder)
