"""The base of tasks that draw pictures from latents: samples, walks and classes to look at, and how good they are."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from launchbay import UserError
from launchbay.data import ImageSet, Load, LoadOptions, generator, key, side_of
from launchbay.data.transforms import Transformed
from launchbay.exact import exact
from launchbay.tasks.authors import raise_author_error
from launchbay.tasks.base import Batch, Datasets, Task
from launchbay.tasks.figures.judge import (
    Judge,
    class_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_judge,
    mean_distance,
    precision_and_recall,
)
from launchbay.tasks.figures.plots import tile_pictures

C = TypeVar("C")
SMALLEST = 4
"""Pixels that a side has at least."""
DRAWS = "draws"
"""The name under which a validation set says what samples are drawn beside its pictures."""
SampleMetric = Literal["fid", "kid", "inception_score", "precision_recall"]


class Generative(Task[C]):
    """Turns latents into pictures. A task sets `latent`, `classes` and `sample_metrics`; its options have `channels`,
    `size` and `judge`, and may have `samples`.

    Figures of as many samples as there are validation pictures, or of `samples`, spread at random over them:

    - diversity: the mean distance between two samples, both shrunk to 8×8 pixels, over that of real pictures. 1 is as
      varied as the data, near 0 is collapse; it does not see whether samples look like anything.
    - those of `sample_metrics`, from the judge's features, beside what as many training pictures score (the baseline),
      or all of them where there are fewer.
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
    """Some of fid, kid (of both lower is better), inception_score, precision_recall (higher is). They need a judge."""

    def __init__(self, config: C):
        super().__init__(config)
        self.judge: Judge | None = None
        self.real_judged: dict[int, Tensor] = {}
        self._source: Batch | None = None

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
        if name and self.judge is None:  # with several validation sets this is called for each
            self.judge = load_judge(name)
        self.real_pictures = train  # what the judge says of them is the baseline
        samples: int | None = getattr(config, "samples", None)
        return train, validation if samples is None else WithDraws(validation, samples)

    @abstractmethod
    def generate(self, latent: Tensor, condition: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] from standard normal N×L and one-hot classes N×K (K = 0 where there are none). Where that
        takes more random numbers than the latents, draw them with `self.rand` and `self.randn`.
        """
        ...

    def generate_with(self, source: Batch, latent: Tensor, condition: Tensor) -> Tensor:
        """Return `generate(latent, condition)`, which may draw: its random numbers are those of `source`, a batch of as
        many samples.
        """
        self._source = source
        try:
            return self.generate(latent, condition)
        finally:
            self._source = None

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), N×`shape`, for use in `generate`: keyed as those of a `Batch` are."""
        return self._random().rand(*shape)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal, N×`shape`, for use in `generate`: keyed as those of a `Batch` are."""
        return self._random().randn(*shape)

    def _random(self) -> Batch:
        if self._source is None:
            said = "draws random numbers, but was called without a source of them"
            raise_author_error(self, "generate", said, "call self.generate_with(batch, latent, condition)")
        return self._source

    def condition(self, batch: Batch) -> Tensor:
        """Return the one-hot classes of a batch, N×0 without --classes."""
        if not self.classes:
            return batch.image.new_zeros(len(batch), 0)
        return one_hot(batch.label, self.classes).to(batch.image.dtype)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Return what `summarize` needs of each real picture and of the samples beside it: one, or those that `samples`
        puts there.
        """
        condition, real = self.condition(batch), self._describe(batch.image)
        others = {"wanted": batch.label[:, None]} if self.classes else {}
        if DRAWS not in batch.tensors:
            generated = self._describe(self.generate_with(batch, batch.randn(self.latent), condition))
        else:
            others[DRAWS] = batch[DRAWS]
            each = [self._draw(batch, condition, number, real) for number in range(batch[DRAWS].shape[1])]
            generated = {name: torch.cat([one[name] for one in each], dim=1) for name in real}
        both = {"real": real, "generated": generated}
        return {f"{name}_{of}": values for of, found in both.items() for name, values in found.items()} | others

    def _describe(self, image: Tensor) -> dict[str, Tensor]:
        """Return what figures are made of, N×D each: pictures shrunk to 8×8 pixels, and what the judge says of them."""
        return {"small": shrink(image)} | ({} if self.judge is None else {"judged": self.judge(image)})

    def _draw(self, batch: Batch, condition: Tensor, number: int, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `_describe` of sample `number` beside each picture that has one, and zeros like `like` beside the
        others.
        """
        found, chosen = {name: torch.zeros_like(values) for name, values in like.items()}, batch[DRAWS][:, number] > 0
        keys = [key(one, "draw", number) for one, drawn in zip(batch.keys, chosen.tolist(), strict=True) if drawn]
        if keys:
            own = Batch({"image": batch.image[chosen]}, keys, moment=batch.moment)
            generated = self.generate_with(own, own.randn(self.latent), condition[chosen])
            for name, values in self._describe(generated).items():
                found[name][chosen] = values
        return found

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        """Return the figures named above, each beside that of real pictures."""
        small = mean_distance(drawn(collected, "small_generated")), mean_distance(collected["small_real"])
        figures = {"diversity": float(small[0] / small[1])}
        if self.judge is not None:
            of_samples = drawn(collected, "judged_generated")
            real, generated = self.judge.split(collected["judged_real"]), self.judge.split(of_samples)
            reference = self.judge.split(self.reference(len(of_samples)))
            figures |= self.compare(real, generated)
            figures |= {f"baseline/{name}": value for name, value in self.compare(real, reference).items()}
            if self.classes and self.judge.answers:
                wanted = drawn(collected, "wanted"), collected["wanted"]
                for prefix, judged, labels in zip(("", "baseline/"), (generated, real), wanted, strict=True):
                    right = judged[1].argmax(dim=1) == labels.flatten()
                    figures[f"{prefix}class_accuracy"] = float(exact(right).mean())
        return figures | {"baseline/diversity": 1.0}

    def compare(self, real: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> dict[str, float]:
        """Return the judge's figures of `other`, both as (features N×D, probabilities N×K)."""
        figures: dict[str, float] = {}
        if "fid" in self.sample_metrics:
            figures["fid"] = frechet_distance(real[0], other[0])
        if "kid" in self.sample_metrics:
            figures["kid"] = kernel_distance(real[0], other[0])
        if "inception_score" in self.sample_metrics:
            figures["inception_score"], figures["inception_score_sd"] = inception_score(other[1])
        if "precision_recall" in self.sample_metrics:
            figures["precision"], figures["recall"] = precision_and_recall(real[0], other[0])
        if self.judge is not None and self.judge.answers:
            figures["classes"] = class_coverage(other[1], real[1])
            figures["certainty"] = float(other[1].max(dim=1).values.mean())
        return figures

    def reference(self, count: int) -> Tensor:
        """Return what the judge says of `count` training pictures, count×(D + K); asked once."""
        if count not in self.real_judged:
            assert self.judge is not None
            chosen = torch.randperm(len(self.real_pictures), generator=generator("reference"))[:count].tolist()
            device = next(self.judge.parameters()).device
            parts = []
            for start in range(0, len(chosen), 256):
                pixels = self.real_pictures.__getitems__(chosen[start : start + 256])["image"]
                parts.append(self.judge(pixels.to(device) / 255).cpu())
            self.real_judged[count] = torch.cat(parts)
        return self.real_judged[count]

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return samples from fixed latents; walks from one latent to another, a row each; with classes, a row for
        each. What `generate` draws is fixed too, and the same along a walk and for all classes.
        """
        numbers = torch.arange(64)
        pictures = {"generated": self._tiles("samples", self.fixed("samples", 64), numbers, numbers, 8)}
        ends = self.fixed("walk", 12).view(2, 6, 1, -1)
        angles = torch.linspace(0, torch.pi / 2, 10).to(ends).view(1, -1, 1)
        walk = (angles.cos() * ends[0] + angles.sin() * ends[1]).flatten(0, 1)  # keeps the length of normal vectors
        rows = torch.arange(6).repeat_interleave(10)
        pictures["walk"] = self._tiles("walk", walk, rows, rows, 10)
        if self.classes:
            latents = self.fixed("classes", 10).repeat(self.classes, 1)
            labels = torch.arange(self.classes).repeat_interleave(10)
            pictures["classes"] = self._tiles("classes", latents, torch.arange(10).repeat(self.classes), labels, 10)
        return pictures

    def _tiles(self, name: str, latents: Tensor, numbers: Tensor, labels: Tensor, wide: int) -> Tensor:
        """Return pictures of `latents`, `wide` of them a row. `generate` draws the same for those of the same number in
        `numbers`.
        """
        source = Batch({"image": latents}, [key("gallery", name, number) for number in numbers.tolist()])
        return tile_pictures(self.generate_with(source, latents, self.wanted(labels)), wide)

    def fixed(self, name: str, count: int) -> Tensor:
        """Return the same `count` latents each time, count×L on the task's device."""
        latents = torch.randn(count, self.latent, generator=generator("gallery", name))
        return latents.to(next(self.parameters()).device)

    def wanted(self, labels: Tensor) -> Tensor:
        """One-hot classes, `labels` counted through; N×0 without classes."""
        latents = torch.zeros(len(labels), 0) if not self.classes else one_hot(labels % self.classes, self.classes)
        return latents.to(torch.get_default_dtype()).to(next(self.parameters()).device)


class WithDraws(Transformed):
    """The pictures of `images`, each with how many samples are drawn beside it: `count` in all, spread at random."""

    def __init__(self, images: ImageSet, count: int):
        super().__init__(images)
        self.count, self.most = count, -(-count // len(images))
        # Not every so many-th: where classes take turns, as in `glyphs`, all of these would have the same one.
        self.place = torch.randperm(len(images), generator=generator("draws"))

    def size(self, index: int) -> tuple[int, int]:
        return self.images.size(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """What `images` gives, and N×`most` numbers: 1 for each sample, then 0."""
        before, after = ((self.place[list(indices)] + more) * self.count // len(self) for more in (0, 1))
        draws = torch.arange(self.most) < (after - before)[:, None]
        return {**self.images.__getitems__(indices), DRAWS: draws.long()}


def drawn(collected: dict[str, Tensor], name: str) -> Tensor:
    """Return the rows of `collected[name]` that are of samples: of those N×(most·D) that were drawn, with `samples`."""
    if DRAWS not in collected:
        return collected[name]
    chosen, values = collected[DRAWS].bool(), collected[name]
    if values.shape[1] == 1:  # a label, which is that of all samples beside the picture
        values = values.expand(chosen.shape)
    return values.reshape(*chosen.shape, -1)[chosen]


def shrink(image: Tensor) -> Tensor:
    return adaptive_avg_pool2d(image, 8).flatten(1)
