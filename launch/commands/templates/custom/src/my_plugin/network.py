"""The network: convolutions with stride, and one linear layer without pooling, which sees positions."""

from torch import Tensor, nn


class Convolutions(nn.Module):
    """N×3×S×S in [0, 1] in, N×4 logits out."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(4 * width * (-(-size // 8)) ** 2, 4),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image - 0.5)
