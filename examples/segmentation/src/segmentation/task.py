"""Segmentation: say for each pixel which class it belongs to."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from launchbay.data import ImageSet, Load, count_classes, dihedral, patch_of
from launchbay.models import UNet
from launchbay.tasks import Batch, Datasets, Losses, Task
from torch import Tensor
from torch.nn.functional import cross_entropy

from . import VOID


@dataclass(frozen=True)
class SegmentationConfig:
    width: int = 16
    """Channels of the first layers; the deepest have four times as many."""
    blocks: int = 1
    """Residual blocks at each of the five stages."""
    crop: int | None = None
    """Side of the squares that are trained on, in pixels. Default: 96, less if the pictures are smaller."""
    classes: int | None = None
    """Number of classes. Default: as the training pictures have them."""


class Segmentation(Task[SegmentationConfig]):
    """Pictures and their masks; class 0 is the background."""

    defaults: ClassVar = {"data": "scenes", "batch_size": 16, "steps": 2000, "lr": 4e-3}
    monitor: ClassVar = "mean_iou"
    baseline_name: ClassVar = "background"
    uses: ClassVar = ("mask",)

    def __init__(self, config: SegmentationConfig):
        super().__init__(config)
        self.classes = config.classes or 2
        self.model = UNet(3, config.width, config.blocks, outputs=self.classes)

    @classmethod
    def infer_options(cls, config: SegmentationConfig, images: ImageSet) -> SegmentationConfig:
        return replace(
            config, classes=config.classes or count_classes(images), crop=config.crop or patch_of(images, 96)
        )

    def datasets(self, load: Load) -> Datasets:
        train = load("train", crop=self.config.crop, channels=3, classes=self.classes)
        return train, load("val", channels=3, classes=self.classes)

    def training_step(self, batch: Batch) -> Losses:
        mirror = (batch.rand() * 2).long() * 2  # left to right alone: upside down, some digits are others
        batch = batch.map_pictures(lambda picture: dihedral(picture, mirror))
        loss = cross_entropy(self.model(batch.image), batch["mask"].long(), ignore_index=VOID, reduction="none")
        yield "model", {"cross_entropy": loss.mean()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Return for each picture how many pixels of each class (rows) are taken for each (columns): N×(K·K)."""
        mask, answer = batch["mask"].long(), self.model(batch.image).argmax(dim=1)
        cells, known = mask * self.classes + answer, mask != VOID
        counts = [torch.bincount(cell[of], minlength=self.classes**2) for cell, of in zip(cells, known, strict=True)]
        return {"confusion": torch.stack(counts)}

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        confusion = collected["confusion"].sum(dim=0).double().view(self.classes, self.classes)
        background = torch.zeros_like(confusion)
        background[:, 0] = confusion.sum(dim=1)
        return figures(confusion) | {f"baseline/{name}": value for name, value in figures(background).items()}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        answer, mask = self.model(batch.image).argmax(dim=1), batch["mask"].long()
        return {
            "picture": batch.image,
            "answer": self.overlay(batch.image, answer),
            "target": self.overlay(batch.image, mask),
        }

    def overlay(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the pictures with a colour over each class but the background."""
        hue = mask[:, None] / self.classes + torch.arange(3, device=mask.device).view(3, 1, 1) / 3
        colour = 0.5 + 0.5 * torch.cos(2 * math.pi * hue)
        painted = (mask > 0) & (mask != VOID)
        return torch.where(painted[:, None], 0.3 * image + 0.7 * colour.to(image), image)


def figures(confusion: Tensor) -> dict[str, float]:
    """Return the figures of a whole set from its K×K confusion matrix. Classes that are nowhere do not count.

    Precision and recall are means over the classes but for the background, nearly all of which anyone gets right.
    """
    right, there, said = confusion.diag(), confusion.sum(dim=1), confusion.sum(dim=0)
    somewhere = there + said > 0
    things = somewhere & (torch.arange(len(right)) > 0)
    return {
        "mean_iou": float((right / (there + said - right))[somewhere].mean()),
        "pixel_accuracy": float(right.sum() / there.sum()),
        "precision": float((right / said.clamp_min(1))[things].mean()),
        "recall": float((right / there.clamp_min(1))[things].mean()),
    }
