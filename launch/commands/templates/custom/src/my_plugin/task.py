"""Upright: predict by how many quarter turns a picture was turned."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from launchbay.data import Load
from launchbay.tasks import Batch, Datasets, Losses, Task
from torch import Tensor
from torch.nn.functional import cross_entropy

from .network import Convolutions


@dataclass(frozen=True)
class MyPluginConfig:
    width: int = 16
    """Channels of the first layer; the last has four times as many."""
    size: int = 28
    """Side that pictures are resized to, in pixels."""


class MyPlugin(Task[MyPluginConfig]):
    defaults: ClassVar = {"data": "glyphs", "batch_size": 64, "steps": 500, "lr": 2e-3}
    monitor: ClassVar = "accuracy"
    baseline_name: ClassVar = "chance"

    def __init__(self, config: MyPluginConfig):
        super().__init__(config)
        self.model = Convolutions(config.width, config.size)

    def datasets(self, load: Load) -> Datasets:
        size = self.config.size
        return load("train", size=size, channels=3), load("val", size=size, channels=3)

    def training_step(self, batch: Batch) -> Losses:
        turned, turns = turn(batch)
        yield "model", {"cross_entropy": cross_entropy(self.model(turned), turns)}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        turned, turns = turn(batch)
        right = self.model(turned).argmax(dim=1) == turns
        return {"accuracy": right.float(), "baseline/accuracy": torch.full_like(turned[:, 0, 0, 0], 1 / 4)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        turned, _ = turn(batch)
        back = -self.model(turned).argmax(dim=1)
        return {"input": turned, "output": quarter_turns(turned, back), "target": batch.image}


def turn(batch: Batch) -> tuple[Tensor, Tensor]:
    """Turn each picture at random; return also how often, 0 to 3. A task draws random numbers only from its batch."""
    turns = (batch.rand() * 4).long()
    return quarter_turns(batch.image, turns), turns


def quarter_turns(image: Tensor, turns: Tensor) -> Tensor:
    pictures = [picture.rot90(count, (1, 2)) for picture, count in zip(image, turns.tolist(), strict=True)]
    return torch.stack(pictures)
