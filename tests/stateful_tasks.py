"""Tasks with what no built-in one has: a teacher, a queue, a counter, a loss of the whole batch, a critic's steps."""

import copy
from collections import Counter
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from toys import Noise, NoOptions

from launchbay.data import Load
from launchbay.tasks import Batch, Datasets, Losses, Task, follow


class Contrast(Task[NoOptions]):
    """SimCLR (Chen et al., 2020): each picture is to find its other view among those of the whole batch."""

    defaults: ClassVar = {"batch_size": 8, "steps": 20, "log_every": 1, "warmup": 0, "eval_every": 10}

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.student: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(192, 8))

    def datasets(self, load: Load) -> Datasets:
        return Noise(24), Noise(5)

    def view(self, batch: Batch) -> Tensor:
        return batch.image + 0.1 * batch.randn(3, 8, 8)

    def training_step(self, batch: Batch) -> Losses:
        one, other = (batch.gather(normalize(self.student(self.view(batch)))) for _ in range(2))
        logits = one @ other.T / 0.5
        yield "student", {"contrast": cross_entropy(logits, torch.arange(len(one), device=logits.device))}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"length": self.student(batch.image).norm(dim=1)}


class Queue(Contrast):
    """MoCo (He et al., 2020): a teacher that follows, and a queue of what it said; beside it a frozen network."""

    queue: Tensor
    seen: Tensor

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 8))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.frozen = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Conv2d(3, 1, 3)).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(12, 8))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.steps = Counter[str]()

    def get_extra_state(self) -> dict[str, int]:
        return dict(self.steps)

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = Counter(state)

    def training_step(self, batch: Batch) -> Losses:
        self.frozen(batch.image)
        query, keys = self.student(self.view(batch)), normalize(self.teacher(batch.image))
        logits = torch.cat([(query * keys).sum(dim=1, keepdim=True), query @ self.queue.T], dim=1)
        weight = 1 / (1 + self.steps["taken"])
        yield "student", {"contrast": weight * cross_entropy(logits, batch.image.new_zeros(len(batch)).long())}
        follow(self.teacher, self.student, 0.9)
        self.put(self.gather(batch, keys))
        self.steps["taken"] += 1

    def gather(self, batch: Batch, keys: Tensor) -> Tensor:
        return batch.gather(keys)

    def put(self, keys: Tensor) -> None:
        places = (self.seen + torch.arange(len(keys))) % len(self.queue)
        self.queue[places] = keys
        self.seen += len(keys)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"length": self.teacher(batch.image).norm(dim=1), "queue": self.queue.norm().expand(len(batch))}


class QueuePerProcess(Queue):
    """The mistake that comes easily: each process puts the samples that it has itself."""

    def gather(self, batch: Batch, keys: Tensor) -> Tensor:
        return keys


class Critics(Task[NoOptions]):
    """A critic that takes two steps, two networks that share a loss, and what changes in the course of the training."""

    defaults: ClassVar = {"batch_size": 8, "steps": 6, "log_every": 1, "warmup": 0, "eval_every": 3}

    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.critic: nn.Module = nn.Conv2d(3, 3, 3, padding=1)
        self.there: nn.Module = nn.Conv2d(3, 3, 3, padding=1)
        self.back: nn.Module = nn.Conv2d(3, 3, 3, padding=1)

    def datasets(self, load: Load) -> Datasets:
        return Noise(24), Noise(5)

    def learning_rate(self, network: str, progress: float, scheduled: float) -> float:
        return 1 - progress if network == "critic" else scheduled

    def training_step(self, batch: Batch) -> Losses:
        for number, part in enumerate(batch.split(2)):
            wanted = number + part.rand(1, 1, 1)
            yield "critic", {"error": (self.critic(part.image) - wanted).square().mean()}
        cycle = self.back(self.there(batch.image)) - batch.image
        yield "there+back", {"cycle": cycle.square().mean() * batch.progress, "epoch": cycle.mean() * batch.epoch}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": self.critic(batch.image).mean(dim=(1, 2, 3)), "taken": batch.rand() * 0 + batch.step}


class FiveSteps(Critics):
    """A critic that takes five steps."""

    def training_step(self, batch: Batch) -> Losses:
        for part in batch.split(5):
            yield "critic", {"error": self.critic(part.image).square().mean()}
        yield "there+back", {"cycle": (self.back(self.there(batch.image)) - batch.image).square().mean()}
