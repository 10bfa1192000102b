"""Small convolutional autoencoders: N×C×H×W in, the same shape out, for any H and W (reconstruction: at least 5)."""

from torch import Tensor, nn

from launchbay.models.initial import start_as_identity


class ConvAutoencoder(nn.Module):
    """Halves the picture `len(widths)` times and doubles it as often, by nearest-neighbour interpolation and a
    convolution each; a last convolution gives the picture. What odd sides were rounded up by is cut off.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]):
        super().__init__()
        steps = list(zip((channels, *widths), widths, strict=False))
        encoder = [layer for a, b in steps for layer in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU())]
        decoder: list[nn.Module] = []
        for after, before in reversed([(widths[0], widths[0]), *steps[1:]]):
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*encoder, *decoder, nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        return self.layers(image)[..., :height, :width]


class WideningAutoencoder(nn.Module):
    """Two convolutions to 16 and to 8 maps, of half the size each, then transposed ones that widen: 8 to 16 to 32 maps,
    of double the size (stride 2, output padding 1). SiLU after each, after the last one twice, and a convolution to the
    picture. What odd sides were rounded up by is cut off.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(16, 8, 3, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(8, 16, 3, stride=2, padding=1, output_padding=1), nn.SiLU(),
            nn.ConvTranspose2d(16, 32, 3, stride=2, padding=1, output_padding=1), nn.SiLU(), nn.SiLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        return self.layers(image)[..., :height, :width]


def four_convolutions(channels: int, width: int) -> nn.Sequential:
    """Two convolutions, two convolutions: no change of size in between."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, channels, 3, padding=1),
    )  # fmt: skip


def unpadded(channels: int, width: int, code: int = 8) -> nn.Sequential:
    """Two 3×3 convolutions without padding, to `width` and to `code` maps, mirrored by two transposed ones: four pixels
    fewer each way in between.

    `channels` of the maps start by passing the picture on. From a usual start half of the maps soon give zero for
    whatever they see, and those that are left cannot hold a colour picture (27 instead of 31 dB on CIFAR-10 with 8).
    """
    convolutions = [nn.Conv2d(channels, width, 3), nn.Conv2d(width, code, 3)]
    transposed = [nn.ConvTranspose2d(code, width, 3), nn.ConvTranspose2d(width, channels, 3)]
    for layer in (*convolutions, *transposed):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        start_as_identity(layer, channels)
    first, second, third, fourth = (*convolutions, *transposed)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), fourth)
