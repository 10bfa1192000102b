"""Tasks whose gradients, weights or state become what must not be kept, and some that lose their run folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from toys import Gan, Noise, NoOptions, Single

from launchbay.data import Load
from launchbay.tasks import Batch, Datasets, Losses

FIRST_BAD = 3
"""The step at which things happen."""
ANOTHER = (".lock", "summary.json", "metrics.jsonl", "config.yaml")
"""The files of another run."""


class Black(Noise):
    """Picture 7 is black."""

    def __init__(self, size: int):
        super().__init__(size)
        self.pixels[7] = 0


class RootOfZero(Single):
    """Its gradient is no number at the third step, although its loss is: that of the picture that is black."""

    defaults: ClassVar = {"batch_size": 10, "steps": 9, "save_every": 1, "eval_every": 9, "keep": 9, "warmup": 0}
    made: "list[RootOfZero]" = []  # noqa: RUF012

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.made[:] = [self]

    def datasets(self, load: Load) -> Datasets:
        return Black(10), Noise(5)

    def training_step(self, batch: Batch) -> Losses:
        difference = self.model(batch.image) - self.model(batch.image * 0) + (batch.step < FIRST_BAD - 1)
        yield "model", {"root": difference.square().sum(dim=(1, 2, 3)).sqrt().mean()}


class JointRoot(Gan):
    """The same, of a loss that moves two networks, in the second alone."""

    defaults: ClassVar = {**RootOfZero.defaults, "batch_size": 8}
    made: "list[JointRoot]" = []  # noqa: RUF012

    def __init__(self, config: object):
        super().__init__(config)  # pyright: ignore
        self.made[:] = [self]

    def training_step(self, batch: Batch) -> Losses:
        real = self.discriminator(batch.image).square().mean()
        scale = 0 if batch.step >= FIRST_BAD - 1 else 1
        picture = self.generator(batch.randn(self.config.latent))
        yield "discriminator+generator", {"real": real, "root": (picture * scale).square().sum().sqrt()}


class Masked(Single):
    """Has a mask and a record that are infinite from the start. The record becomes nan at the third step."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model.register_buffer("mask", torch.full((8, 8), -torch.inf).triu(1))
        self.register_buffer("lowest", torch.tensor(torch.inf))
        self.register_buffer("last", torch.tensor(0.0))

    def training_step(self, batch: Batch) -> Losses:
        yield from super().training_step(batch)
        self.last = torch.tensor(torch.nan if batch.step == FIRST_BAD - 1 else float(batch.step))


def removed(run: Path) -> None:
    shutil.rmtree(run.rename("doomed"))  # at once: it is being written to


def moved(run: Path) -> None:
    run.rename("elsewhere")


def emptied(run: Path) -> None:
    (run / ".lock").unlink()


def replaced(run: Path) -> None:
    removed(run)
    run.mkdir()
    for name in ANOTHER:
        (run / name).write_text("another")


def without_place(run: Path) -> None:
    shutil.rmtree(run.parent.rename("doomed"))


class Loses(Single):
    """Its run folder goes at the third step, in the way `how`."""

    defaults: ClassVar = {"batch_size": 4, "steps": 6, "save_every": 4, "eval_every": 4, "log_every": 1, "warmup": 0}
    how: ClassVar[Callable[[Path], None] | None] = None

    def training_step(self, batch: Batch) -> Losses:
        if batch.step == FIRST_BAD - 1 and type(self).how is not None and Path("runs/it").exists():
            type(self).how(Path("runs/it"))  # pyright: ignore
        yield from super().training_step(batch)


class LosesEarly(Loses):
    """Its run folder goes while one sample is evaluated, before the first step."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        if type(self).how is not None and Path("runs/it").exists():
            type(self).how(Path("runs/it"))  # pyright: ignore
        return super().evaluate(batch)


class Normalised(Single):
    """A BatchNorm of what is left of each picture: one number per channel."""

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 8))
