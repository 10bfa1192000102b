"""The test bench: a task on a few samples of its data, on the CPU, and what several checks share."""

import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from math import lcm
from typing import Unpack
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from launchbay import UserError
from launchbay.data import ImageSet, Index, LoadOptions, key
from launchbay.data.loader import fetch
from launchbay.data.sources import Source
from launchbay.data.transforms import Transformed
from launchbay.launch.check.fresh import NotImportable, ask
from launchbay.launch.check.lines import describe_error, raised
from launchbay.launch.check.results import Broken, Check, NotApplicable, Result
from launchbay.launch.check.watched import Watched, losses
from launchbay.launch.config.assembly import build_task, infer_options, open_sources
from launchbay.launch.config.loading import datasets
from launchbay.launch.config.options import AnyConfig, Dataclass, TrainOptions
from launchbay.launch.config.setup import default_config
from launchbay.launch.distributed.accelerator import create_accelerator, to_device
from launchbay.launch.engine.batches import to_batch
from launchbay.launch.engine.evaluation import evaluate_sets
from launchbay.launch.engine.loop import Engine
from launchbay.launch.files import Json
from launchbay.launch.record.figures import Figures
from launchbay.tasks.base import AnyTask, Batch, Moment
from launchbay.tasks.losses import IndivisibleBatch
from launchbay.tasks.places import Place, locate

