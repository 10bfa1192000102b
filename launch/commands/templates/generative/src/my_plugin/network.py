"""The networks: one generates pictures from random numbers, the other tells them from real ones. Values in [-1, 1]."""

from torch import Tensor, nn


class Generator(nn.Module):
    """N×`latent` in, N×C×S×S out."""

    def __init__(self, latent: int, channels: int, size: int, width: int):
        super().__init__()
        half = -(-size // 2)
        self.size = size
        self.layers = nn.Sequential(
            nn.Linear(latent, 2 * width * half**2), nn.LeakyReLU(0.2), nn.Unflatten(1, (2 * width, half, half)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent)[..., : self.size, : self.size]


class Discriminator(nn.Module):
    """N×C×S×S in, N logits of being real out."""

    def __init__(self, channels: int, size: int, width: int):
        super().__init__()
        quarter = -(-size // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(2 * width * quarter**2, 1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image).flatten()
