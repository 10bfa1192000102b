"""`launchbay evaluate RUN`: the figures of a trained run, on its own validation set or on another."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Unpack

from rich.console import Console
from torch import Tensor

from launchbay.data import ImageSet, LoadOptions
from launchbay.launch.commands.trained import load_task
from launchbay.launch.config.assembly import datasets, open_source
from launchbay.launch.engine.evaluation import evaluate
from launchbay.launch.record.progress import results


def evaluate_run(run: Path, pointer: str, data: str | None, root: Path | None, console: Console) -> None:
    """Print the figures of `run` on its own validation set, or on all of another one."""
    task, config, accelerator = load_task(run, pointer)
    if data or root:
        config = replace(config, train=config.train.with_values(val_data=data, val_root=root))
    source = open_source(config.train.data)

    def load(split: str, **how: Unpack[LoadOptions]) -> ImageSet:
        return source(split, **how) if split == "val" else OnDemand(lambda: source(split, **how))

    images = datasets(task, load)[1]
    figures, _ = evaluate(task, images, accelerator, config.train.optimization.batch_size, config.train)
    data_name = str(root or config.train.data.validation_data())
    console.print(results(config.task, figures, task.baseline_name, data_name))


class OnDemand(ImageSet):
    """A data set that is not opened before a picture of it is wanted: training pictures need not be here to evaluate,
    unless figures of theirs are the baseline.
    """

    def __init__(self, open: Callable[[], ImageSet]):
        self.open = cache(open)

    def __len__(self) -> int:
        return len(self.open())

    def image(self, index: int) -> Tensor:
        return self.open().image(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self.open().__getitems__(indices)
