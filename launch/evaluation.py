"""Exact figures of a validation set: every sample counts once, whatever the batch size and the number of processes."""

from collections import defaultdict
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.loader import Samples, evaluation_samples
from launchbay.tasks.base import Batch, Task


def to_batch(samples: Samples, device: torch.device) -> Batch:
    """On the device, with pictures (all that is uint8) as floating point numbers in [0, 1]."""
    tensors, keys = samples
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
    return Batch({name: to_picture(t) if t.dtype == torch.uint8 else t for name, t in moved.items()}, keys)


def to_picture(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.to(torch.get_default_dtype(), memory_format=torch.channels_last).div_(255)


@torch.no_grad()
def evaluate(
    task: Task[Any], images: ImageSet, accelerator: Accelerator, batch_size: int, seed: int, workers: int
) -> dict[str, float]:
    """The mean over `images` of each figure of `task.evaluate`, the same on every process.

    `task` is in evaluation mode, its networks unwrapped. `batch_size` is per process. Sums are per sample, in float64.
    """
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    sums: defaultdict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=device))
    for samples, valid in evaluation_samples(images, batch_size, rank, world, seed, workers, device):
        batch = to_batch(samples, device)
        for name, values in task.evaluate(batch).items():
            if values.shape != (len(batch),):
                raise UserError(
                    f"{type(task).__name__}.evaluate gives {name!r} as {tuple(values.shape)} for {len(batch)} samples",
                    "give one value per sample; the engine averages them",
                )
            sums[name] += values.double()[valid.to(values.device)].sum()
    if not sums:
        return {}
    total = accelerator.reduce(torch.stack([*sums.values()]), "sum")
    means = dict(zip(sums, (total / len(images)).tolist(), strict=True))  # pyright: ignore
    return broadcast_object_list([means])[0]
