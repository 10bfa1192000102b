"""Make the pictures of the README from runs of the default commands: `python benchmarks/gallery.py RUNS docs/pictures`.

Trains each task into RUNS, or goes on there; what is trained already is taken as it is. All of it takes half an hour
on two idle cores.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from launchbay.launch.record.grids import GAP, HEADING

FIRST = ("superres", (0, 2, 5))
"""The task of the README's first command, and the rows of its grid that are shown."""
CARDS = {"denoise": "", "reconstruct": "", "unmix": "", "classify": "", "vae": "-generated", "dcgan": "-generated"}
"""Tasks, and the end of the name of the picture that shows what each does."""
WHITE = ((255, 255),) * 3
WIDTH, HEIGHT, COLUMNS, TITLE = 384, 300, 3, 28
"""Pixels of a card, cards beside each other, and pixels for a card's title."""


def main(runs: Path, pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    rows_of(grid_of(FIRST[0], "", runs), FIRST[1]).save(pictures / "superres.webp", quality=85)
    gallery(grid_of(task, ending, runs) for task, ending in CARDS.items()).save(pictures / "tasks.webp", quality=85)


def grid_of(task: str, ending: str, runs: Path) -> Image.Image:
    """Return the last picture of `task` with this `ending`, trained in `runs`."""
    command = [sys.executable, "-m", "launchbay.launch.run", "--task", task, "--run", task, "--output-dir", str(runs)]
    subprocess.run(command, check=True)
    return Image.open(max((runs / task / "samples").glob(f"step-{'[0-9]' * 8}{ending}.png"))).convert("RGB")


def rows_of(grid: Image.Image, rows: Iterable[int]) -> Image.Image:
    """Return `grid` with its headings and these `rows` of square pictures alone."""
    side = next(side for side in range(1, grid.width) if is_gap(grid, GAP + side))
    parts = [grid.crop((0, 0, grid.width, HEADING))]
    parts += [
        grid.crop((0, top, grid.width, top + side + GAP)) for row in rows for top in [HEADING + row * (side + GAP)]
    ]
    result = Image.new("RGB", (grid.width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        result.paste(part, (0, top))
        top += part.height
    return result


def is_gap(grid: Image.Image, left: int) -> bool:
    """Return whether the columns of pixels from `left` on part two pictures of `grid`."""
    gap = grid.crop((left, HEADING, left + GAP, grid.height))
    return gap.getextrema() == WHITE


def whole_rows(grid: Image.Image, room: int) -> Image.Image:
    """Return of `grid` what fits into `room` pixels of height without cutting a row of pictures."""
    if grid.height <= room:
        return grid
    below = (
        edge for edge in range(room, room // 2, -1) if grid.crop((0, edge - 1, grid.width, edge)).getextrema() == WHITE
    )
    return grid.crop((0, 0, grid.width, next(below, room)))


def gallery(grids: Iterable[Image.Image]) -> Image.Image:
    """Return the upper part of each of `grids` on a card with its task's name."""
    font = ImageFont.load_default(18)
    cards: list[Image.Image] = []
    for task, grid in zip(CARDS, grids, strict=True):
        card = Image.new("RGB", (WIDTH, HEIGHT), "white")
        ImageDraw.Draw(card).text((GAP, 4), task, fill="black", font=font)
        width = min(WIDTH, grid.width)
        size = (width, round(grid.height * width / grid.width))
        card.paste(whole_rows(grid.resize(size, Image.Resampling.LANCZOS), HEIGHT - TITLE), (0, TITLE))
        cards.append(card)
    rows = -(-len(cards) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    for place, card in enumerate(cards):
        sheet.paste(card, (place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT))
    return sheet


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
