"""BYOL: features of pictures without labels, from two views of each and a teacher that follows its student."""

import copy
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from launchbay.data import ImageSet, Load, count_classes, side_of
from launchbay.tasks import Batch, Datasets, Losses, Task, follow
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cosine_similarity, grid_sample, normalize

from .network import encoder, perceptron


@dataclass(frozen=True)
class ByolConfig:
    width: int = 32
    """Channels of the first layer; the last has four times as many."""
    features: int = 128
    """Length of the features."""
    latent: int = 64
    """Length of what the student predicts of the teacher."""
    decay: float = 0.98
    """How much of the teacher stays in the first step; it rises to 1 in the course of the training."""
    strength: float = 0.25
    """How much a view is turned, stretched, slanted and shifted."""
    neighbours: int = 5
    """Neighbours that vote for the class of a picture."""
    channels: int | None = None
    """Channels of the pictures. Default: those of the training pictures; folders are read in colour."""
    size: int | None = None
    """Side that pictures are resized to, in pixels. Default: theirs if they are squares of one size, otherwise 32."""


class Byol(Task[ByolConfig]):
    """Bootstrap Your Own Latent (Grill et al., 2020). Labels are used for one figure alone."""

    defaults: ClassVar = {"data": "glyphs", "batch_size": 64, "steps": 1500, "optimizer": "adamw", "lr": 2e-3}
    monitor: ClassVar = "knn_accuracy"
    baseline_name: ClassVar = "pixels"

    def __init__(self, config: ByolConfig):
        super().__init__(config)
        self.student = nn.Sequential(
            encoder(config.channels or 1, config.width, config.features),
            perceptron(config.features, 256, config.latent),
        )
        self.predictor = perceptron(config.latent, 256, config.latent)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    @classmethod
    def infer_options(cls, config: ByolConfig, images: ImageSet) -> ByolConfig:
        return replace(config, channels=config.channels or images.channels, size=config.size or side_of(images) or 32)

    def datasets(self, load: Load) -> Datasets:
        size, channels = self.config.size, self.config.channels
        train, validation = (load(split, size=size, channels=channels) for split in ("train", "val"))
        count_classes(validation)  # without labels nobody could say how good the features are
        return train, validation

    def training_step(self, batch: Batch) -> Losses:
        one, other = self.view(batch), self.view(batch)
        yield "student+predictor", {"distance": self.distance(batch, one, other) + self.distance(batch, other, one)}
        rest = (1 + math.cos(math.pi * batch.progress)) / 2  # from 1 to 0
        follow(self.teacher, self.student, 1 - (1 - self.config.decay) * rest)

    def distance(self, batch: Batch, image: Tensor, other: Tensor) -> Tensor:
        """Return 0 if the student, shown `image`, predicts what the teacher says of `other`, 2 if the opposite."""
        target, predicted = self.teacher(other), self.predictor(self.student(image))
        # Less what it says of every picture of the batch: otherwise both could agree to say always the same.
        deviation, mean = torch.std_mean(batch.gather(target), dim=0, correction=0)
        return 1 - cosine_similarity(predicted, (target - mean) / (deviation + 1e-5)).mean()

    def view(self, batch: Batch) -> Tensor:
        """Return each picture turned, stretched, slanted and shifted at random, and up to half as bright."""
        count, channels = batch.image.shape[:2]
        change = self.config.strength * (2 * batch.rand(2, 3) - 1)
        matrix = torch.eye(2, 3).to(change).expand(count, 2, 3) + change
        grid = affine_grid(matrix, list(batch.image.shape), align_corners=False)
        return grid_sample(batch.image, grid, align_corners=False) * (1 - batch.rand(channels, 1, 1) / 2)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        features = self.student[0](batch.image)
        return {"features": features, "pixels": batch.image.flatten(1), "label": batch.label[:, None]}

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        features, pixels = (self.knn_accuracy(collected[name], collected["label"]) for name in ("features", "pixels"))
        return {"knn_accuracy": features, "baseline/knn_accuracy": pixels}

    def knn_accuracy(self, vectors: Tensor, label: Tensor) -> float:
        """Return how often the nearest of all other pictures, by cosine, vote for the class of a picture."""
        directions = normalize(vectors)
        similarity = (directions @ directions.T).fill_diagonal_(-math.inf)
        nearest = similarity.topk(min(self.config.neighbours, len(label) - 1)).indices
        return float((label[nearest, 0].mode(dim=1).values == label[:, 0]).double().mean())

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"picture": batch.image, "a view": self.view(batch), "another": self.view(batch)}
