"""`launchbay evaluate RUN`: the figures of a trained run, on its own validation sets or on others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Unpack

from rich.console import Console
from torch import Tensor

from launchbay.data import ImageSet, Load, LoadOptions
from launchbay.data.sources import Source
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.config.assembly import check_used, datasets, open_sources
from launchbay.launch.engine.evaluation import evaluate_sets
from launchbay.launch.record.progress import results


def evaluate_run(
    run: Path, pointer: str, data: Sequence[str], roots: Sequence[Path], console: Console, *, argv: Sequence[str] = ()
) -> None:
    """Print the figures of `run` on its own validation sets, or on all of others; `argv` are options of its task."""
    task, config, accelerator, checkpoint = build_trained(run, pointer, argv)
    if data or roots:
        config = replace(
            config, train=config.train.with_values(val_data=tuple(data) or None, val_root=tuple(roots) or None)
        )
    sources = open_sources(config.train.data)
    _, sets = datasets(task, {name: on_demand(source) for name, source in sources.items()})
    check_used(sources)
    moment = restore(task, checkpoint, accelerator.device, strict=True)  # what `datasets` sets, too
    size = config.train.optimization.batch_size
    figures, _ = evaluate_sets(task, sets, accelerator, size, config.train, moment=moment)
    data_name = str(roots[0]) if len(roots) == 1 and not data else config.train.data.validation_data()
    console.print(results(config.task, figures, task.baseline_name, data_name))


def on_demand(source: Source) -> Load:
    """Return a `load` that opens no training set before a picture of it is wanted."""

    def load(split: str, **how: Unpack[LoadOptions]) -> ImageSet:
        return source(split, **how) if split == "val" else OnDemand(lambda: source(split, **how))

    return load


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
