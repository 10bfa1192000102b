"""The contract, part three: figures and pictures of the validation set."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.launch.evaluation import BASELINE, is_best, preview
from launchbay.launch.pictures import grid
from launchbay.tasks.base import Batch, ImageToImage
from launchbay.tasks.bench import Bench, Broken, NotApplicable, different, double, needs
from launchbay.tasks.contract_options import it_can_be_built
from launchbay.tasks.contract_steps import a_batch_of_one_is_enough, randomness_comes_from_the_batch

TOGETHER = 3
"""Samples that are evaluated at once."""


@needs(it_can_be_built)
def figures_are_of_samples(bench: Bench) -> None:
    """`evaluate` gives a finite number per sample under each name, or N×D for `summarize`, whose numbers are finite.

    Reduce over channels, height and width, not over the batch: `.mean(dim=(1, 2, 3))`.
    """
    with torch.no_grad():
        figures = bench.task().eval().evaluate(bench.batch(TOGETHER, images=bench.evaluable))
    if not figures:
        raise NotApplicable("evaluate gives no figures")
    for name, values in figures.items():
        if values.ndim not in (1, 2) or len(values) != TOGETHER:
            happened = f"{name!r} is {tuple(values.shape)} for {TOGETHER} samples"
            raise Broken(happened, bench.line("evaluate"))
        if values.ndim == 1 and not values.isfinite().all():
            raise Broken(f"{name!r} is {values.tolist()}", bench.line("evaluate"))
    if bad := {name: value for name, value in bench.figures[0].items() if not torch.tensor(value).isfinite()}:
        raise Broken(f"of the whole validation set, {bad}", bench.line("summarize"))


@needs(figures_are_of_samples, a_batch_of_one_is_enough, randomness_comes_from_the_batch)
def figures_do_not_depend_on_the_batch(bench: Bench) -> None:
    """A sample has the same figures whichever samples are evaluated with it.

    Draw noise from `batch`; take no statistics over the batch; leave no sample out.
    """
    with double(), torch.no_grad():
        task = bench.task().eval()
        together = task.evaluate(bench.batch(TOGETHER, images=bench.evaluable))
        alone = [task.evaluate(bench.batch(1, number, bench.evaluable)) for number in range(TOGETHER)]
        for name, values in together.items():
            one_by_one = torch.cat([figures[name] for figures in alone])
            if not torch.allclose(values.double(), one_by_one.double(), rtol=1e-6, atol=1e-9, equal_nan=True):
                place = (values.double() - one_by_one.double()).abs().argmax()
                pair = [figure.flatten()[place].item() for figure in (values, one_by_one)]
                happened = f"{name!r} of a sample is {pair[0]:.6g} among {TOGETHER} samples, {pair[1]:.6g} alone"
                raise Broken(happened, bench.line("evaluate"))


@needs(figures_are_of_samples, randomness_comes_from_the_batch)
def evaluation_changes_nothing(bench: Bench) -> None:
    """Figures and pictures leave weights and buffers alone, and are the same when asked for again.

    Keep no running state in evaluate, summarize, preview and gallery, and no network in training mode.
    """
    task = bench.task().eval()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    collected = bench.figures[1]
    with torch.no_grad():
        first, second = ({**task.evaluate(bench.batch()), **task.preview(bench.batch(1))} for _ in range(2))
        drawn, again = (task.gallery(dict(collected)) for _ in range(2))
    where = bench.line("evaluate")
    if changed := different(task.state_dict(), before):
        raise Broken(f"afterwards {changed}", where)
    if changed := different({**first, **drawn}, {**second, **again}):
        raise Broken(f"the second time {changed}", where)


@needs(figures_are_of_samples)
def baselines_stand_beside_figures(bench: Bench) -> None:
    """A figure called "baseline/NAME" stands beside one called NAME.

    Name it after the figure that it is the baseline of.
    """
    figures = bench.figures[0]
    baselines = [name for name in figures if name.startswith(BASELINE)]
    if not baselines:
        raise NotApplicable("there is no baseline")
    if alone := [name for name in baselines if name.removeprefix(BASELINE) not in figures]:
        happened = f"there is {alone[0]!r}, but the figures are {', '.join(set(figures) - set(baselines))}"
        raise Broken(happened, bench.line("evaluate"))


@needs(figures_are_of_samples)
def monitor_is_a_figure(bench: Bench) -> None:
    """`monitor`, which says what checkpoint is best, is the name of a figure, with "-" before it if lower is better.

    Set it to one of the names that evaluate or summarize gives.
    """
    task = bench.build()
    if not task.monitor:
        raise NotApplicable("monitor is not set: the newest checkpoint is the best")
    own = {name: value for name, value in bench.figures[0].items() if not name.startswith(BASELINE)}
    try:
        is_best(task, 0, own, {})
    except UserError as error:
        raise Broken(error.message, bench.line("monitor")) from error


@needs(it_can_be_built)
def sample_grid_is_well_formed(bench: Bench) -> None:
    """`preview` gives pictures for each sample under each heading: N×C×H×W, C 1 or 3, finite, in [0, 1].

    Clamp what is shown, and scale it if the network works in [-1, 1].
    """
    task = bench.task().eval()
    columns = preview(task, bench.sets[1], bench.accelerator(), bench.config.shared)
    if not columns:
        raise NotApplicable("preview gives no pictures")
    for heading, pictures in columns.items():
        if len(pictures) != len(next(iter(columns.values()))):
            raise Broken(f"{heading!r} has another number of pictures", bench.line("preview"))
        check_pictures(heading, pictures, bench.line("preview"))
    grid(columns)


@needs(figures_are_of_samples)
def gallery_is_well_formed(bench: Bench) -> None:
    """`gallery` gives pictures by name: C×H×W, C 1 or 3, finite, in [0, 1].

    Clamp what is shown, and scale it if the network works in [-1, 1].
    """
    with torch.no_grad():
        pictures = bench.task().eval().gallery(dict(bench.figures[1]))
    if not pictures:
        raise NotApplicable("gallery gives no pictures")
    for name, picture in pictures.items():
        check_pictures(name, [picture], bench.line("gallery"))


def check_pictures(name: str, pictures: list[Tensor], where: str) -> None:
    for picture in pictures:
        if picture.ndim != 3 or picture.shape[0] not in (1, 3) or not picture.is_floating_point():
            raise Broken(f"{name!r} has a picture of {tuple(picture.shape)}, {picture.dtype}", where)
        low, high = picture.min().item(), picture.max().item()
        if not (low >= 0 and high <= 1):
            raise Broken(f"{name!r} has values from {low:.3g} to {high:.3g}", where)


@needs(figures_are_of_samples)
def odd_sizes_are_restored_or_refused(bench: Bench) -> None:
    """A picture of odd height and width is restored, or refused with a UserError that says what is wrong.

    Pad in the network, or cut in `datasets` with `multiple`, and check the size where pictures come from elsewhere.
    """
    task: Any = bench.task().eval()
    if not isinstance(task, ImageToImage):
        raise NotApplicable("it does not turn a picture into a picture")
    batch = bench.batch(1, images=bench.evaluable)
    with torch.no_grad(), suppress(UserError):
        task.evaluate(Batch(odd(batch.tensors), batch.keys))


def odd(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pictures cut to an odd height and another odd width."""
    cut = {name: t[..., : (t.shape[-2] - 2) | 1, : (t.shape[-1] - 4) | 1] for name, t in tensors.items() if t.ndim == 4}
    return {**tensors, **cut}
