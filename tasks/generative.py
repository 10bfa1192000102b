"""The base of tasks that draw pictures from latents: samples, walks and classes to look at, and how good they are."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from launchbay import UserError
from launchbay.data import ImageSet, Load, LoadOptions, generator, side_of
from launchbay.tasks.base import Batch, Datasets, Task
from launchbay.tasks.figures.judge import (
    Judge,
    class_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_judge,
    mean_distance,
)
from launchbay.tasks.figures.plots import tile_pictures

C = TypeVar("C")
SMALLEST = 4
"""Pixels that a side has at least."""
SampleMetric = Literal["fid", "kid", "inception_score"]


class Generative(Task[C]):
    """Turns latents into pictures. A task sets `latent`, `classes` and `sample_metrics`; its options have `channels`,
    `size` and `judge`.

    Figures of as many samples as there are validation pictures:

    - diversity: the mean distance between two samples, both shrunk to 8×8 pixels, over that of real pictures. 1 is as
      varied as the data, near 0 is collapse; it does not see whether samples look like anything.
    - those of `sample_metrics`, from the judge's features, beside what as many training pictures score (the baseline).
    - with a classifier of this data as the judge, classes: how many are generated at least a quarter as often as they
      should be; certainty: the mean probability of its answers; class_accuracy, where classes were asked for: how
      often it sees that class.
    """

    baseline_name: ClassVar[str] = "real"
    """Beside the figures of samples stand those of real pictures."""
    latent: int
    """Length of a latent, L. A task sets it in `__init__`."""
    classes: int = 0
    """Classes that pictures can be asked for by, K; 0: they cannot."""
    sample_metrics: Sequence[SampleMetric] = ()
    """Some of fid, kid (of both lower is better) and inception_score (higher is). They need a judge."""

    def __init__(self, config: C):
        super().__init__(config)
        self.judge: Judge | None = None
        self.real_judged: Tensor | None = None

    @classmethod
    def infer_options(cls, config: Any, images: ImageSet) -> Any:
        """Return `config` with the pictures' `channels`, and as `size` their side, or 32 if they are no squares of one
        size.

        Raises:
            UserError: `size` was given, below 4 pixels.
        """
        if config.size is not None and config.size < SMALLEST:
            raise UserError(f"--size {config.size} has to be at least {SMALLEST}", "give a larger one, or leave it out")
        return replace(config, channels=config.channels or images.channels, size=config.size or side_of(images) or 32)

    def datasets(self, load: Load) -> Datasets:
        """Return squares of `config.size` pixels, with labels if there are `classes`; loads the judge,
        if there is one.
        """
        config: Any = self.config
        how: LoadOptions = {"size": config.size, "channels": config.channels, "classes": self.classes}
        train, validation = (load(split, **how) for split in ("train", "val"))
        name = config.judge or ("timm/resnet18" if self.sample_metrics else None)
        self.judge = load_judge(name) if name else None
        self.real_pictures = train  # what the judge says of them is the baseline
        return train, validation

    @abstractmethod
    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] from standard normal N×L and one-hot classes N×K (K = 0 where there are none)."""
        ...

    def condition(self, batch: Batch) -> Tensor:
        """Return the one-hot classes of a batch, N×0 without --classes."""
        if not self.classes:
            return batch.image.new_zeros(len(batch), 0)
        return one_hot(batch.label, self.classes).to(batch.image.dtype)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Return what `summarize` needs of each real picture and of a sample beside it."""
        generated = self.generate(batch.randn(self.latent), self.condition(batch))
        judged = {} if self.judge is None else {"real": self.judge(batch.image), "generated": self.judge(generated)}
        if self.classes:
            judged["wanted"] = batch.label[:, None]
        small = {f"small_{name}": shrink(image) for name, image in (("real", batch.image), ("generated", generated))}
        return judged | small

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        """Return the figures named above, each beside that of real pictures."""
        figures = {
            "diversity": float(mean_distance(collected["small_generated"]) / mean_distance(collected["small_real"]))
        }
        if self.judge is not None:
            real, generated = (self.judge.split(collected[name]) for name in ("real", "generated"))
            reference = self.judge.split(self.reference(len(collected["real"])))
            figures |= self.compare(real, generated)
            figures |= {f"baseline/{name}": value for name, value in self.compare(real, reference).items()}
            if self.classes and self.judge.answers:
                for prefix, judged in (("", generated), ("baseline/", real)):
                    right = judged[1].argmax(dim=1) == collected["wanted"].flatten()
                    figures[f"{prefix}class_accuracy"] = float(right.double().mean())
        return figures | {"baseline/diversity": 1.0}

    def compare(self, real: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> dict[str, float]:
        """Return the judge's figures of `other`, both as (features N×D, probabilities N×K)."""
        figures: dict[str, float] = {}
        if "fid" in self.sample_metrics:
            figures["fid"] = frechet_distance(real[0], other[0])
        if "kid" in self.sample_metrics:
            figures["kid"] = kernel_distance(real[0], other[0])
        if "inception_score" in self.sample_metrics:
            figures["inception_score"] = inception_score(other[1])
        if self.judge is not None and self.judge.answers:
            figures["classes"] = class_coverage(other[1], real[1])
            figures["certainty"] = float(other[1].max(dim=1).values.mean())
        return figures

    def reference(self, count: int) -> Tensor:
        """Return what the judge says of `count` training pictures, count×(D + K); asked once."""
        if self.real_judged is None:
            assert self.judge is not None
            chosen = torch.randperm(len(self.real_pictures), generator=generator("reference"))[:count].tolist()
            device = next(self.judge.parameters()).device
            parts = []
            for start in range(0, len(chosen), 256):
                pixels = self.real_pictures.__getitems__(chosen[start : start + 256])["image"]
                parts.append(self.judge(pixels.to(device) / 255).cpu())
            self.real_judged = torch.cat(parts)
        return self.real_judged

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return samples from fixed latents; walks from one latent to another, a row each; with classes, a row for
        each.
        """
        latents = self.fixed("samples", 64)
        pictures = {"generated": tile_pictures(self.generate(latents, self.wanted(torch.arange(64))), 8)}
        ends = self.fixed("walk", 12).view(2, 6, 1, -1)
        angles = torch.linspace(0, torch.pi / 2, 10).to(ends).view(1, -1, 1)
        walk = (angles.cos() * ends[0] + angles.sin() * ends[1]).flatten(0, 1)  # keeps the length of normal vectors
        labels = torch.arange(6).repeat_interleave(10)
        pictures["walk"] = tile_pictures(self.generate(walk, self.wanted(labels)), 10)
        if self.classes:
            labels = torch.arange(self.classes).repeat_interleave(10)
            rows = self.fixed("classes", 10).repeat(self.classes, 1)
            pictures["classes"] = tile_pictures(self.generate(rows, self.wanted(labels)), 10)
        return pictures

    def fixed(self, name: str, count: int) -> Tensor:
        """Return the same `count` latents each time, count×L on the task's device."""
        latents = torch.randn(count, self.latent, generator=generator("gallery", name))
        return latents.to(next(self.parameters()).device)

    def wanted(self, labels: Tensor) -> Tensor:
        """One-hot classes, `labels` counted through; N×0 without classes."""
        latents = torch.zeros(len(labels), 0) if not self.classes else one_hot(labels % self.classes, self.classes)
        return latents.to(torch.get_default_dtype()).to(next(self.parameters()).device)


def shrink(image: Tensor) -> Tensor:
    return adaptive_avg_pool2d(image, 8).flatten(1)
