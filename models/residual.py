"""Networks of pictures of any H and W, that give pictures of the same size; most add a correction to what they get."""

from torch import Tensor, nn
from torch.nn.functional import pad

from launchbay.models.initial import start_at_zero


class DnCNN(nn.Module):
    """DnCNN (Zhang et al., "Beyond a Gaussian Denoiser", 2017) without batch normalisation, which a single noise level
    does not need and which would make a picture depend on its batch: `depth` 3×3 convolutions predict the noise.
    `depth=17, width=64` is the published size.
    """

    def __init__(self, channels: int, width: int, depth: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, start_at_zero(nn.Conv2d(width, channels, 3, padding=1)))

    def forward(self, image: Tensor) -> Tensor:
        """Return N×C×H×W pictures, corrected."""
        return image + self.layers(image)


class UNet(nn.Module):
    """A U-shaped network of residual blocks in the manner of DRUNet (Zhang et al., "Plug-and-Play Image Restoration
    with Deep Denoiser Prior", 2021): three scales of `width`, 2 and 4 times that many channels, strided and transposed
    2×2 convolutions between them, sums across. Sides that do not divide by 4 are padded by repetition, and cut again.

    It corrects the picture that it gets. With `outputs` it gives so many other channels instead, such as logits.
    """

    def __init__(self, channels: int, width: int, blocks: int, outputs: int | None = None):
        super().__init__()
        self.corrects = outputs is None

        def stage(width: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))

        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([stage(width), stage(2 * width)])
        self.shrink = nn.ModuleList([nn.Conv2d(w, 2 * w, 2, stride=2) for w in (width, 2 * width)])
        self.middle = stage(4 * width)
        self.enlarge = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in (2 * width, width)])
        self.up = nn.ModuleList([stage(2 * width), stage(width)])
        self.tail = start_at_zero(nn.Conv2d(width, outputs or channels, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return N×C×H×W pictures, corrected, or N×`outputs`×H×W."""
        height, width = image.shape[-2:]
        features = self.head(pad(image, (0, -width % 4, 0, -height % 4), mode="replicate"))
        kept = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            features = stage(features)
            kept.append(features)
            features = shrink(features)
        features = self.middle(features)
        for stage, enlarge in zip(self.up, self.enlarge, strict=True):
            features = stage(enlarge(features) + kept.pop())
        output = self.tail(features)[..., :height, :width]
        return image + output if self.corrects else output


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)
