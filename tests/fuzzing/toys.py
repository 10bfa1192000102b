"""What the runs of tests/fuzz.py train: small tasks and a data set that stand there as installed plugins."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from launchbay.data import Load, generator
from launchbay.data.resident import Resident
from launchbay.tasks import Batch, Datasets, Generative, ImageToImage, Losses, follow
from launchbay.tasks.figures.metrics import ImageMetric
from launchbay.tasks.options import JudgeOptions, SizeOptions

ENTRY_POINTS = """[launchbay.tasks]
fuzz-twins = fuzzing.toys:Twins
fuzz-draws = fuzzing.toys:Draws
[launchbay.datasets]
fuzz-noise = fuzzing.toys:Noise
"""


class Noise(Resident):
    """A few pictures of 12×12 random pixels, of three classes."""

    def __init__(self, split: str, root: Path | None = None):
        pixels = torch.randint(0, 256, (9, 1, 12, 12), generator=generator("pixels", split), dtype=torch.uint8)
        super().__init__(pixels, torch.arange(9) % 3, ("a", "b", "c"))


@dataclass(frozen=True)
class TwinsConfig:
    width: Annotated[int, Gt(0)] = 4
    """Channels of the layer between."""
    blocks: Annotated[int, Gt(0)] = 1
    """Layers between."""
    metrics: tuple[ImageMetric, ...] = ("psnr",)
    """Figures of the pictures."""


class Twins(ImageToImage[TwinsConfig]):
    """Two networks; beside them a teacher, a frozen network, a queue and a counter."""

    defaults: ClassVar = {"data": "fuzz-noise", "batch_size": 8, "steps": 2}
    queue: Tensor

    def __init__(self, config: TwinsConfig):
        super().__init__(config)
        self.metrics = config.metrics
        between = [nn.Conv2d(config.width, config.width, 1) for _ in range(config.blocks)]
        self.model = nn.Sequential(nn.Conv2d(3, config.width, 3, padding=1), *between, nn.Conv2d(config.width, 3, 1))
        self.critic: nn.Module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
        self.teacher = copy.deepcopy(self.model).requires_grad_(False)
        self.frozen = nn.Conv2d(3, 1, 1).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(4))
        self.taken = {"steps": 0}

    def get_extra_state(self) -> dict[str, int]:
        return self.taken

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.taken = {"steps": int(state["steps"])}

    def datasets(self, load: Load) -> Datasets:
        return load("train", channels=3), load("val", channels=3)

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image / 2

    def training_step(self, batch: Batch) -> Losses:
        output = self.model(self.degrade(batch))
        yield "critic", {"error": self.critic(output.detach()).square().mean()}
        yield "model", {"l1": (output - batch.image).abs().mean(), "critic": self.critic(output).mean() / 100}
        follow(self.teacher, self.model, 0.9)
        self.queue = self.queue.roll(1) + output.mean().detach()
        self.taken["steps"] += 1


@dataclass(frozen=True)
class DrawsConfig(JudgeOptions, SizeOptions):
    pass


class Draws(Generative[DrawsConfig]):
    """Draws noise, for a judge."""

    defaults: ClassVar = {"data": "fuzz-noise", "batch_size": 8, "steps": 2}
    latent = 2

    def __init__(self, config: DrawsConfig):
        super().__init__(config)
        assert config.channels and config.size
        self.shape = (config.channels, config.size, config.size)
        self.model: nn.Module = nn.Linear(2, config.channels * config.size**2)

    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        return self.model(latent).sigmoid().unflatten(1, self.shape)

    def training_step(self, batch: Batch) -> Losses:
        drawn = self.generate(batch.randn(2), torch.empty(0))
        yield "model", {"l1": (drawn - batch.image).abs().mean()}
