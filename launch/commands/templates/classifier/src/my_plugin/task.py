"""Classification: predict the class of a picture."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from launchbay.data import ImageSet, Load, count_classes
from launchbay.tasks import Batch, Datasets, Losses, Task
from torch import Tensor
from torch.nn.functional import cross_entropy

from .network import Convolutions


@dataclass(frozen=True)
class MyPluginConfig:
    width: int = 32
    """Channels of the first layer; the last has four times as many."""
    size: int = 28
    """Side that pictures are resized to, in pixels."""
    channels: int | None = None
    """Channels of the pictures. Default: those of the training pictures; folders are read in colour."""
    classes: int | None = None
    """Number of classes. Default: those of the training pictures."""


class MyPlugin(Task[MyPluginConfig]):
    defaults: ClassVar = {"data": "glyphs", "batch_size": 128, "steps": 300, "optimizer": "adamw", "lr": 2e-3}
    monitor: ClassVar = "accuracy"
    baseline_name: ClassVar = "chance"

    def __init__(self, config: MyPluginConfig):
        super().__init__(config)
        self.classes = config.classes or 10
        self.model = Convolutions(config.channels or 1, config.width, self.classes)

    @classmethod
    def infer_options(cls, config: MyPluginConfig, images: ImageSet) -> MyPluginConfig:
        channels, classes = config.channels or images.channels, config.classes or count_classes(images)
        return replace(config, channels=channels, classes=classes)

    def datasets(self, load: Load) -> Datasets:
        size, channels = self.config.size, self.config.channels
        train, validation = (
            load(split, size=size, channels=channels, classes=self.classes) for split in ("train", "val")
        )
        return train, validation

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"cross_entropy": cross_entropy(self.model(batch.image), batch.label)}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.model(batch.image)
        return {
            "accuracy": (logits.argmax(dim=1) == batch.label).float(),
            "cross_entropy": cross_entropy(logits, batch.label, reduction="none"),
            "baseline/accuracy": torch.full_like(logits[:, 0], 1 / self.classes),
        }
