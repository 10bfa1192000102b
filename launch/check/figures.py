"""The contract, part two: figures and pictures of the validation set."""

from contextlib import suppress
from math import isfinite

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.launch.check.bench import Bench
from launchbay.launch.check.options import it_can_be_built
from launchbay.launch.check.results import Broken, NotApplicable, needs
from launchbay.launch.engine.best import is_best
from launchbay.launch.engine.pictures import preview
from launchbay.launch.record.grids import DRAWABLE, grid
from launchbay.tasks.image_to_image import ImageToImage
from launchbay.tasks.places import Place

TOGETHER = 3
"""Samples that are evaluated at once."""


@needs(it_can_be_built)
def figures_are_of_samples(bench: Bench) -> None:
    """`evaluate` gives a finite number per sample under each name, or N×D for `summarize`, whose numbers are finite.

    Reduce over channels, height and width, not over the batch: `.mean(dim=(1, 2, 3))`.
    """
    with torch.no_grad(), bench.attribute_errors_to("evaluate", "figures"):
        figures = bench.task().eval().evaluate(bench.batch(TOGETHER, images=bench.evaluable))
    if not figures:
        raise NotApplicable("evaluate gives no figures")
    remedy = "look for a division by zero, a logarithm or a root; figures of an untrained network are numbers too"
    for name, values in figures.items():
        if values.ndim not in (1, 2) or len(values) != TOGETHER:
            happened = f"it gives {name!r} as {tuple(values.shape)} for {TOGETHER} samples"
            raise Broken(happened, bench.place("evaluate", "figures"))
        if values.ndim == 1 and not values.isfinite().all():
            raise Broken(f"{name!r} is {values.tolist()}", bench.place("evaluate", "figures"), remedy)
    with bench.attribute_errors_to("summarize", "evaluate", "figures"):
        whole = bench.figures[0].named()
    if bad := {name: value for name, value in whole.items() if not isfinite(value)}:
        raise Broken(f"of the whole validation set, {bad}", bench.place("summarize"), remedy)


@needs(figures_are_of_samples)
def baselines_stand_beside_figures(bench: Bench) -> None:
    """A figure called "baseline/NAME" stands beside one called NAME.

    Name it after the figure that it is the baseline of.
    """
    figures = bench.figures[0]
    if not figures.baseline:
        raise NotApplicable("there is no baseline")
    if alone := [name for name in figures.baseline if name not in figures.own]:
        happened = f"there is 'baseline/{alone[0]}', but the figures are {', '.join(figures.own)}"
        raise Broken(happened, bench.place("evaluate", "figures"))


@needs(figures_are_of_samples)
def monitor_is_a_figure(bench: Bench) -> None:
    """`monitor`, which says what checkpoint is best, is the name of a figure, with "-" before it if lower is better.

    Set it to one of the names that evaluate or summarize gives.
    """
    task = bench.build()
    if not task.monitor:
        raise NotApplicable("monitor is not set: the newest checkpoint is the best")
    with bench.attribute_errors_to("monitor"):
        is_best(task, 0, bench.figures[0].own, {}, bench.opened[1])


@needs(figures_are_of_samples)
def pictures_are_well_formed(bench: Bench) -> None:
    """`preview` gives N×C×H×W under each heading, `gallery` C×H×W by name; C is 1 or 3, values finite and in [0, 1].

    Clamp what is shown, and scale it if the network works in [-1, 1].
    """
    task = bench.task().eval()
    with bench.attribute_errors_to("preview"):
        columns = preview(task, bench.sets[1], bench.accelerator(), bench.config.train)
    with torch.no_grad(), bench.attribute_errors_to("gallery"):
        gallery = task.gallery(dict(bench.figures[1]))
    if not columns and not gallery:
        raise NotApplicable("it shows no pictures")
    for heading, pictures in columns.items():
        if len(pictures) != len(next(iter(columns.values()))):
            raise Broken(f"{heading!r} has another number of pictures", bench.place("preview"))
        check_pictures(heading, pictures, bench.place("preview"))
    for name, picture in gallery.items():
        check_pictures(name, [picture], bench.place("gallery"))
    if columns:
        grid(columns)


def check_pictures(name: str, pictures: list[Tensor], place: Place) -> None:
    for picture in pictures:
        if picture.ndim != 3 or picture.shape[0] not in (1, 3):
            raise Broken(f"{name!r} has a picture of {tuple(picture.shape)}", place, DRAWABLE)
        if not picture.is_floating_point():
            raise Broken(f"{name!r} has pictures of {picture.dtype}", place, "give floating point numbers in [0, 1]")
        low, high = picture.min().item(), picture.max().item()
        if not (low >= 0 and high <= 1):
            raise Broken(f"{name!r} has values from {low:.3g} to {high:.3g}", place)


@needs(figures_are_of_samples)
def odd_sizes_are_restored_or_refused(bench: Bench) -> None:
    """A picture of odd height and width is restored, or refused with a UserError that says what is wrong.

    Pad in the network, or cut in `datasets` with `multiple`, and check the size where pictures come from elsewhere.
    """
    task = bench.task().eval()
    if not isinstance(task, ImageToImage):
        raise NotApplicable("it does not turn a picture into a picture")
    batch = bench.batch(1, images=bench.evaluable)
    with torch.no_grad(), suppress(UserError):
        task.evaluate(batch.map_pictures(cut_odd))


def cut_odd(pictures: Tensor) -> Tensor:
    """Return pictures cut to an odd height and another odd width."""
    return pictures[..., : (pictures.shape[-2] - 2) | 1, : (pictures.shape[-1] - 4) | 1]
