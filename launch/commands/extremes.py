"""The worst and the best pictures of validation sets, by the figure that chooses checkpoints, as one picture."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from launchbay import UserError, printable
from launchbay.data import ImageSet
from launchbay.launch.commands.evaluated import Part, picture_name
from launchbay.launch.engine.evaluation import Evaluation, extremes
from launchbay.launch.engine.pictures import draw_grid
from launchbay.launch.files import replacing
from launchbay.launch.record.drawing import SAMPLES
from launchbay.tasks.base import AnyTask

if TYPE_CHECKING:
    from launchbay.launch.commands.evaluate import Evaluated, Wanted

SHOWN = 4
"""Pictures of each kind, of sets that have so many."""
HEADING, LINE, MARGIN = 22, 18, 6
"""Pixels: sizes of texts, and between them."""


def draw_extremes(
    opened: "Evaluated",
    found: Mapping[str, Evaluation],
    parts: Sequence[Part],
    wanted: "Wanted",
    console: Console,
) -> None:
    """Write a picture with the worst and the best samples of each set, below the set's name.

    Raises:
        UserError: the task has no pictures to look at.
    """
    assert wanted.extremes is not None
    blocks: list[tuple[list[str], Image.Image]] = []
    for part, (name, images) in zip(parts, opened.sets.items(), strict=True):
        figure = judged_by(opened.task, found[name].each.own)
        assert figure is not None
        lower = opened.task.monitor.startswith("-")
        values = found[name].each.own[figure]
        count = min(SHOWN, max(1, len(images) // 2))
        for kind, places in zip(("worst", "best"), extremes(values, count, lower_is_better=lower), strict=True):
            given = opened.task, images, opened.accelerator, opened.config.train, opened.moment
            drawn = draw_grid(*given, places=places).get(SAMPLES)
            if drawn is None:
                said = f"task {opened.config.task} has no preview, so that there is nothing to draw"
                raise UserError(said, "leave --worst-and-best out")
            captions = [caption(images, found[name], figure, place) for place in places]
            blocks.append(([f"{part.name}: {kind} by {figure}", *captions], drawn))
    with replacing(wanted.extremes) as temporary:
        stacked(blocks).save(temporary, format="PNG")
    said = f"{wanted.extremes}: the worst and the best pictures"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def judged_by(task: AnyTask, names: Collection[str]) -> str | None:
    """Return which of the figures `names` tells which picture is the best: that which chooses checkpoints, or none."""
    wanted = task.monitor.removeprefix("-")
    of_any_set = wanted.partition("/")[2]  # it may be that of one set
    return next((name for name in (wanted, of_any_set) if name in names), None)


def caption(images: ImageSet, evaluation: Evaluation, figure: str, place: int) -> str:
    """Return what a picture is called, and its figure beside the baseline's."""
    own, baseline = evaluation.each.own[figure], evaluation.each.baseline.get(figure)
    beside = f", baseline {baseline[place]:z.4f}" if baseline is not None else ""
    return f"{picture_name(images, place)}: {own[place]:z.4f}{beside}"


def stacked(blocks: Sequence[tuple[list[str], Image.Image]]) -> Image.Image:
    """Return pictures one below the other, each below its lines of text, the first of which is large."""
    fonts = ImageFont.load_default(HEADING - MARGIN), ImageFont.load_default(LINE - MARGIN)
    heights = [HEADING + LINE * (len(lines) - 1) + 2 * MARGIN + picture.height for lines, picture in blocks]
    texts = [fonts[bool(place)].getlength(line) for lines, _ in blocks for place, line in enumerate(lines)]
    width = max(*(picture.width for _, picture in blocks), *(round(length) + 2 * MARGIN for length in texts))
    canvas = Image.new("RGB", (width, sum(heights)), "white")
    draw, top = ImageDraw.Draw(canvas), 0
    for (lines, picture), height in zip(blocks, heights, strict=True):
        at = top + MARGIN
        for place, line in enumerate(lines):
            draw.text((MARGIN, at), printable(line, 200), fill="black", font=fonts[bool(place)])
            at += LINE if place else HEADING
        canvas.paste(picture, (0, top + height - picture.height))
        top += height
    return canvas
