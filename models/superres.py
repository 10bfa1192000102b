"""Super-resolution networks: small picture in, one `scale` times larger out (N×C×H×W, values in [0, 1])."""

from torch import Tensor, nn

from launchbay.models.initial import start_as_identity, start_at_zero
from launchbay.models.residual import ResidualBlock
from launchbay.models.resize import upscale

CHANNELS = 3


class SRCNN(nn.Module):
    """SRCNN 9-5-5 with 64 and 32 filters (Dong et al., "Image Super-Resolution Using Deep Convolutional Networks",
    2016).

    As published the bicubic upscale comes first and the convolutions work on the large image. With `upscale_last` the
    same three convolutions work on the small image and the bicubic upscale comes last: `scale`² times less arithmetic.
    `sharp` says which bicubic: see `upscale`.

    The first filters of every layer, one for each channel, start as the identity and the others feed a last layer of
    zeros, so that training starts at the bicubic image instead of noise; the function class is the paper's.
    """

    def __init__(self, scale: int, upscale_last: bool = False, *, sharp: bool = False, channels: int = CHANNELS):
        super().__init__()
        self.scale, self.upscale_last, self.sharp = scale, upscale_last, sharp
        self.conv1 = nn.Conv2d(channels, 64, 9, padding=4)
        self.conv2 = nn.Conv2d(64, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, channels, 5, padding=2)
        for layer in (self.conv1, self.conv2, self.conv3):
            start_as_identity(layer, channels)
        nn.init.zeros_(self.conv3.weight[:, channels:])

    def forward(self, image: Tensor) -> Tensor:
        """Return N×C×H×W pictures enlarged `scale` times."""
        if not self.upscale_last:
            image = upscale(image, self.scale, sharp=self.sharp)
        image = self.conv1(image).relu_()
        image = self.conv2(image).relu_()
        image = self.conv3(image)
        return upscale(image, self.scale, sharp=self.sharp) if self.upscale_last else image


class ESPCN(nn.Module):
    """ESPCN 5-3-3 with 64 and 32 filters (Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
    Efficient Sub-Pixel Convolutional Neural Network", 2016): all work is done at low resolution, before one sub-pixel
    convolution.
    """

    def __init__(self, scale: int, *, channels: int = CHANNELS):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2), nn.Tanh(),
            nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
            nn.Conv2d(32, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        """Return N×C×H×W pictures enlarged `scale` times."""
        return self.layers(image)


class SRResNet(nn.Module):
    """The residual trunk of SRResNet (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
    Adversarial Network", 2017) as later work kept it: without batch normalisation (Lim et al., EDSR, 2017), with one
    sub-pixel convolution as in ESPCN in place of several stages, and adding to the bicubic image. `width=64, blocks=16`
    is the published trunk. `sharp` says which bicubic: see `upscale`.
    """

    def __init__(self, scale: int, width: int, blocks: int, *, sharp: bool = False, channels: int = CHANNELS):
        super().__init__()
        self.scale, self.sharp = scale, sharp
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        tail = start_at_zero(
            nn.Conv2d(width, channels * scale**2, 3, padding=1)
        )  # the first picture is the bicubic one
        self.tail = nn.Sequential(tail, nn.PixelShuffle(scale))

    def forward(self, image: Tensor) -> Tensor:
        """Return N×C×H×W pictures enlarged `scale` times."""
        features = self.head(image).relu_()
        return self.tail(features + self.body(features)) + upscale(image, self.scale, sharp=self.sharp)