SAMPLES = {"train": 8, "val": 5}
BATCH, MOST = 4, 64
"""Samples of a batch, and at most, for steps that split it."""
STEPS = 4
CPU = torch.device("cpu")
HALFWAY = Moment(STEPS // 2, 0.5, 1.0)
"""What a single step is told, so that nothing that begins or ends later is left out altogether."""
SHORT: dict[str, object] = {
    "steps": STEPS, "epochs": None, "batch_size": BATCH, "warmup": 0, "log_every": 1, "eval_every": 2, "save_every": 2,
    "wandb": "off", "workers": 0, "precision": None, "accumulate": 1, "compile": False, "cuda_graphs": False,
    "keep": STEPS,
}  # fmt: skip
"""Shared options of the short runs that checks take."""
OF_RUNS = ("run", "output_dir", "resume", "max_time", "stuck_after", "timeout", "sync_batchnorm", "profile")
"""Shared options that mean nothing here: a check has no run folder, no GPU and no other machine."""


class Few(Transformed):
    """The first `count` samples of `images`."""

    def __init__(self, images: ImageSet, count: int):
        super().__init__(images)
        self.count = min(count, len(images))

    def __len__(self) -> int:
        return self.count

    def size(self, index: int) -> tuple[int, int]:
        return self.images.size(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self.images.__getitems__(indices)


class Bench:
    """`task_type` with `options` of its own and those `shared` by all tasks, or with its defaults. Only what is asked
    for is made, and most of it once.
    """

    def __init__(self, task_type: type[AnyTask], options: Dataclass | None = None, shared: TrainOptions | None = None):
        self.task_type, self.options, self.shared = task_type, options, shared
        self.results: dict[Check, Result] = {}
        self.gathers = False
        """Whether a training step was seen to ask for the whole batch."""

    @cached_property
    def declared(self) -> AnyConfig:
        default = default_config(f"{self.task_type.__module__}:{self.task_type.__qualname__}", self.task_type)
        return replace(default, train=self.shared or default.train, options=self.options or default.options)

    @cached_property
    def config(self) -> AnyConfig:
        """The options of a short run, with those that follow from the data."""
        train = self.declared.train.with_values(**SHORT)
        return infer_options(self.task_type, replace(self.declared, train=train), self.source)

    @cached_property
    def source(self) -> Source:
        return next(iter(open_sources(self.declared.train.data).values()))

    def load(self, split: str, **how: Unpack[LoadOptions]) -> ImageSet:
        return Few(self.source(split, **how), SAMPLES[split])

    def build(self) -> AnyTask:
        """Return the task as a run begins with it."""
        torch.manual_seed(key(self.config.train.optimization.seed, "weights"))
        return build_task(self.task_type, self.config.options)

    def task(self) -> AnyTask:
        """Return the task, when it has seen its data and is on the device."""
        task = self.build()
        datasets(task, {"": self.load})
        to_device(task, CPU)
        return task

    @cached_property
    def opened(self) -> tuple[ImageSet, dict[str, ImageSet]]:
        """The training set, and the validation sets by name (see `datasets` in assembly.py)."""
        return datasets(self.build(), {"": self.load})

    @property
    def sets(self) -> tuple[ImageSet, ImageSet]:
        """The training set and the first validation set."""
        training, sets = self.opened
        return training, next(iter(sets.values()))

    @cached_property
    def least(self) -> int:
        """The samples that a training step needs: 1, or more if it splits its batch."""
        count = 1
        with suppress(Exception):  # steps_can_be_taken tells
            while count < MOST:
                try:
                    losses(self.task(), self.batch(count))
                    return count
                except IndivisibleBatch as error:
                    count = lcm(count, error.parts) if count % error.parts else count * error.parts
        return 1

    @cached_property
    def size(self) -> int:
        """The samples of a batch: enough for two processes."""
        both = 2 * self.least
        return max(both, BATCH // both * both)

    def batch(self, count: int, first: int = 0, images: ImageSet | None = None) -> Batch:
        """Return `count` samples from number `first` on, of the training set or of `images`. Always the same ones, with
        the same random numbers.
        """
        images = images or self.sets[0]
        indices = [Index(number % len(images), key(number)) for number in range(first, first + count)]
        return to_batch(fetch(images, indices), CPU, HALFWAY, self.gather)

    def gather(self, rows: Tensor) -> Tensor:
        """Do what `Batch.gather` does on one process, and note it."""
        self.gathers = True
        return rows

    def whole_batch(self, first: int = 0) -> Batch:
        """Return a batch to train on, from sample number `first` on."""
        return self.batch(self.size, first)

    @property
    def evaluable(self) -> ImageSet:
        """Samples that can be evaluated together, which those to validate on cannot where their sizes differ."""
        training, validation = self.sets
        return validation if validation.uniform else training

    def accelerator(self) -> Accelerator:
        precision = "fp64" if torch.get_default_dtype() == torch.float64 else None
        return create_accelerator(self.config.train.with_values(precision=precision))

    def learner(self, steps: int = STEPS) -> "Watched":
        return Watched(self.task(), self.config.train, self.accelerator(), steps)

    def engine(self, **changes: object) -> Engine:
        config = replace(self.config, train=self.config.train.with_values(batch_size=self.size, **changes))
        return Engine(self.build(), config, create_accelerator(config.train), {"": self.load})

    @cached_property
    def trained(self) -> "Watched":
        """Three steps with different batches. Not to be trained on."""
        learner = self.learner()
        learner.use(learner.wrapped, training=True)
        for number in range(3):
            learner.step(number + 1, [self.whole_batch(number * self.size)])
        return learner

    @cached_property
    def figures(self) -> tuple[Figures[float], dict[str, Tensor]]:
        """The figures of the validation sets before any training, and what was collected for them of the first."""
        task = self.task().eval()
        figures, found = evaluate_sets(task, self.opened[1], self.accelerator(), 2, self.config.train)
        return figures, next(iter(found.values())).collected

    @cached_property
    def probed(self) -> Json:
        """The findings of a fresh process (see probe.py)."""
        try:
            (answer,) = ask("probe", 1, self.task_type, self.config)
        except NotImportable as error:
            raise NotApplicable(str(error)) from error
        if "died" in answer:
            raise NotApplicable(f"a fresh process cannot import it: {answer['died']}")
        return answer

    @contextmanager
    def attribute_errors_to(self, *names: str) -> Generator[None]:
        """Turn an error within the block into Broken: where the author raised it, or else where the first of `names`
        is set."""
        try:
            yield
        except UserError as error:
            happened, place = describe_error(error, self.task_type)
            raise Broken(happened, place or self.place(*names), error.hint) from error
        except Exception as error:
            if place := raised(error, self.task_type):
                raise Broken(f"{type(error).__name__}: {error}", place, "fix that line") from error
            raise

    def place(self, *names: str) -> Place:
        """Return where the task sets the first of `names` that it sets at all."""
        return locate(self.task_type, *names)


def layers(task: AnyTask, kind: type[nn.Module]) -> list[str]:
    """Return the names of the layers of this kind in the networks of `task`."""
    networks = task.networks().items()
    return [
        f"{name}.{path}" for name, net in networks for path, layer in net.named_modules() if isinstance(layer, kind)
    ]


def different(ours: Mapping[str, object], others: Mapping[str, object]) -> str:
    """Return the first tensor that has other bits, and by how much, or other value; empty if there is none."""
    for name, mine in ours.items():
        other = others.get(name)
        if not isinstance(mine, Tensor) or not isinstance(other, Tensor):
            if mine != other:
                return f"{name} is another one, or not there"
        elif mine.shape != other.shape:
            return f"{name} has another shape"
        elif not torch.equal(mine, other):
            return f"{name} differs by up to {(mine.double() - other.double()).abs().max().item():.2g}"
    return ""


@contextmanager
def double() -> Generator[None]:
    """Make everything within the block float64, as with --precision fp64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def isolated() -> Generator[None]:
    """Undo at the end of the block what a check does to this process."""
    before = torch.get_default_dtype()
    settings = patch.dict(os.environ, ACCELERATE_USE_CPU="true")
    with settings, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_default_dtype(before)
