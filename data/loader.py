"""Data set -> batches, in an order that is a function of (seed, step): any number of processes and workers sees the same."""

import signal
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index, generator, key

Samples = tuple[dict[str, Tensor], list[int]]
"""What the data set gave for some indices, and each sample's key of randomness."""


class TrainingOrder:
    """The index lists of one process, one for each part of each batch.

    Sample number p of the whole training (p = step · batch size + place in the batch) is the p-th of an endless row of
    permutations of the data set, one for each epoch. There is no partial batch: one that reaches the end of an epoch
    takes its rest from the next. So the place in the data is the number of samples consumed, and nothing else.
    """

    def __init__(self, size: int, batch_size: int, accumulate: int, rank: int, world: int, seed: int, first: int, last: int):
        self.size, self.seed, self.rank, self.world = size, seed, rank, world
        self.parts, self.share = range(first * accumulate, last * accumulate), batch_size // (accumulate * world)
        self.permutation = lru_cache(2)(self.permutation)

    def permutation(self, epoch: int) -> Tensor:
        return torch.randperm(self.size, generator=generator(self.seed, "order", epoch))

    def index(self, position: int) -> Index:
        epoch, place = divmod(position, self.size)
        return Index(int(self.permutation(epoch)[place]), key(self.seed, "train", position))

    def __iter__(self) -> Iterator[list[Index]]:
        for part in self.parts:
            start = (part * self.world + self.rank) * self.share
            yield [self.index(position) for position in range(start, start + self.share)]


class EvaluationOrder:
    """The index lists of one process: as many for every process, the last ones filled up with sample 0."""

    def __init__(self, size: int, batch_size: int, rank: int, world: int, seed: int):
        self.size, self.batch_size, self.rank, self.world, self.seed = size, batch_size, rank, world, seed

    def positions(self) -> Iterator[range]:
        for start in range(0, self.size, self.batch_size * self.world):
            mine = start + self.rank * self.batch_size
            yield range(mine, mine + self.batch_size)

    def __iter__(self) -> Iterator[list[Index]]:
        for positions in self.positions():
            indices = [position if position < self.size else 0 for position in positions]
            yield [Index(index, key(self.seed, "val", index)) for index in indices]


class Keyed(Dataset[Any]):
    """What a loader worker does: ask the data set, keep the keys, hand the user's mistakes over whole."""

    def __init__(self, images: ImageSet):
        self.images = images

    def __getitems__(self, indices: list[Index]) -> Samples | UserError:
        try:
            return self.images.__getitems__(indices), [index.key for index in indices]
        except UserError as error:  # raised here it would reach the main process as text, inside a traceback
            return error


def training_samples(images: ImageSet, order: TrainingOrder, workers: int, device: torch.device) -> Iterator[Samples]:
    return load(images, order, workers, device)


def evaluation_samples(
    images: ImageSet, batch_size: int, rank: int, world: int, seed: int, workers: int, device: torch.device
) -> Iterator[tuple[Samples, Tensor]]:
    """All samples once, over all processes; the bool tensor says which ones count. Every process gets as many batches."""
    order = EvaluationOrder(len(images), batch_size if images.uniform else 1, rank, world, seed)
    for positions, samples in zip(order.positions(), load(images, order, workers, device), strict=True):
        yield samples, torch.tensor([position < len(images) for position in positions])


def load(images: ImageSet, order: TrainingOrder | EvaluationOrder, workers: int, device: torch.device) -> Iterator[Samples]:
    loader: Any = DataLoader(
        Keyed(images),
        batch_sampler=order,  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=unchanged,
        worker_init_fn=leave_signals_to_the_trainer,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # a loader draws a seed for its workers, by default from the global generator
    )
    for samples in loader:
        if isinstance(samples, UserError):
            raise samples
        yield samples


def unchanged(samples: Any) -> Any:
    return samples


def leave_signals_to_the_trainer(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
