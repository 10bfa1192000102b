"""The base of tasks that restore pictures: degrade, restore, compare with the target."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from launchbay.data import Load, dihedral
from launchbay.tasks.answers import Answer, Pictures
from launchbay.tasks.authors import describe_value, raise_author_error
from launchbay.tasks.base import Batch, Datasets, Losses, Task
from launchbay.tasks.figures.iqa import PREFIX
from launchbay.tasks.figures.metrics import METRICS, ImageMetric, image_figures, quantize

C = TypeVar("C")


class ImageToImage(Task[C]):
    """Restores pictures: `model` takes what `degrade` makes of a picture and should give `target` back.

    Figures: those named in `metrics`, of each picture, then averaged; beside them those of `baseline`.
    """

    defaults: ClassVar[Mapping[str, object]] = {"data": "photos"}
    """Photographs that come along."""
    monitor: ClassVar[str] = "psnr"
    """Has to be among `metrics`."""
    baseline_name: ClassVar[str] = "input"
    """The heading of the figures of `baseline`."""
    metrics: Sequence[ImageMetric] = ("psnr", "ssim")
    """Some of psnr (dB, at most 100), ssim, ms_ssim (at most 1), mse, mae, lpips, of which lower is better, and
    pyiqa:NAME."""
    model: nn.Module
    """The network, which `__init__` sets: N×C×H×W in, the target's shape out."""

    @abstractmethod
    def degrade(self, batch: Batch) -> Tensor:
        """Return what the network gets to see of `batch.image`: N×C×H×W of any size. Draw noise from `batch`."""
        ...

    def target(self, batch: Batch) -> Tensor:
        """Return what the network should give: N×C×H×W in [0, 1]."""
        return batch.image

    def loss(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Scalar terms by name, means over the batch; their sum is minimised."""
        return {"l1": l1_loss(output, target)}

    def baseline(self, degraded: Tensor) -> Tensor:
        """Return the answer without a network, of the target's size."""
        return degraded

    def datasets(self, load: Load) -> Datasets:
        """Random squares of 96 pixels to train on; whole pictures to validate on, cut to multiples of 8 pixels."""
        return load("train", crop=96), load("val", multiple=8, smallest=16)

    def augment(self, batch: Batch) -> Batch:
        """Return each training sample flipped and turned by itself, all its pictures and masks alike."""
        height, width = batch.image.shape[-2:]
        code = (batch.rand() * (8 if height == width else 4)).long()
        return batch.map_pictures(lambda picture: dihedral(picture, code))

    def training_step(self, batch: Batch) -> Losses:
        """Augment, degrade, and minimise `loss` over `model`."""
        degraded, target = self._training_pair(batch)
        yield "model", self.loss(self.check(degraded, self.model(degraded), target), target)

    def _training_pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (degraded, target) of training samples, augmented."""
        augmented = self.augment(batch)
        if not isinstance(augmented, Batch):
            said = f"returns {describe_value(augmented)}"
            raise_author_error(self, "augment", said, "return a batch: return batch.with_image(picture)")
        return self.degrade(augmented), self.target(augmented)

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return (degraded, output, target), the output as 8-bit pictures would be: in [0, 1], in steps of 1/255."""
        degraded, target = self.degrade(batch), self.target(batch)
        return degraded, quantize(self.check(degraded, self.restore(degraded), target)), target

    def restore(self, degraded: Tensor) -> Tensor:
        """Return what is made of a degraded picture once the network is trained."""
        return self.model(degraded)

    def reply(self, image: Tensor) -> Answer:
        """Return `restore(image)`."""
        return Pictures({"": self.restore(image)})

    def check(self, degraded: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Return `output`, as it is.

        Raises:
            AuthorError: it has another shape than `target`.
        """
        if not isinstance(output, Tensor) or output.shape != target.shape:
            given, wanted = describe_value(degraded), describe_value(target)
            said = f"gives {describe_value(output)} for {given}, but the target is {wanted}"
            raise_author_error(self, "model", said, "let it return the target's shape")
        return output

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Return `figures` of the output and, under "baseline/", of `baseline`."""
        degraded, output, target = self.predict(batch)
        restored = self.baseline(degraded)
        if restored.shape != target.shape:
            raise_author_error(
                self,
                "baseline",
                f"gives {describe_value(restored)} for {describe_value(target)}",
                "let it return the target's shape",
            )
        baseline = self.figures(quantize(restored), target)
        own = self.figures(output, target)
        return {**own, **{f"baseline/{name}": value for name, value in baseline.items()}}

    def figures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return how well each of N pictures is restored: N values per name."""
        if unknown := [name for name in self.metrics if name not in METRICS and not name.startswith(PREFIX)]:
            raise_author_error(self, "metrics", f"has {unknown[0]!r}", f"choose some of {', '.join(METRICS)}")
        return image_figures(self.metrics, output, target)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the network sees, what it gives and what it should."""
        degraded, output, target = self.predict(batch)
        return {"input": quantize(degraded), "output": output, "target": target}

    def preview_training(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the network sees and should give, of augmented training samples, as far as it can be drawn."""
        degraded, target = self._training_pair(batch)
        columns = {"input": degraded, "target": target}
        return {heading: quantize(pictures) for heading, pictures in columns.items() if pictures.shape[1] in (1, 3)}


def self_ensemble(model: nn.Module, degraded: Tensor) -> Tensor:
    """Return the mean of what `model` makes of N×C×H×W pictures in their eight positions, each brought back (Lim et
    al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", 2017, section 3.4).
    """
    # Each flip is its own inverse, and so is a turn about the diagonal, which comes last: undone first.
    positions = [(code & 4, [dim for bit, dim in ((1, -2), (2, -1)) if code & bit]) for code in range(8)]
    outputs = []
    for swap, flips in positions:
        turned = degraded.flip(flips).transpose(-2, -1) if swap else degraded.flip(flips)
        output = model(turned)
        outputs.append((output.transpose(-2, -1) if swap else output).flip(flips))
    return torch.stack(outputs).mean(dim=0)
