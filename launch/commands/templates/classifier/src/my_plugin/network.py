"""The network: convolutions with stride, average pooling to 4×4, one linear layer."""

from torch import Tensor, nn


class Convolutions(nn.Module):
    """N×C×H×W in [0, 1] in, N×classes logits out, for any H and W."""

    def __init__(self, channels: int, width: int, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(4 * width * 4**2, classes),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image - 0.5)
