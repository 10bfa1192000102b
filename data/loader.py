"""Data set -> batches, in an order that is a function of (seed, step), on any number of processes and workers."""

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index, with_keys
from launchbay.data.samples import Values
from launchbay.data.shuffle import shuffled, windowed
from launchbay.data.transforms import together
from launchbay.data.workers import Failure, batches_of, is_worker, received, shared
from launchbay.devices import can_pin

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """What a data set gave for some indices, each sample's key of randomness, and the set's `pictures` and `masks`."""

    values: Values
    keys: tuple[int, ...]
    pictures: tuple[str, ...]
    masks: tuple[str, ...]

    def pin_memory(self) -> "Samples":
        """Called by the loader, which would make lists of tuples if it looked into the lists itself."""
        pinned = {
            name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in self.values.items()
        }
        return replace(self, values=pinned)


def fetch(images: ImageSet, indices: Sequence[Index]) -> Samples:
    """Return what `images` gives for `indices`.

    Raises:
        UserError: it cannot give them, or gives what no task can be given.
    """
    values = together(images, indices)
    return Samples(values, tuple(index.key for index in indices), tuple(images.pictures), tuple(images.masks))


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """The index lists of one process for `steps`, one for each of the `accumulate` parts of each batch.

    Sample number p of the whole training (p = step · batch size + place in the batch) is the p-th of an endless row of
    permutations of the data set, one for each epoch. There is no partial batch: one that reaches the end of an epoch
    takes its rest from the next. So the place in the data is the number of samples consumed, and nothing else.
    """

    size: int
    batch_size: int
    steps: range
    seed: int
    rank: int = 0
    world: int = 1
    accumulate: int = 1
    shards: tuple[int, ...] = ()
    """How many samples are in each shard of the data set."""
    window: int | None = None
    """Samples are shuffled within so many shards. None: all of them."""

    def __iter__(self) -> Iterator[list[Index]]:
        share = self.batch_size // (self.accumulate * self.world)
        for part in range(self.steps.start * self.accumulate, self.steps.stop * self.accumulate):
            start = (part * self.world + self.rank) * share
            yield self.indices(start, share)

    def indices(self, start: int, count: int) -> list[Index]:
        """Return those of the samples `start`, `start` + 1..."""
        places: list[int] = []
        while len(places) < count:
            epoch, place = divmod(start + len(places), self.size)
            part = np.arange(place, min(place + count - len(places), self.size))
            if self.window:
                places += windowed(part, self.shards, self.window, self.seed, epoch).tolist()
            else:
                places += shuffled(part, self.size, self.seed, "order", epoch).tolist()
        return with_keys(places, self.seed, "train", np.arange(start, start + count))


@dataclass(frozen=True, kw_only=True)
class EvaluationOrder:
    """The index lists of one process: as many for every process, the last ones filled up with sample 0."""

    size: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    def positions(self) -> Iterator[range]:
        """Return places in the data set; those from `size` on do not count."""
        for start in range(0, self.size, self.batch_size * self.world):
            mine = start + self.rank * self.batch_size
            yield range(mine, mine + self.batch_size)

    def __iter__(self) -> Iterator[list[Index]]:
        for positions in self.positions():
            indices = [position if position < self.size else 0 for position in positions]
            yield with_keys(indices, self.seed, "val", indices)

    def counts(self) -> Iterator[int]:
        """Return, for each list, how many of its samples count: the first ones."""
        for positions in self.positions():
            yield min(max(0, self.size - positions.start), len(positions))


class Keyed(Dataset[Samples | Failure]):
    """What a loader worker does: ask the data set, keep the keys, hand mistakes over whole."""

    def __init__(self, images: ImageSet):
        self.images = images

    def __getitems__(self, indices: list[Index]) -> Samples | Failure:
        if not is_worker():
            return fetch(self.images, indices)
        try:
            samples = fetch(self.images, indices)
            return replace(samples, values=shared(samples.values))
        except Exception as error:
            return Failure.of(error)


def samples(
    images: ImageSet, order: TrainingOrder | EvaluationOrder, *, workers: int, device: torch.device
) -> Generator[Samples]:
    """Return what `images` gives for each index list of `order`, fetched ahead by `workers` processes.

    Raises:
        UserError: the data set cannot give a sample.
    """
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: as was asked for
    how = {
        "batch_sampler": order,
        "collate_fn": unchanged,
        "pin_memory": can_pin(device) and workers > 0,
        "generator": torch.Generator(),  # a loader draws a seed for its workers, by default from the global generator
    }
    try:
        with batches_of(Keyed(images), workers, **how) as batches:
            for item in batches:
                if isinstance(item, Failure):
                    item.throw()
                else:
                    yield replace(item, values=received(item.values))
    except (ConnectionError, EOFError) as error:  # what a worker leaves behind that is killed while it hands over
        raise RuntimeError("DataLoader worker has exited unexpectedly") from error


def unchanged(item: T) -> T:
    return item
