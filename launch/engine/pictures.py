"""Pictures of a validation: grids of samples, and what a task draws for its gallery."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from PIL.Image import Image
from torch import Tensor

from launchbay.data import ImageSet
from launchbay.data.loader import fetch
from launchbay.data.randomness import with_keys
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.collectives import on_main_process
from launchbay.launch.distributed.signals import interruptible
from launchbay.launch.engine.batches import refuse_in_validation, to_batch
from launchbay.launch.engine.evaluation import Beat
from launchbay.launch.errors import out_of_memory
from launchbay.launch.record.drawing import SAMPLES, CannotDraw, drawing
from launchbay.launch.record.grids import grid, to_image
from launchbay.launch.record.log import say
from launchbay.tasks.authors import attribute_errors_to, raise_author_error
from launchbay.tasks.base import AnyTask, Moment

Draw = Callable[[], dict[str, Image]]
"""Draws pictures, by name."""


@torch.no_grad()
def preview(
    task: AnyTask,
    images: ImageSet,
    accelerator: Accelerator,
    options: TrainOptions,
    moment: Moment = Moment(),
    *,
    places: Sequence[int] | None = None,
) -> dict[str, list[Tensor]]:
    """Return the columns of a sample grid: the samples at `places`, by default some, evenly spread; one by one since
    their sizes may differ.
    """
    shown = min(options.saving.shown, len(images))
    places = [number * len(images) // shown for number in range(shown)] if places is None else places
    count = len(places)
    columns: defaultdict[str, list[Tensor]] = defaultdict(list)
    for place in places:
        indices = with_keys([place], options.optimization.seed, "val", [place])
        batch = to_batch(fetch(images, indices), accelerator.device, moment, refuse_in_validation)
        for heading, pictures in task.preview(batch).items():
            if pictures.shape[:1] != (len(batch),):
                said = f"gives {heading!r} as {tuple(pictures.shape)} for one sample"
                raise_author_error(task, "preview", said, "give a picture of each sample, N×C×H×W")
            columns[heading].extend(pictures.cpu())
    if lacking := [heading for heading, pictures in columns.items() if len(pictures) != count]:
        raise_author_error(task, "preview", f"gives {lacking[0]!r} for some samples only", "give it for each")
    return columns


def draw_sets(
    task: AnyTask,
    sets: Mapping[str, ImageSet],
    collected: Mapping[str, Mapping[str, Tensor]],
    accelerator: Accelerator,
    options: TrainOptions,
    *,
    moment: Moment,
    show: Callable[[Draw], None],
    beat: Beat,
) -> None:
    """Have the main process draw the pictures of all `sets`, each under the name of its set: "set5/samples".

    `show` is given functions to call for them, for the other processes wait meanwhile: `beat` is called with what for.
    """
    for name, images in sets.items():
        parts: dict[str, Draw] = {
            "preview": partial(draw_grid, task, images, accelerator, options, moment),
            "gallery": partial(draw_gallery, task, collected[name]),
        }
        for phase, draw in parts.items():
            beat(phase, None)
            on_main_process(partial(show, partial(draw_of_set, name, draw)))


def leniently(show: Callable[[Draw], None]) -> Callable[[Draw], None]:
    """Return a `show` that leaves out pictures that cannot be drawn, for lack of memory or whatever reason, and says so
    once."""
    is_said = False

    def show_drawable(draw: Draw) -> None:
        nonlocal is_said
        try:
            show(draw)
        except Exception as error:
            memory = out_of_memory(error)
            if memory is None and not isinstance(error, CannotDraw):
                raise
            if not is_said:
                say(f"pictures are left out: {memory.message if memory else error}")
            is_said = True

    return show_drawable


@interruptible()
def draw_of_set(name: str, draw: Draw) -> dict[str, Image]:
    return {f"{name}/{heading}" if name else heading: picture for heading, picture in draw().items()}


def draw_grid(
    task: AnyTask,
    images: ImageSet,
    accelerator: Accelerator,
    options: TrainOptions,
    moment: Moment,
    *,
    places: Sequence[int] | None = None,
    name: str = SAMPLES,
) -> dict[str, Image]:
    """Return the grid of the samples at `places`, by default some, if there is a preview."""
    columns = preview(task, images, accelerator, options, moment, places=places)
    with attribute_errors_to(type(task), "preview"), drawing():
        return {name: grid(columns)} if columns else {}


@torch.no_grad()
def draw_gallery(task: AnyTask, collected: Mapping[str, Tensor]) -> dict[str, Image]:
    """Return the pictures of the task's gallery."""
    gallery = task.gallery(dict(collected))
    with attribute_errors_to(type(task), "gallery"), drawing():
        return {name: to_image(name, picture) for name, picture in gallery.items()}
