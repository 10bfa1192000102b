"""The validation set: exact figures (every sample counts once, on any number of processes), and samples to look at."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import isnan

import torch
from accelerate import Accelerator
from PIL.Image import Image
from torch import Tensor

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.loader import EvaluationOrder, Samples, samples
from launchbay.data.randomness import with_keys
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.collectives import gather, on_main_process, raise_on_all, reduce
from launchbay.launch.record.figures import Figures
from launchbay.launch.record.grids import grid, to_image
from launchbay.launch.record.tracking import SAMPLES
from launchbay.tasks.authors import attribute_errors_to, raise_author_error
from launchbay.tasks.base import AnyTask, Batch

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
    task: AnyTask,
    images: ImageSet,
    accelerator: Accelerator,
    batch_size: int,
    options: TrainOptions,
    *,
    beat: Callable[[], None] = lambda: None,
) -> tuple[Figures[float], dict[str, Tensor]]:
    """Return the figures of `images`, the same on every process, and what was collected for `task.summarize`.

    A figure is the mean of what `task.evaluate` gives for each sample, or what `task.summarize` makes of the collected
    tensors, which are in the order of `images`.

    `task` is in evaluation mode, its networks unwrapped. `batch_size` is per process. Sums are per sample, in float64.
    `beat` is called after each batch.
    """
    device = accelerator.device
    order = EvaluationOrder(
        size=len(images),
        batch_size=batch_size if images.uniform else 1,
        seed=options.optimization.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    loaded = samples(images, order, workers=options.data.workers, device=device)
    batches = ((to_batch(some, device), counts) for some, counts in zip(loaded, order.counts(), strict=True))
    sums, rest = raise_on_all(lambda: ask_for_all(task, batches, device, beat), accelerator)
    means: dict[str, float] = {}
    if sums:
        total = reduce(torch.stack([*sums.values()]), "sum", accelerator)
        means = dict(zip(sums, (total / len(images)).tolist(), strict=True))
    collected = {name: collect_rows(values, len(images), accelerator) for name, values in rest.items()}
    figures = on_main_process(lambda: with_summary(task, means, collected))
    return Figures.from_named(figures), collected


def ask_for_all(
    task: AnyTask, batches: Iterable[tuple[Batch, Tensor]], device: torch.device, beat: Callable[[], None]
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """Return what `task.evaluate` says of batches, with which of their samples count: sums of numbers, and the N×D of
    each.

    Raises:
        AuthorError: it has another shape, or is not the same for each batch.
    """
    sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=device))
    rest: defaultdict[str, list[Tensor]] = defaultdict(list)
    first: dict[str, tuple[int, ...]] | None = None
    for batch, counts in batches:
        figures = task.evaluate(batch)
        shapes = {name: tuple(values.shape) for name, values in figures.items()}
        first = shapes if first is None else first
        if shapes != first:
            raise_author_error(
                task, "evaluate", f"gives {first} for one batch and {shapes} for another", "give the same for each"
            )
        for name, values in figures.items():
            if values.shape[:1] != (len(batch),) or values.ndim > 2:
                raise_author_error(
                    task,
                    "evaluate",
                    f"gives {name!r} as {shapes[name]} for {len(batch)} samples",
                    "give one value per sample, which the engine averages, or N×D for summarize",
                )
            if values.ndim == 1:
                sums[name] += values.to(device).double()[counts.to(device)].sum()
            else:
                rest[name].append(values.to(device))
        beat()
    return sums, rest


def with_summary(task: AnyTask, means: Mapping[str, float], collected: Mapping[str, Tensor]) -> dict[str, float]:
    """Return `means`, and what `task.summarize` says of `collected`.

    Raises:
        AuthorError: some of it goes by the same name.
    """
    whole = {name: float(value) for name, value in task.summarize(dict(collected)).items()}
    if twice := means.keys() & whole.keys():
        raise_author_error(
            task, "summarize", f"gives {min(twice)!r}, as evaluate does", "give one of them another name"
        )
    return {**means, **whole}


def collect_rows(batches: list[Tensor], size: int, accelerator: Accelerator) -> Tensor:
    """size×D from the N×D of each batch of each process, in the order of the data set, on the CPU."""
    mine = torch.stack(batches)
    everyone = gather(mine[None], accelerator)  # processes × batches × N × D
    return everyone.cpu().transpose(0, 1).flatten(0, 2)[:size]


@torch.no_grad()
def preview(
    task: AnyTask, images: ImageSet, accelerator: Accelerator, options: TrainOptions
) -> dict[str, list[Tensor]]:
    """Return the columns of a sample grid: some samples, evenly spread, one by one since their sizes may differ."""
    count = min(SHOWN, len(images))
    columns: defaultdict[str, list[Tensor]] = defaultdict(list)
    for number in range(count):
        places = [number * len(images) // count]
        indices = with_keys(places, options.optimization.seed, "val", places)
        batch = to_batch((images.__getitems__(indices), [indices[0].key]), accelerator.device)
        for heading, pictures in task.preview(batch).items():
            if pictures.shape[:1] != (len(batch),):
                said = f"gives {heading!r} as {tuple(pictures.shape)} for one sample"
                raise_author_error(task, "preview", said, "give a picture of each sample, N×C×H×W")
            columns[heading].extend(pictures.cpu())
    if lacking := [heading for heading, pictures in columns.items() if len(pictures) != count]:
        raise_author_error(task, "preview", f"gives {lacking[0]!r} for some samples only", "give it for each")
    return columns


@torch.no_grad()
def draw_pictures(
    task: AnyTask, images: ImageSet, collected: Mapping[str, Tensor], accelerator: Accelerator, options: TrainOptions
) -> dict[str, Image]:
    """Return the sample grid, if there is a preview, and the pictures of the task's gallery."""
    pictures: dict[str, Image] = {}
    columns, gallery = preview(task, images, accelerator, options), task.gallery(dict(collected))
    if columns:
        with attribute_errors_to(type(task), "preview"):
            pictures[SAMPLES] = grid(columns)
    with attribute_errors_to(type(task), "gallery"):
        return pictures | {name: to_image(name, picture) for name, picture in gallery.items()}


def is_best(task: AnyTask, step: int, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Return whether `figures` are better than `best` (empty at first) by what `task.monitor` says.

    Raises:
        UserError: that is not among the figures, or nan.
    """
    name, sign = task.monitor.removeprefix("-"), -1 if task.monitor.startswith("-") else 1
    if not name:
        return True  # nothing to compare: the newest is the best
    if name not in figures:
        said = f"is {task.monitor!r}, but the figures are {', '.join(figures) or 'none'}"
        raise_author_error(
            task, "monitor", said, 'set it to the name of one ("-" before it: lower is better), or to ""'
        )
    if isnan(figures[name]):
        raise UserError(
            f"{name} is nan at step {step}",
            f"lower --lr if the losses grew before; otherwise look at how {type(task).__name__} computes {name}. "
            "Checkpoints already saved are intact",
        )
    return not best or sign * figures[name] > sign * best[name]
