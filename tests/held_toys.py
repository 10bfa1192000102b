"""A task that is held up for ever in one of its methods, and a data set that is."""

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from toys import Noise, NoOptions, Single, Slow

from launchbay.data import ImageSet, Load
from launchbay.models import checkpoints
from launchbay.tasks import Batch, Datasets, Losses, Task


@dataclass(frozen=True)
class HeldConfig:
    place: str = "evaluate"
    """The method that does not return."""
    rank: int = 0
    """The process on which it does not."""
    at: int = 2
    """The step from which on it does not."""
    seconds: float = 3600
    """How long."""


class HeldSet(Noise):
    """A data set that cannot give what comes after its first few batches."""

    def __init__(self, size: int, place: str, first: int = 3):
        super().__init__(size)
        self.place, self.left = place, first

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0 and self.place == "data":
            hold(self.place)
        if self.left < 0 and self.place == "mistake":
            raise KeyError("no such picture")  # the line that a message has to name
        return super().__getitems__(indices)


class Held(Task[HeldConfig]):
    defaults: ClassVar = {"batch_size": 4, "steps": 1000, "log_every": 1, "warmup": 0}

    def __init__(self, config: HeldConfig):
        super().__init__(config)
        self.model, self.drawn = nn.Conv2d(3, 3, 3, padding=1), 0

    def hold(self, place: str, step: int = 1000) -> None:
        mine = os.environ.get("RANK", "0") == str(self.config.rank)
        if place == self.config.place and mine and step >= self.config.at:
            hold(place, self.config.seconds)

    def datasets(self, load: Load) -> Datasets:
        self.hold("datasets")
        return HeldSet(10, self.config.place), Noise(50)

    def training_step(self, batch: Batch) -> Losses:
        self.hold("training_step", batch.step)
        self.hold("native", batch.step)
        yield "model", {"mse": (self.model(batch.image) - batch.image).square().mean()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        self.hold("evaluate", batch.step)  # it is tried before the first step, too
        error = (self.model(batch.image) - batch.image).square().mean(dim=(1, 2, 3))
        return {"error": error, "all": error[:, None]}

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        self.hold("summarize")
        return {}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        self.hold("preview", batch.step)
        return {}

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        self.drawn += 1
        if self.drawn > 1:  # the first one is of before the first step
            self.hold("gallery")
        return {"picture": torch.zeros(3, 8, 8)}


def hold(place: str, seconds: float = 3600) -> None:
    Path("held").touch()
    if place == "native":  # in a call that no signal ends
        mutex, libc = ctypes.create_string_buffer(128), ctypes.CDLL(None)
        while True:
            libc.pthread_mutex_lock(mutex)
    time.sleep(seconds)


def held_set(split: str, root: Path | None = None) -> ImageSet:
    return HeldSet(10, "data")


class OneReader(Slow):
    """Only process 0 can read files of a checkpoint, as where the others see other ones, or none."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        if os.environ.get("RANK", "0") != "0":
            for name in ("read_tensors", "read_bytes"):
                setattr(checkpoints, name, cannot_read)


def cannot_read(*_: object) -> None:
    raise AssertionError("only process 0 reads")


class Unhurried(Single):
    """The same on any number of processes, and slow enough to lose a machine in between."""

    def training_step(self, batch: Batch) -> Losses:
        time.sleep(0.05)
        yield from super().training_step(batch)


class OtherData(Slow):
    """Each process has another number of pictures."""

    def datasets(self, load: Load) -> Datasets:
        return Noise(8 + int(os.environ.get("RANK", "0"))), Noise(8)
