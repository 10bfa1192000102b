"""The network: a few convolutions compute what is added to the picture."""

from torch import Tensor, nn


class Residual(nn.Module):
    """N×3×H×W in, the same shape out, for any H and W."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 3, 5, padding=2),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return image + self.layers(image)
