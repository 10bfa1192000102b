"""The test bench: a task on a few samples of its data, on the CPU, and what several checks share."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar, Unpack
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from launchbay import UserError
from launchbay.data import ImageSet, Index, LoadOptions, key
from launchbay.data.sources import Source
from launchbay.data.transforms import Transformed
from launchbay.launch.check.lines import describe_error, raised
from launchbay.launch.check.watched import Watched
from launchbay.launch.config.assembly import build_task, datasets, infer_options, open_source
from launchbay.launch.config.option_file import to_yaml
from launchbay.launch.config.options import AnyConfig, Dataclass
from launchbay.launch.config.setup import default_config
from launchbay.launch.distributed.accelerator import create_accelerator, to_device
from launchbay.launch.engine.evaluation import evaluate, to_batch
from launchbay.launch.engine.loop import Engine
from launchbay.launch.files import Json
from launchbay.launch.record.figures import Figures
from launchbay.tasks.base import AnyTask, Batch, Datasets
from launchbay.tasks.places import Place, locate

Check = Callable[["Bench"], None]
"""A check: its name says what has to hold; the first paragraph of its docstring what is expected, the second how to
fix what is not so."""
F = TypeVar("F", bound=Check)
SAMPLES = {"train": 8, "val": 5}
BATCH = 4
STEPS = 4
CPU = torch.device("cpu")


class Broken(Exception):
    """The task does not keep its contract: what happened, and where, if that is known. `remedy` stands in for what the
    check says in general."""

    def __init__(self, happened: str, place: Place | None = None, remedy: str = ""):
        super().__init__(happened)
        self.happened, self.place, self.remedy = happened, place, remedy


class NotApplicable(Exception):
    """The check has no meaning for this task, and why."""


def needs(*others: Check) -> Callable[[F], F]:
    """Say which checks have to hold before this one means anything."""

    def mark(check: F) -> F:
        check.needs = others  # pyright: ignore[reportFunctionMemberAccess]
        return check

    return mark


@dataclass(frozen=True)
class Result:
    """The result of one check. As a string it is all that a person has to know."""

    check: str
    """Its name, in words."""
    state: Literal["ok", "failed", "not applicable"]
    """Its outcome."""
    expected: str
    """The rule that it checks."""
    happened: str = ""
    """The breach of the rule; or why the check is not applicable."""
    where: str = ""
    """The line of the task that it is about, if that is known: file:line and what stands there."""
    remedy: str = ""
    """How to fix it."""

    def __str__(self) -> str:
        if self.state != "failed":
            return f"{self.check}: {self.state}" + (f" ({self.happened})" if self.happened else "")
        where = [f"at: {self.where}"] if self.where else []
        said = [f"expected: {self.expected}", f"happened: {self.happened}", *where, f"→ {self.remedy}"]
        return "\n  ".join([f"{self.check}: failed", *said])


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
    """`task_type` with `options`, or with its defaults. Only what is asked for is made, and most of it once."""

    def __init__(self, task_type: type[AnyTask], options: Dataclass | None = None):
        self.task_type, self.options = task_type, options
        self.results: dict[Check, Result] = {}

    @cached_property
    def declared(self) -> AnyConfig:
        default = default_config(f"{self.task_type.__module__}:{self.task_type.__qualname__}", self.task_type)
        return default if self.options is None else replace(default, options=self.options)

    @cached_property
    def config(self) -> AnyConfig:
        """The options of a short run, with those that follow from the data."""
        train = self.declared.train.with_values(
            steps=STEPS, epochs=None, batch_size=BATCH, warmup=0, log_every=1, eval_every=2, save_every=2, wandb="off",
            workers=0, precision=None, accumulate=1, compile=False, cuda_graphs=False, keep=STEPS,
        )  # fmt: skip
        return infer_options(self.task_type, replace(self.declared, train=train), self.source)

    @cached_property
    def source(self) -> Source:
        return open_source(self.declared.train.data)

    def load(self, split: str, **how: Unpack[LoadOptions]) -> ImageSet:
        return Few(self.source(split, **how), SAMPLES[split])

    def build(self) -> AnyTask:
        """Return the task as a run begins with it."""
        torch.manual_seed(key(self.config.train.optimization.seed, "weights"))
        return build_task(self.task_type, self.config.options)

    def task(self) -> AnyTask:
        """Return the task, when it has seen its data and is on the device."""
        task = self.build()
        datasets(task, self.load)
        to_device(task, CPU)
        return task

    @cached_property
    def sets(self) -> Datasets:
        return datasets(self.build(), self.load)

    def batch(self, count: int = BATCH, first: int = 0, images: ImageSet | None = None) -> Batch:
        """Return `count` samples from number `first` on, of the training set or of `images`. Always the same ones, with
        the same random numbers.
        """
        images = images or self.sets[0]
        indices = [Index(number % len(images), key(number)) for number in range(first, first + count)]
        return to_batch((images.__getitems__(indices), [index.key for index in indices]), CPU)

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
        config = replace(self.config, train=self.config.train.with_values(**changes))
        return Engine(self.build(), config, create_accelerator(config.train), self.load)

    @cached_property
    def trained(self) -> "Watched":
        """Three steps with different batches. Not to be trained on."""
        learner = self.learner()
        learner.use(learner.wrapped, training=True)
        for number in range(3):
            learner.step(number + 1, [self.batch(first=number * BATCH)])
        return learner

    @cached_property
    def figures(self) -> tuple[Figures[float], dict[str, Tensor]]:
        """The figures of the whole validation set before any training, and what was collected for them."""
        task = self.task().eval()
        return evaluate(task, self.sets[1], self.accelerator(), 2, self.config.train)

    @cached_property
    def probed(self) -> Json:
        """The findings of a fresh process (see probe.py)."""
        kind = self.task_type
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
            raise NotApplicable("another process cannot import a class of this script, or of inside a function")
        command = [sys.executable, "-m", "launchbay.launch.check.probe", self.config.task]
        done = subprocess.run(
            command,
            input=to_yaml(self.config),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise NotApplicable(f"a fresh process cannot import it: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout.splitlines()[-1])

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


def different(ours: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> str:
    """Return the first tensor that has other bits, and by how much; empty if there is none."""
    for name in ours:
        if name not in others or ours[name].shape != others[name].shape:
            return f"{name} is not there, or of another shape"
        if not torch.equal(ours[name], others[name]):
            return f"{name} differs by up to {(ours[name].double() - others[name].double()).abs().max().item():.2g}"
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
