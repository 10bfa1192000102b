"""docs/own-data.md, "What do you have?": each row of the table is read as it says.

A row names files, options and what launchbay says of them. The files are made here, by what their names look like: who
adds a row with another kind of file adds its maker to `MAKERS`.
"""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from rich.console import Console

from launchbay.data import LoadOptions
from launchbay.data.formats import ENDINGS
from launchbay.launch.commands.pack import pack_data
from launchbay.launch.config.assembly import open_sources
from launchbay.launch.config.command_line import parse
from launchbay.launch.config.data_kinds import FILES
from launchbay.launch.train import task_of

PAGE = ROOT / "docs/own-data.md"
TASK = "reconstruct"
"""Takes any pictures; nothing of it is trained here."""


@dataclass(frozen=True)
class Row:
    have: str
    files: list[str]
    options: list[str]
    said: list[str]


def picture(path: Path) -> None:
    """Write a small picture, another one for each path."""
    pixels = np.random.default_rng(list(str(path).encode())).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def grey(path: Path) -> None:
    Image.new("L", (32, 24), 100 + len(path.name)).save(path)


def shrunk(path: Path) -> None:
    """Write a picture a quarter as wide and high."""
    Image.new("RGB", (8, 6)).save(path)


def mask(path: Path) -> None:
    Image.new("L", (32, 24), 1).save(path)


def table(path: Path) -> None:
    """Write a table of ten pictures in the folder of its name."""
    rows = [f"{path.stem}/{number}.jpg,{('cat', 'dog')[number % 2]}" for number in range(1, 11)]
    path.write_text("\n".join(["file,label", *rows]))


def parquet(path: Path) -> None:
    """Write 20 pictures of two classes."""
    from datasets import ClassLabel, Dataset, Features, Image

    rows: dict[str, list[object]] = {"image": [], "label": [number % 2 for number in range(20)]}
    for number in range(20):
        file = path.with_name(f"{number}.png")
        picture(file)
        rows["image"].append({"bytes": file.read_bytes(), "path": None})
        file.unlink()
    Dataset.from_dict(rows, Features(image=Image(), label=ClassLabel(names=["cat", "dog"]))).to_parquet(path)


def pack(path: Path) -> None:
    """Pack the folder that the pack is called after, with pictures of two classes."""
    folder = Path(path.parent.stem)
    for name, number in product(("cat", "dog"), range(1, 11)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture(folder / name / f"{number}.jpg")
    path.parent.rmdir()
    pack_data(str(folder), None, path.parent, Console(quiet=True))


MAKERS: dict[str, Callable[[Path], None]] = {
    r".*/X4/.*": shrunk,
    r".*/masks/.*": mask,
    r"grey/.*": grey,
    r".*\.csv": table,
    r".*/pack\.json": pack,
    r"(?i)(.*/)?[^._][^/]*\.(png|jpg|webp|tif|bmp|gif|avif)": picture,
    r".*\.parquet": parquet,
    r".*": Path.touch,
}
"""By what the whole path of a file looks like, what writes it: the first that fits."""


def rows() -> list[Row]:
    """Return the rows of the table, in its order."""
    section = PAGE.read_text(encoding="utf-8").partition("## What do you have?")[2].partition("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]
    return [Row(have, names_in(files), options_in(given), quoted(said)) for have, files, given, said in cells]


def options_in(cell: str) -> list[str]:
    [options] = quoted(cell)
    return shlex.split(options)


def names_in(cell: str) -> list[str]:
    return [name for word in quoted(cell) for name in expanded(word)]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def expanded(word: str) -> list[str]:
    """Return the names that a shell makes of `word`: {a,b} is both, {1..3} is 1, 2 and 3."""
    parts = re.split(r"\{([^{}]*)\}", word)
    choices = [alternatives(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def alternatives(inside: str) -> list[str]:
    first, dots, last = inside.partition("..")
    return [str(number) for number in range(int(first), int(last) + 1)] if dots else inside.split(",")


def make(name: str) -> None:
    """Write the file `name`, in its folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    next(maker for pattern, maker in MAKERS.items() if re.fullmatch(pattern, name))(path)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.have.replace(" ", "-"))
def test_what_the_page_says_of_each_row_is_so(row: Row) -> None:
    for name in row.files:
        make(name)
    for name in [name for name in row.files if name.endswith(".zip")]:
        Path(name).unlink()
        shutil.make_archive(name.removesuffix(".zip"), "zip", ".", name.removesuffix(".zip"))
        shutil.rmtree(name.removesuffix(".zip"))
    config, _ = parse(task_of(TASK)[1], row.options, None, quiet=True)
    (source,) = open_sources(config.train.data).values()
    how: LoadOptions = {"channels": channels} if (channels := getattr(config.options, "channels", None)) else {}
    training, validation = source("train", **how), source("val", **how)
    said = source.describe() or [f"{len(training):,} to train, {len(validation):,} to validate"]
    assert said == row.said
    for images in (training, validation):  # what was counted can be read
        assert images.image(len(images) - 1).ndim == 3


def test_the_page_names_every_ending_that_is_read() -> None:
    page = PAGE.read_text()
    for ending in (*(each for known in ENDINGS.values() for each in known), *FILES):
        assert f"{ending}`" in page, ending
