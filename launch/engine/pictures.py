"""Pictures of a validation: grids of samples, and what a task draws for its gallery."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from accelerate import Accelerator
from PIL.Image import Image
from torch import Tensor

from launchbay.data import ImageSet
from launchbay.data.loader import fetch
from launchbay.data.randomness import with_keys
from launchbay.devices import random_state_kept
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.collectives import on_main_process
from launchbay.launch.distributed.signals import interruptible
from launchbay.launch.engine.batches import refuse_in_validation, to_batch
from launchbay.launch.engine.evaluation import Beat, Evaluation, extremes
from launchbay.launch.errors import out_of_memory
from launchbay.launch.record.drawing import BEST, SAMPLES, TRAINING, WORST, CannotDraw, drawing
from launchbay.launch.record.grids import grid, to_image
from launchbay.launch.record.log import say
from launchbay.tasks.authors import attribute_errors_to, raise_author_error
from launchbay.tasks.base import AnyTask, Batch, Moment

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


class Pictures:
    """The pictures that the main process draws of a run, which the other processes wait for; `record` is given them.

    Those that cannot be drawn, for lack of memory or whatever reason, are left out, which is said once.
    """

    def __init__(
        self,
        task: AnyTask,
        sets: Mapping[str, ImageSet],
        accelerator: Accelerator,
        options: TrainOptions,
        record: Callable[[dict[str, Image]], None],
    ):
        self.task, self.sets, self.accelerator, self.options, self.record = task, sets, accelerator, options, record
        self.is_said = False

    def draw_sets(self, found: Mapping[str, Evaluation], moment: Moment, beat: Beat) -> None:
        """Draw the pictures of all validation sets, each under the name of its set: "set5/samples". Where the figures
        of each sample were `found`, the worst and the best are among them. `beat` is told what is waited for.
        """
        for name, images in self.sets.items():
            grid_of = partial(draw_grid, self.task, images, self.accelerator, self.options, moment)
            parts: list[tuple[str, Draw]] = [("preview", grid_of)]
            if name in found:
                parts.append(("gallery", partial(draw_gallery, self.task, found[name].collected)))
                chosen = chosen_samples(self.task, name, found[name], self.options.saving.shown)
                parts += [("preview", partial(grid_of, places=places, name=which)) for which, places in chosen.items()]
            else:
                parts.append(("gallery", partial(draw_first_gallery, self.task)))
            for phase, draw in parts:
                beat(phase, None)
                self.show(partial(draw_of_set, name, draw))

    def draw_beginning(self, moment: Moment, beat: Beat) -> None:
        """Draw what can be seen before the first step."""
        with self.without_chance():
            self.draw_sets({}, moment, beat)

    def draw_training(self, batch: Batch) -> None:
        """Draw the first samples of the first training `batch` as the networks get to see them."""
        with self.without_chance():
            self.show(partial(draw_training, self.task, batch, self.options.saving.shown))

    def without_chance(self) -> AbstractContextManager[None]:
        """Draw no random number within the block that another would have drawn."""
        return random_state_kept(self.accelerator.device)

    def show(self, draw: Draw) -> None:
        on_main_process(partial(self.show_here, draw))

    def show_here(self, draw: Draw) -> None:
        try:
            if pictures := draw():
                self.record(pictures)
        except Exception as error:
            memory = out_of_memory(error)
            if memory is None and not isinstance(error, CannotDraw):
                raise
            if not self.is_said:
                say(f"pictures are left out: {memory.message if memory else error}")
            self.is_said = True


def chosen_samples(task: AnyTask, name: str, found: Evaluation, shown: int) -> dict[str, list[int]]:
    """Return which samples of the validation set `name` are the worst and the best by the figure that chooses the best
    checkpoint; none where that is no figure of each sample, or all samples are in the grid anyway.
    """
    figure = task.monitor.removeprefix("-").removeprefix(f"{name}/" if name else "")
    values = found.each.own.get(figure)
    if values is None or len(values) <= shown:
        return {}
    worst, best = extremes(values, shown, lower_is_better=task.monitor.startswith("-"))
    return {WORST: worst, BEST: best}


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
def draw_training(task: AnyTask, batch: Batch, shown: int) -> dict[str, Image]:
    """Return the grid of the first samples of a training `batch` as the networks get to see them, if the task says."""
    # Numbered anew, its random numbers are those that training draws for the same samples.
    first = Batch(batch.tensors, batch.keys, moment=batch.moment, pictures=batch.pictures, masks=batch.masks)
    columns = {heading: [*pictures[:shown].cpu()] for heading, pictures in task.preview_training(first).items()}
    with attribute_errors_to(type(task), "preview_training"), drawing():
        return {TRAINING: grid(columns)} if columns else {}


def draw_first_gallery(task: AnyTask) -> dict[str, Image]:
    """Return the pictures of the task's gallery before anything was evaluated; none where it needs that."""
    try:
        return draw_gallery(task, {})
    except Exception:  # of a real mistake the first validation tells
        return {}


@torch.no_grad()
def draw_gallery(task: AnyTask, collected: Mapping[str, Tensor]) -> dict[str, Image]:
    """Return the pictures of the task's gallery."""
    gallery = task.gallery(dict(collected))
    with attribute_errors_to(type(task), "gallery"), drawing():
        return {name: to_image(name, picture) for name, picture in gallery.items()}
