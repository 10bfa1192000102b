"""`launchbay apply` where pictures are drawn from random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from launchbay import UserError
from launchbay.data import key
from launchbay.data.words import some_of
from launchbay.launch.commands.inputs import refuse, try_to_write
from launchbay.launch.commands.picture_files import Canvas, kind_of, write
from launchbay.tasks.base import Batch
from launchbay.tasks.generative import Generative

AT_ONCE = 64
COUNT = 16


@dataclass(frozen=True)
class Wanted:
    """How many pictures, of which class (its name or number), from which seeds: two are the ends of a walk."""

    count: int | None = None
    label: str | None = None
    seeds: Sequence[int] = (0,)
    overwrite: bool = False
    quality: int | None = None


def draw(task: Generative[object], classes: Sequence[str], out: Path, wanted: Wanted, console: Console) -> None:
    """Draw pictures to the file `out`, as a grid, or to the folder `out`, a file each.

    Raises:
        UserError: they cannot be drawn, or not be written.
    """
    count = wanted.count or COUNT
    check_seeds(wanted.seeds, count)
    class_number(task, classes, wanted.label)  # before any file is looked at
    single = bool(out.suffix) and not out.is_dir()
    targets = [out] if single else [out / f"{number:04}.png" for number in range(count)]
    for target in targets:
        kind_of(target)
        if target.exists() and not wanted.overwrite:
            refuse(out, target, "it exists already", "--overwrite, or ")
    if wanted.quality and not kind_of(targets[0]).lossy:
        said = f"--quality {wanted.quality} is for .jpg, .webp and .avif"
        raise UserError(said, "leave it out, or name a file with such an ending")
    try_to_write(out.parent if single else out)
    pictures, wide = drawn(task, classes, wanted)
    for number, target in enumerate(targets):
        write(
            tiled(pictures, wide) if single else tiled(pictures[number : number + 1], 1), target, quality=wanted.quality
        )
    height, width = pictures.shape[-2:]
    shape = f", {wide} a row" if single else " files"
    console.print(f"{out}: {count} pictures of {width}×{height}{shape}", highlight=False, markup=False, soft_wrap=True)


@torch.no_grad()
def drawn(task: Generative[object], classes: Sequence[str], wanted: Wanted) -> tuple[Tensor, int]:
    """Return N×C×H×W in [0, 1], and how many are a row where they are shown together.

    Raises:
        UserError: there is no class of that name.
    """
    device = next(task.parameters()).device
    count, label = wanted.count or COUNT, class_number(task, classes, wanted.label)
    numbers = torch.arange(count)
    labels = numbers if label is None else torch.full_like(numbers, label)
    latents = walk(task, wanted.seeds, count) if len(wanted.seeds) == 2 else first(task, wanted.seeds[0], count)
    # Along a walk only the latent changes: not what `generate` draws, nor the class.
    keys = [key("apply", wanted.seeds[0], 0 if len(wanted.seeds) == 2 else number) for number in range(count)]
    labels = labels[:1].expand(count) if len(wanted.seeds) == 2 else labels
    wide = count if len(wanted.seeds) == 2 and count <= AT_ONCE else ceil(sqrt(count))
    parts = list[Tensor]()
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        latent = latents[part].to(device)
        source = Batch({"image": latent}, keys[part])
        parts.append(task.generate_with(source, latent, task.wanted(labels[part])).cpu())
    return torch.cat(parts), wide


def check_seeds(seeds: Sequence[int], count: int) -> None:
    """Raise a UserError if these are neither one seed nor the ends of a walk of `count` pictures."""
    given = f"--seed {' '.join(map(str, seeds))}"
    if len(seeds) > 2:
        raise UserError(f"{given}: these are {len(seeds)} seeds", "give one or two: two are the ends of a walk")
    if len(seeds) == 2 and seeds[0] == seeds[1]:
        raise UserError(f"{given}: a walk from a seed to itself goes nowhere", "give one seed, or two that differ")
    if len(seeds) == 2 and count < 2:
        raise UserError(f"{given}: a walk of one picture goes nowhere", "give one seed, or --count 2 or more")


def tiled(pictures: Tensor, wide: int) -> Canvas:
    """Return N×C×H×W as one picture, `wide` of them a row."""
    count, channels, height, width = pictures.shape
    canvas = Canvas(channels, ceil(count / wide) * height, wide * width, deep=False)
    for number, picture in enumerate(pictures):
        canvas.put(picture, number // wide * height, number % wide * width)
    return canvas


def first(task: Generative[object], seed: int, count: int) -> Tensor:
    """Return the latents of `seed`, count×L: the first ones are the same for any count."""
    rows = [torch.Generator().manual_seed(key("apply", seed, number, "latent")) for number in range(count)]
    return torch.stack([torch.randn(task.latent, generator=row) for row in rows])


def walk(task: Generative[object], seeds: Sequence[int], count: int) -> Tensor:
    """Return latents from the first of one seed to the first of another, on an arc that keeps their length."""
    one, other = (first(task, seed, 1) for seed in seeds)
    angles = torch.linspace(0, torch.pi / 2, count)[:, None]
    return angles.cos() * one + angles.sin() * other


def class_number(task: Generative[object], classes: Sequence[str], label: str | None) -> int | None:
    """Return the number of the class called `label`.

    Raises:
        UserError: there is none of that name.
    """
    if label is None:
        return None
    if not task.classes:
        said = "this run was trained without classes: it draws whatever it has seen"
        raise UserError(f"--label {label}: {said}", "leave --label out; vae has --classes, for training")
    names = list(classes[: task.classes]) if len(classes) >= task.classes else []
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < task.classes:
        return int(label)
    known = some_of(names or [f"0 to {task.classes - 1}"], 20)
    raise UserError(f"--label {label} is no class of this run", f"known: {known}")
