"""The validation set: exact figures (every sample counts once, on any number of processes), and samples to look at."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.loader import EvaluationOrder, Samples, samples
from launchbay.data.randomness import keyed
from launchbay.launch.config import Shared
from launchbay.launch.guards import asked
from launchbay.launch.hardware import decide
from launchbay.tasks.base import Batch, Task

BASELINE = "baseline/"
"""What the names of figures begin with that need no network."""
SHOWN = 6
"""Samples in a sample grid."""


def to_batch(samples: Samples, device: torch.device) -> Batch:
    """On the device, with pictures (all that is uint8) as floating point numbers in [0, 1]."""
    tensors, keys = samples
    if device.type == "cuda":  # copying from memory that is not pinned would wait for it
        tensors = {name: tensor if tensor.is_cuda else tensor.pin_memory() for name, tensor in tensors.items()}
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
    return Batch({name: to_picture(t) if t.dtype == torch.uint8 else t for name, t in moved.items()}, keys)


def to_picture(pixels: Tensor) -> Tensor:
    return pixels.to(torch.get_default_dtype(), memory_format=torch.channels_last).div_(255)


@torch.no_grad()
def evaluate(
    task: Task[Any],
    images: ImageSet,
    accelerator: Accelerator,
    batch_size: int,
    shared: Shared,
    *,
    beat: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The mean over `images` of each figure of `task.evaluate` and what `task.summarize` says of the rest, the same on
    every process; and that rest, in the order of `images`.

    `task` is in evaluation mode, its networks unwrapped. `batch_size` is per process. Sums are per sample, in float64.
    `beat` is called after each batch.
    """
    device = accelerator.device
    order = EvaluationOrder(
        size=len(images),
        batch_size=batch_size if images.uniform else 1,
        seed=shared.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=device))
    rest: defaultdict[str, list[Tensor]] = defaultdict(list)
    loaded = samples(images, order, workers=shared.workers, device=device)
    for some, counts in zip(loaded, order.counts(), strict=True):
        batch = to_batch(some, device)
        for name, values in asked(task, "evaluate", batch).items():
            if values.shape == (len(batch),):
                sums[name] += values.double()[counts.to(device)].sum()
            elif values.ndim == 2 and len(values) == len(batch):
                rest[name].append(values)
            else:
                raise UserError(
                    f"{type(task).__name__}.evaluate gives {name!r} as {tuple(values.shape)} for {len(batch)} samples",
                    "give one value per sample, which the engine averages, or N×D for summarize",
                )
        beat()
    means: dict[str, float] = {}
    if sums:
        total = accelerator.reduce(torch.stack([*sums.values()]), "sum")
        means = dict(zip(sums, (total / len(images)).tolist(), strict=True))  # pyright: ignore
    collected = {name: collect(values, len(images), accelerator) for name, values in rest.items()}
    figures = decide(lambda: means | asked(task, "summarize", collected))
    return figures, collected


def collect(batches: list[Tensor], size: int, accelerator: Accelerator) -> Tensor:
    """size×D from the N×D of each batch of each process, in the order of the data set, on the CPU."""
    mine = torch.stack(batches)
    everyone: Any = accelerator.gather(mine[None])  # processes × batches × N × D
    return everyone.cpu().transpose(0, 1).flatten(0, 2)[:size]


@torch.no_grad()
def preview(task: Task[Any], images: ImageSet, accelerator: Accelerator, shared: Shared) -> dict[str, list[Tensor]]:
    """The columns of a sample grid: some samples, evenly spread, one by one since their sizes may differ."""
    count = min(SHOWN, len(images))
    columns: defaultdict[str, list[Tensor]] = defaultdict(list)
    for number in range(count):
        places = [number * len(images) // count]
        indices = keyed(places, shared.seed, "val", places)
        batch = to_batch((images.__getitems__(indices), [indices[0].key]), accelerator.device)
        for heading, pictures in asked(task, "preview", batch).items():
            if len(pictures) != len(batch):
                raise UserError(
                    f"{type(task).__name__}.preview gives {heading!r} as {tuple(pictures.shape)} for one sample",
                    "give a picture of each sample, N×C×H×W",
                )
            columns[heading].extend(pictures.cpu())
    return columns


def is_best(task: Task[Any], step: int, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether `figures` are better than `best` (empty at first) by what `task.monitor` says.

    Raises:
        UserError: that is not among the figures, or no number.
    """
    name, sign = task.monitor.removeprefix("-"), -1 if task.monitor.startswith("-") else 1
    if not name:
        return True  # nothing to compare: the newest is the best
    if name not in figures:
        raise UserError(
            f"{type(task).__name__}.monitor is {task.monitor!r}, but evaluate gives {', '.join(figures) or 'nothing'}"
        )
    if isnan(figures[name]):
        raise UserError(
            f"{name} is no number at step {step}",
            f"lower --lr if the losses grew before; else look for what {type(task).__name__} makes {name} of. "
            "Checkpoints already saved are good",
        )
    return not best or sign * figures[name] > sign * best[name]
