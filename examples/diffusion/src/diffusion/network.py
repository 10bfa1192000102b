"""The network: shown a noisy picture, how noisy it is and the wanted class, it says where picture and noise lie."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class Block(nn.Module):
    """Two convolutions around a residual; between them the embedding scales and shifts each channel."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.film = nn.Linear(embedding, 2 * channels)
        self.norm, self.second = nn.GroupNorm(8, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        return features + self.second(silu(self.norm(self.first(features)) * (1 + scale) + shift))


class UNet(nn.Module):
    """Two scales, a half and a quarter of the side of the pictures, which has to divide by 4."""

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        wide = 4 * width
        self.register_buffer("frequencies", torch.logspace(0, 2, 16), persistent=False)
        self.angle = nn.Sequential(nn.Linear(32, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.classes = nn.Linear(classes, wide, bias=False)
        nn.init.normal_(self.classes.weight)  # classes are far apart from the start, or they would be learned late
        self.head = nn.Conv2d(channels, width, 2, stride=2)
        self.down = Block(width, wide)
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.ModuleList(Block(2 * width, wide) for _ in range(2))
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up = Block(width, wide)
        self.tail = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, image: Tensor, angle: Tensor, condition: Tensor) -> Tensor:
        """Noisy pictures N×C×S×S, angles N and classes N×K, one-hot or all 0 for none, in; velocities N×C×S×S out."""
        waves = angle[:, None] * self.frequencies
        embedding = silu(self.angle(torch.cat([waves.cos(), waves.sin()], dim=1)) + self.classes(condition))
        features = self.down(self.head(image), embedding)
        inner = self.shrink(features)
        for block in self.middle:
            inner = block(inner, embedding)
        return self.tail(self.up(features + self.enlarge(inner), embedding))
