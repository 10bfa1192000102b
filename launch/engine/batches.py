"""The batches of a training: the samples of each step, and how far the training is with it."""

from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from math import ceil

import torch
from accelerate import Accelerator
from torch import Tensor

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.loader import Samples, TrainingOrder, samples
from launchbay.devices import can_pin
from launchbay.exact import exact_device
from launchbay.launch.config.options import DataOptions, OptimizationOptions
from launchbay.launch.distributed.collectives import gather_with_gradients
from launchbay.launch.distributed.signals import interruptible
from launchbay.tasks.base import Batch, Moment


class TrainingBatches:
    """The batches of `images` for each step, on this process. `steps` is the length of the training."""

    def __init__(
        self, images: ImageSet, data: DataOptions, optimization: OptimizationOptions, accelerator: Accelerator
    ):
        self.images, self.options, self.accelerator = images, optimization, accelerator
        self.workers, self.window = data.workers, checked_window(images, data.shuffle_window)
        parts = optimization.accumulate * accelerator.num_processes
        self.share = max(1, optimization.batch_size // parts)  # samples that a process computes at once
        self.steps = optimization.steps or ceil((optimization.epochs or 1) * len(images) / optimization.batch_size)

    def after(self, step: int) -> Generator[list[Batch]]:
        """Return the batch of each step after `step`, as the micro-batches that are computed one after the other."""
        accelerator, accumulate = self.accelerator, self.options.accumulate
        place = {"rank": accelerator.process_index, "world": accelerator.num_processes}
        order = self.order(range(step, self.steps), **place, accumulate=accumulate)
        loaded = samples(self.images, order, workers=self.workers, device=accelerator.device)
        gather = self.gather_rows()
        with closing(loaded):  # ends its workers, also where training breaks off
            for number in order.steps:
                given = accelerator.device, self.moment(number), gather
                # With several processes, the others may be in this step already.
                with interruptible() if accelerator.num_processes == 1 else nullcontext():
                    parts = [to_batch(next(loaded), *given) for _ in range(accumulate)]
                yield parts

    def order(self, steps: range, *, rank: int, world: int, accumulate: int) -> TrainingOrder:
        """Return the index lists of `steps`, for the part of each batch that the others say."""
        return TrainingOrder(
            size=len(self.images),
            batch_size=self.options.batch_size,
            steps=steps,
            seed=self.options.seed,
            rank=rank,
            world=world,
            accumulate=accumulate,
            shards=tuple(self.images.shards),
            window=self.window,
        )

    def moment(self, step: int) -> Moment:
        """Return how far the training is after `step` steps."""
        return Moment(step, step / self.steps, step * self.options.batch_size / len(self.images))

    def names(self, step: int, bad: set[int], what: str) -> str:
        """Return in words which samples of the batch after `step`, those with the keys `bad`, give such a `what`."""
        order = self.order(range(step, step + 1), rank=0, world=1, accumulate=1)
        indices = [index for index in next(iter(order)) if index.key in bad]
        size = self.options.batch_size
        if not indices or len(indices) == size:
            return f"{'each' if indices else 'no single'} sample of the batch gives such a {what} by itself"
        names = ", ".join(self.images.name(index) for index in indices[:5]) + ", ..." * (len(indices) > 5)
        return f"{len(indices)} of {size} samples of the batch give such a {what}: {names}"

    def gather_rows(self) -> Callable[[Tensor], Tensor] | None:
        """Return what `Batch.gather` does in training."""
        if self.options.accumulate > 1:
            return refuse_parts
        return gather_with_gradients if self.accelerator.num_processes > 1 else None


def checked_window(images: ImageSet, window: int | None) -> int | None:
    """Return `window`, in which samples of `images` are to be shuffled.

    Raises:
        UserError: they are in no shards.
    """
    if window and not images.shards:
        hint = "leave it out; or write a pack of the data with launchbay pack, and train on that"
        raise UserError(f"--shuffle-window {window} counts shards, but the training pictures are in none", hint)
    return window


def to_batch(
    samples: Samples,
    device: torch.device,
    moment: Moment = Moment(),
    gather: Callable[[Tensor], Tensor] | None = None,
) -> Batch:
    """On the device, with pictures as floating point numbers in [0, 1]. Lists stay as they are."""
    values = dict(samples.values)
    for name, value in values.items():
        if isinstance(value, Tensor):
            too_exact = value.dtype == torch.float64 and exact_device(device) != device
            source = value.float() if too_exact else value
            if can_pin(device) and value.is_cpu:
                source = source.pin_memory()  # copying from memory that is not pinned would wait for it
            moved = source.to(device, non_blocking=True)
            is_picture = name in samples.pictures and moved.dtype == torch.uint8
            values[name] = to_picture(moved) if is_picture else moved
    named = {"pictures": samples.pictures, "masks": samples.masks}
    return Batch(values, samples.keys, moment=moment, gather=gather, **named)


def refuse_in_validation(rows: Tensor) -> Tensor:
    """Refuse `batch.gather` in validation."""
    raise UserError(
        "batch.gather is for training_step: a figure of a sample cannot depend on the samples evaluated beside it",
        "return N×D for each sample from evaluate, and make figures of all of them in summarize",
    )


def to_picture(pixels: Tensor) -> Tensor:
    return pixels.to(torch.get_default_dtype(), memory_format=torch.channels_last).div_(255)


def refuse_parts(rows: Tensor) -> Tensor:
    """Refuse `batch.gather` where a batch is computed in parts."""
    raise UserError(
        "this task learns from the whole batch (batch.gather), which --accumulate splits into parts",
        "leave --accumulate out; use a smaller --batch-size, or more processes",
    )
