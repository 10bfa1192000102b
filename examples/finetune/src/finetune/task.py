"""Fine-tuning: a network of timm learns other classes, its first layers more slowly than its last."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from launchbay.data import ImageSet, Load, count_classes, side_of
from launchbay.models import build_classifier
from launchbay.tasks import Batch, CreateOptimizer, Datasets, Losses, Task
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer


@dataclass(frozen=True)
class FinetuneConfig:
    model: str = "test_resnet"
    """A network of timm. --weights timm/NAME starts from its published weights."""
    layer_decay: float = 0.75
    """How much slower each layer learns than the one behind it; with 1 all learn alike."""
    size: int | None = None
    """Side that pictures are resized to, in pixels. Default: theirs if they are squares of one size, otherwise 64."""
    channels: int | None = None
    """Channels of the pictures. Default: those of the training pictures; folders are read in colour."""
    classes: int | None = None
    """Number of classes. Default: those of the training pictures."""


class Finetune(Task[FinetuneConfig]):
    defaults: ClassVar = {
        "data": "glyphs", "batch_size": 64, "steps": 200, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.05,
    }  # fmt: skip
    monitor: ClassVar = "accuracy"
    baseline_name: ClassVar = "chance"

    def __init__(self, config: FinetuneConfig):
        super().__init__(config)
        self.size, self.channels, self.classes = config.size or 28, config.channels or 1, config.classes or 10
        self.model = build_classifier(
            f"timm/{config.model}", self.channels, self.size, self.classes, width=0, pretrained=False
        )

    @classmethod
    def infer_options(cls, config: FinetuneConfig, images: ImageSet) -> FinetuneConfig:
        return replace(
            config,
            size=config.size or side_of(images) or 64,
            channels=config.channels or images.channels,
            classes=config.classes or count_classes(images),
        )

    def datasets(self, load: Load) -> Datasets:
        train, validation = (
            load(split, size=self.size, channels=self.channels, classes=self.classes) for split in ("train", "val")
        )
        return train, validation

    def optimizers(self, create: CreateOptimizer) -> dict[str, Optimizer]:
        # Here, since it takes seconds. timm documents this function, but does not export it in so many words.
        from timm.optim import param_groups_layer_decay  # pyright: ignore[reportPrivateImportUsage]

        groups = param_groups_layer_decay(self.model.trunk, layer_decay=self.config.layer_decay)
        for group in groups:
            if group["weight_decay"]:  # those of biases and norms have 0; the others shall have that of --weight-decay
                del group["weight_decay"]
        return {"model": create([*groups, {"params": self.model.head.parameters()}])}

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"cross_entropy": cross_entropy(self.model(batch.image), batch.label)}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.model(batch.image)
        return {
            "accuracy": (logits.argmax(dim=1) == batch.label).float(),
            "cross_entropy": cross_entropy(logits, batch.label, reduction="none"),
            "baseline/accuracy": torch.full_like(logits[:, 0], 1 / self.classes),
        }
