"""Tasks for tests that are wrong, each in one way."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from toys import Gan, Noise, NoOptions, Noticing, Single

from launchbay.data import Load
from launchbay.tasks import Batch, CreateOptimizer, Datasets, ImageToImage, Losses, Task


class StuckThenFails(Single):
    """The last process does nothing for five seconds at its second step, and then fails."""

    seen = 0

    def training_step(self, batch: Batch) -> Losses:
        self.seen += 1
        if self.seen == 2 and int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1:
            time.sleep(5)
            raise ZeroDivisionError("a bug of the plugin")
        yield from super().training_step(batch)


class SlowToBuild(Single):
    """Takes three seconds to build its networks."""

    def __init__(self, options: NoOptions):
        super().__init__(options)
        time.sleep(3)


class Spoiled(Noise):
    """How much picture 7 counts is no number."""

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        counts = torch.tensor([float("nan") if index == 7 else 1.0 for index in indices])
        return {**super().__getitems__(indices), "counts": counts}


class SpoiledData(Single):
    def datasets(self, load: Load) -> Datasets:
        return Spoiled(10), Noise(5)

    def training_step(self, batch: Batch) -> Losses:
        errors = (self.model(batch.image) - batch.image).square().mean(dim=(1, 2, 3))
        yield "model", {"mse": (errors * batch["counts"]).mean()}


class Infinite(Single):
    """The square root has no derivative at zero: from step 6 on the gradient is nan, and the loss is not."""

    def training_step(self, batch: Batch) -> Losses:
        loss = (self.model(batch.image) - batch.image).square().mean()
        yield "model", {"mse": loss + ((loss * 0).sqrt() if batch.step >= 5 else 0)}


class NamesSets(Single):
    def datasets(self, load: Load) -> Datasets:
        return Noise(10), {"a/b": Noise(3), "c": Noise(3)}


class Greedy(Single):
    """Wants more memory than there is, at its second step."""

    seen = 0

    def training_step(self, batch: Batch) -> Losses:
        self.seen += 1
        if self.seen == 2:
            torch.empty(1 << 50)
        yield from super().training_step(batch)


class Returns(Single):
    def training_step(self, batch: Batch) -> Losses:  # pyright: ignore
        return {"mse": self.model(batch.image).mean()}  # pyright: ignore


class YieldsWithoutGradient(Single):
    def training_step(self, batch: Batch) -> Losses:
        with torch.no_grad():
            yield "model", {"mse": self.model(batch.image).mean()}


class ReachesNothing(Gan):
    def training_step(self, batch: Batch) -> Losses:
        yield "generator", {"wrong": self.discriminator(batch.image).mean()}


class Misnames(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "modle", {"mse": self.model(batch.image).mean()}


class Detached(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": self.model(batch.image).mean().detach()}


class YieldsPictures(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": (self.model(batch.image) - batch.image).square()}


class YieldsNoName(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield {"mse": self.model(batch.image).mean()}  # pyright: ignore


class YieldsNothing(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield from ()


class LeavesOneOut(Gan):
    def training_step(self, batch: Batch) -> Losses:
        yield "discriminator", {"real": self.discriminator(batch.image).mean()}


class YieldsNoTerms(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {}


class YieldsOneTensor(Single):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", self.model(batch.image).mean()  # pyright: ignore


class Unfinished(Task[NoOptions]):
    """Lacks what every task has to have."""


class PreviewsWithoutChannels(Single):
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"input": batch.image, "error": batch.image.mean(dim=1)}


class PreviewsTooMany(Single):
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"input": batch.image, "twice": torch.cat([batch.image, batch.image])}


class StacksGallery(Single):
    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"all": torch.zeros(2, 3, 8, 8)}


class EvaluatesNothing(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:  # pyright: ignore
        """Forgets its `return`."""


class PreviewsNothing(Single):
    def preview(self, batch: Batch) -> dict[str, Tensor]:  # pyright: ignore
        """Forgets its `return`."""


class DrawsNothing(Single):
    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:  # pyright: ignore
        """Forgets its `return`."""


class FigureIsNaN(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": super().evaluate(batch)["error"] * float("nan")}


class TurnsNaN(Single):
    """Not a number at the fourth step, on the last process only."""

    seen = 0

    def training_step(self, batch: Batch) -> Losses:
        self.seen += 1
        last = int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
        factor = float("nan") if self.seen == 4 and last else 1.0
        output = self.model(batch.image)
        yield "model", {"mse": output.square().mean() * factor, "zero": (output * 0).mean()}


class Fails(Single):
    def training_step(self, batch: Batch) -> Losses:
        raise ZeroDivisionError("a bug of the plugin")
        yield


class Fragile(Noticing):
    """The method that the file `broken` names fails, if there is one; `evaluate` on the last process only."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        if batch.step:  # not what is tried before the first step
            fail_in("evaluate")
        return super().evaluate(batch)

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        fail_in("summarize")
        return super().summarize(collected)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        fail_in("preview")
        return {"input": batch.image}

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        fail_in("gallery")
        return super().gallery(collected)


def fail_in(method: str) -> None:
    last = method != "evaluate" or int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1
    if last and Path("broken").is_file() and Path("broken").read_text() == method:
        raise ZeroDivisionError("a bug of the plugin")


class EvaluatesBatches(Single):
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": self.model(batch.image).mean()}


class WrongShape(ImageToImage[NoOptions]):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Conv2d(3, 3, 3)

    def degrade(self, batch: Batch) -> Tensor:
        return batch.image


@dataclass(frozen=True)
class TakenOptions:
    seed: int = 1
    """Collides with the shared option."""


class Collides(Task[TakenOptions]):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {}


@dataclass(frozen=True)
class RequiredOptions:
    size: int
    """Has to be said, but nobody can."""


class ListsDefaults(Single):
    defaults: ClassVar[Any] = ["batch_size", 4]


class DefaultIsText(Single):
    defaults: ClassVar = {"steps": "3"}


class DefaultIsNoChoice(Single):
    defaults: ClassVar = {"steps": 3, "schedule": "poly"}


class NoDefault(Task[RequiredOptions]):
    def training_step(self, batch: Batch) -> Losses:
        yield "model", {}


class ForgetsSuper(Single):
    def __init__(self, config: NoOptions):  # pyright: ignore
        self.model = nn.Conv2d(3, 3, 3, padding=1)


class ForgetsSuperOfNone(Single):
    def __init__(self, config: NoOptions):  # pyright: ignore
        self.width = 3


class CannotBeBuilt(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.Conv2d(3, 4, 3, groups=2)


class NoNetwork(Single):
    def __init__(self, config: NoOptions):
        super().__init__(config)
        self.model = nn.ReLU()


class StrangeOptimizer(Single):
    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        optimizer: Any = create(self.model.parameters())
        optimizer.param_groups[0]["callback"] = print
        return {"model": optimizer}


class KeepsLists(Adam):
    """Has a list of tensors for each parameter, once it has taken a step."""

    def step(self, *_: Any) -> None:  # pyright: ignore
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["factors"] = [torch.zeros(2)]


class ListsOptimizer(Single):
    def optimizers(self, create: CreateOptimizer) -> Mapping[str, Optimizer]:
        return {"model": KeepsLists(self.model.parameters())}
