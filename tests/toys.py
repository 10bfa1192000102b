"""Tasks and data sets for tests: the two examples of the documentation, and small ones with nothing wrong."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus
from torch.optim import Optimizer
from torchvision.transforms.v2.functional import gaussian_blur

from launchbay.data import ImageSet, Load, generator
from launchbay.data.glyphs import Glyphs
from launchbay.data.photos import Photos
from launchbay.data.resident import Resident
from launchbay.tasks import Batch, CreateOptimizer, Datasets, ImageToImage, Losses, Task
from launchbay.tasks.figures.metrics import ImageMetric


class Noise(ImageSet):
    """`size` pictures of 8×8 random pixels."""

    def __init__(self, size: int):
        self.pixels = torch.randint(0, 256, (size, 3, 8, 8), generator=generator("pixels"), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        return self.pixels[index]


@dataclass(frozen=True)
class DeblurConfig:
    sigma: float = 2.0
    """Width of the blur, in pixels."""


class Deblur(ImageToImage[DeblurConfig]):
    def __init__(self, config: DeblurConfig):
        super().__init__(config)
        self.model = nn.Conv2d(3, 3, 5, padding=2)

    def degrade(self, batch: Batch) -> Tensor:
        return gaussian_blur(batch.image, [9, 9], [self.config.sigma] * 2)

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"l1": l1_loss(output, target)}


@dataclass(frozen=True)
class GanConfig:
    latent: int = 4
    """Length of the noise vector."""


class Gan(Task[GanConfig]):
    defaults: ClassVar = {"batch_size": 8, "steps": 4, "log_every": 1, "warmup": 0}

    def __init__(self, config: GanConfig):
        super().__init__(config)
        self.generator = nn.Sequential(nn.Linear(config.latent, 3 * 8 * 8), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
        self.discriminator = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 36, 1))

    def datasets(self, load: Load) -> Datasets:
        return Noise(12), Noise(5)

    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {name: create(network.parameters(), betas=(0.5, 0.999)) for name, network in self.networks().items()}

    def training_step(self, batch: Batch) -> Losses:
        fake = self.generator(batch.randn(self.config.latent))

        yield (
            "discriminator",
            {
                "real": softplus(-self.discriminator(batch.image)).mean(),
                "fake": softplus(self.discriminator(fake.detach())).mean(),
            },
        )
        yield "generator", {"adversarial": softplus(-self.discriminator(fake)).mean()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"realism": self.discriminator(self.generator(batch.randn(self.config.latent))).flatten()}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"generated": self.generator(batch.randn(self.config.latent)) / 2 + 0.5}


@dataclass(frozen=True)
class NoOptions:
    pass


class Single(Task[NoOptions]):
    """One network, nothing wrong with it."""

    defaults: ClassVar = {"batch_size": 4, "steps": 3, "log_every": 1, "warmup": 0}
    monitor: ClassVar = "-error"

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model: nn.Module = nn.Conv2d(3, 3, 3, padding=1)

    def datasets(self, load: Load) -> Datasets:
        return Noise(10), Noise(5)

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().mean()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": (self.model(batch.image) - batch.image).square().mean(dim=(1, 2, 3))}


class Turns(Single):
    """Its error is least at step 3, and then grows."""

    defaults: ClassVar = {**Single.defaults, "steps": 9, "eval_every": 1}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": torch.full((len(batch.image),), float(abs(batch.step - 3)))}


class Aimless(Single):
    """No figure of it says which checkpoint is best."""

    monitor: ClassVar = ""


class Brighten(ImageToImage[NoOptions]):
    """One network that restores pictures, nothing wrong with it."""

    defaults: ClassVar = {"batch_size": 4, "steps": 3, "log_every": 1, "warmup": 0}
    metrics: Sequence[ImageMetric] = ("psnr",)

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Conv2d(3, 3, 3, padding=1)

    def datasets(self, load: Load) -> Datasets:
        return Noise(10), Noise(5)

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image / 2


class Opens(Brighten):
    """The same, on the pictures that it is told to open."""

    def datasets(self, load: Load) -> Datasets:
        return load("train", crop=8), load("val")


class Sets(Single):
    """Has two validation sets."""

    def datasets(self, load: Load) -> Datasets:
        return Noise(10), {"few": Noise(3), "more": Noise(7)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"input": batch.image}


class Dropout(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Dropout(0.5))


class Tied(Single):
    """Two layers with the same weights."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        second.weight = first.weight
        self.model = nn.Sequential(first, second)


class LaysBy(Single):
    """Nothing wrong with it: what it keeps is made anew in each step, or the same each time."""

    window: Tensor | None = None

    def training_step(self, batch: Batch) -> Losses:
        if self.window is None:
            self.window = torch.ones_like(batch.image[0])
        self.output = self.model(batch.image)
        yield "model", {"mse": ((self.output - batch.image) * self.window).square().mean()}


class Slow(Dropout):
    """Slow enough to be killed in between."""

    def training_step(self, batch: Batch) -> Losses:
        time.sleep(0.05)
        yield from super().training_step(batch)


class Digits(Resident):
    """A few of the embedded digits: 24 to train on, 7 to validate on."""

    def __init__(self, split: str, root: Path | None = None):
        glyphs, count = Glyphs("val"), {"train": 24, "val": 7, "all": 31}[split]
        super().__init__(glyphs.pixels[:count], glyphs.labels[:count], glyphs.classes)


class Patches(Resident):
    """A few squares of 48×48 of the embedded photographs."""

    def __init__(self, split: str, root: Path | None = None):
        photos, count = Photos("val"), {"train": 9, "val": 5, "all": 14}[split]
        pixels = torch.stack([photos.image(index)[:, :48, :48] for index in range(count)])
        super().__init__(pixels, torch.tensor(photos.labels[:count]), photos.classes)


class Noticing(Single):
    """Says which samples it was given, and in which order, as figures of the whole set."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": super().evaluate(batch)["error"], "corner": batch.image[:, :, 0, 0]}

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        corners = collected["corner"].double()
        weights = torch.arange(1, corners.numel() + 1, dtype=torch.float64).view_as(corners)
        return {"samples": float(len(corners)), "in_order": float((weights * corners).sum())}

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"corners": collected["corner"].T[:, None, :]}
