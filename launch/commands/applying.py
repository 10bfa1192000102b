"""What a trained run makes of one picture that a program has in memory, and in the same form."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeGuard, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from torch import Tensor, nn

from launchbay import UserError
from launchbay.data.decode import unreadable
from launchbay.data.original import Original, kept_exif, read_original, values_of
from launchbay.launch.commands.apply import check_answers, classes_of, open_run
from launchbay.launch.commands.drawing import Wanted, drawn, tiled
from launchbay.launch.commands.picture_files import Canvas, Kind
from launchbay.launch.commands.restoring import Restoring, Use, grey, to_unit
from launchbay.launch.distributed.guest import as_guest
from launchbay.launch.engine.tiles import Tiling, boxes, find_tiling, kept_part
from launchbay.launch.errors import out_of_memory
from launchbay.launch.files import Json
from launchbay.tasks.answers import Classes
from launchbay.tasks.generative import Generative

T = TypeVar("T")
Array = NDArray[np.generic]
Picture = str | Path | Image.Image | Array | Tensor
Made = Image.Image | Array | Tensor
Probable = list[tuple[str, float]]
Applied = Made | dict[str, Made] | Probable | list[Probable]
KINDS = "give a path, a PIL image, an array H×W or H×W×C, or a tensor C×H×W or N×C×H×W in [0, 1]"


@dataclass(frozen=True)
class OpenedRun:
    """A task in use, and what it was trained as."""

    use: Use
    task: str
    classes: list[str]
    dtype: torch.dtype
    """What the run computes in."""

    def networks(self) -> dict[str, nn.Module]:
        return self.use.task.networks()

    def apply(self, image: Picture, tile: int) -> Applied:
        """Return what the task makes of `image` (see `Run.apply`)."""
        if isinstance(self.use.task, Generative):
            raise UserError(f"{self.task} draws pictures and takes none", "run.draw(count=16) draws some")
        check_answers(self.use.task, self.task)
        with computing_in(self.dtype), naming_memory():
            if is_of_numbers(image):
                values, back = in_rows(image)
                values = values.to(self.use.device, torch.get_default_dtype())
                answer = self.use.rehearse_size(*values.shape[-2:])
                if isinstance(answer, Classes):
                    found = [self.probable(one) for one in values.split(1)]
                    return found[0] if back.single else found
                return single({name: back.form(made) for name, made in self.made(values, tile).items()})
            original, form = as_original(image)
            height, width, channels = original.pixels.shape
            answer = self.use.rehearse_size(height, width)
            if isinstance(answer, Classes):
                colours = original.pixels[..., : channels - 1 + channels % 2]
                return self.probable(to_unit(colours).to(self.use.device))
            restoring = Restoring(self.use, self.tiling(tile), strip=True, quality=None, console=Console(quiet=True))
            (canvases,) = restoring.make([original], lambda _: None)
            return single({name: form(canvas) for name, canvas in canvases.items()})

    def tiling(self, tile: int) -> Tiling:
        return find_tiling(self.use.task, self.use.pictures, self.use.channels, self.use.device, tile)

    def probable(self, picture: Tensor) -> Probable:
        """Return the classes of 1×C×H×W, the most probable first."""
        answer = self.use.answer(with_channels(picture, self.use.channels))
        assert isinstance(answer, Classes)
        found = answer.probabilities[0].float().cpu()
        names = self.classes if len(self.classes) == len(found) else list(map(str, range(len(found))))
        values, places = found.sort(descending=True)
        return [(names[place], value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]

    def made(self, values: Tensor, tile: int) -> dict[str, Tensor]:
        """Return the pictures that are made of N×C×H×W, on the CPU: what is grey stays grey."""
        parts: dict[str, Tensor] = {}
        height, width = values.shape[-2:]
        for box in boxes(height, width, self.tiling(tile)):
            inputs = with_channels(values[..., *box.seen], self.use.channels)
            for name, output in self.use.pictures(inputs).items():
                kept = kept_part(output, box)
                kept = grey(kept) if values.shape[1] == 1 and kept.shape[1] == 3 else kept
                scale = output.shape[-1] // inputs.shape[-1]
                if name not in parts:
                    parts[name] = torch.empty(*kept.shape[:2], height * scale, width * scale, dtype=values.dtype)
                rows, columns = (slice(part.start * scale, part.stop * scale) for part in box.kept)
                parts[name][..., rows, columns] = kept.cpu()
        return {name: part.clamp(0, 1) for name, part in parts.items()}

    def draw(self, count: int, label: str | int | None, seed: int) -> list[Image.Image]:
        """Return pictures that the task draws (see `Run.draw`)."""
        task = self.use.task
        if not isinstance(task, Generative):
            raise UserError(f"{self.task} draws no pictures", "run.apply(image) uses it")
        if count < 1:
            raise UserError(f"{count} pictures cannot be drawn", "give a count from 1 on")
        with computing_in(self.dtype):
            pictures, _ = drawn(task, self.classes, Wanted(count, None if label is None else str(label), (seed,)))
        return [to_pil(tiled(picture[None], 1)) for picture in pictures]


def open_for_use(run: Path, checkpoint: Literal["best", "last"], task: str | None, options: Json) -> OpenedRun:
    """Return the task of `run`, ready for use with `options` of its own.

    Raises:
        UserError: it cannot be used so.
    """
    with as_guest():
        use, config, _ = open_run(run, checkpoint, task, options)
        return OpenedRun(use, config.task, classes_of(run), torch.get_default_dtype())


@dataclass(frozen=True)
class Back:
    """The form that numbers were given in: a `single` picture or N, and how one goes back to it."""

    single: bool
    form: Callable[[Tensor], Made]


def is_of_numbers(image: Picture) -> TypeGuard[Array | Tensor]:
    """Return whether `image` is in numbers that need not be whole, so that nothing is to be rounded."""
    return isinstance(image, Tensor) or (isinstance(image, np.ndarray) and image.dtype.kind == "f")


def in_rows(image: Array | Tensor) -> tuple[Tensor, Back]:
    """Return a tensor, or an array of floats, as N×C×H×W in [0, 1], and how to go back.

    Raises:
        UserError: it is no picture.
    """
    shape = tuple(image.shape)
    if isinstance(image, np.ndarray):
        values = torch.from_numpy(np.ascontiguousarray(image))
        values = values[..., None] if values.ndim == 2 else values
        check_shape(values.ndim == 3 and values.shape[2] in (1, 3), f"an array of shape {shape}")
        check_range(values)
        kind = image.dtype

        def form(made: Tensor) -> Made:
            back = made[0].permute(1, 2, 0)
            return (back[..., 0] if len(shape) == 2 else back).numpy().astype(kind)

        return values.permute(2, 0, 1)[None], Back(single=True, form=form)
    whole = not image.is_floating_point()
    check_shape(image.dtype == torch.uint8 or not whole, f"a tensor of {image.dtype}")
    check_shape(image.ndim in (3, 4) and image.shape[-3] in (1, 3) and image.numel() > 0, f"a tensor of shape {shape}")
    values = image.float() / 255 if whole else image
    check_range(values)

    def back(made: Tensor) -> Made:
        made = (made * 255).round() if whole else made
        return (made[0] if image.ndim == 3 else made).to(image.device, image.dtype)

    return (values[None] if image.ndim == 3 else values).detach(), Back(single=image.ndim == 3, form=back)


def as_original(image: Any) -> tuple[Original, Callable[[Canvas], Made]]:
    """Return what a file, a PIL image or an array of whole numbers holds, and what makes the like of a result.

    Raises:
        UserError: it is no picture, or cannot be read.
    """
    if isinstance(image, str | Path):
        if not Path(image).is_file():
            raise UserError(f"there is no picture {image}", "name a file")
        try:
            original = read_original(Path(image))
        except Exception as error:  # whatever its bytes make of a decoder
            raise unreadable(Path(image), error) from error
        return original, partial(to_pil, original=original)
    if isinstance(image, Image.Image):
        original = original_of(image)
        return original, partial(to_pil, original=original)
    check_shape(isinstance(image, np.ndarray), f"a {type(image).__name__}")
    right = image.dtype in (np.uint8, np.uint16) and image.size > 0
    right = right and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 2, 3, 4)))
    check_shape(right, f"an array of {image.dtype} and shape {image.shape}")
    return Original(image.reshape(*image.shape[:2], -1)), to_flat_array if image.ndim == 2 else to_array


def original_of(image: Image.Image) -> Original:
    """Return what a PIL image holds, upright."""
    upright, (exif, _) = ImageOps.exif_transpose(image), kept_exif(image)
    profile = b"" if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile") or b""
    return Original(values_of(upright), profile, exif)


def to_pil(canvas: Canvas, original: Original | None = None) -> Image.Image:
    """Return a PIL image, of 16 bits if it is grey and has so many, with the colour profile and the EXIF of what it was
    made of.
    """
    held = canvas.held_by(Kind(alpha=True, deep=canvas.channels == 1))
    shown = Image.fromarray(held.values[..., 0]) if held.values is not None else held.image
    assert shown is not None
    if original is not None:
        known = {"icc_profile": original.profile_for(canvas.channels), "exif": original.exif}
        shown.info |= {name: value for name, value in known.items() if value}
    return shown


def to_array(canvas: Canvas) -> Array:
    values = canvas.values if canvas.values is not None else np.asarray(canvas.image)
    return values.reshape(*canvas.size, -1)


def to_flat_array(canvas: Canvas) -> Array:
    values = to_array(canvas)
    return values[..., 0] if values.shape[2] == 1 else values


def single(made: Mapping[str, Made]) -> Made | dict[str, Made]:
    """Return the only picture that was made, or all by their names."""
    return next(iter(made.values())) if len(made) == 1 else dict(made)


def with_channels(values: Tensor, channels: int) -> Tensor:
    """Return N×C×H×W with the channels that a network takes, grey or colour."""
    if values.shape[1] == channels:
        return values
    return grey(values) if channels == 1 else values.expand(-1, channels, -1, -1)


def check_shape(right: bool, what: str) -> None:
    if not right:
        raise UserError(f"{what} is no picture", KINDS)


def check_range(values: Tensor) -> None:
    if not values.numel() or not (values.min() >= 0 and values.max() <= 1):
        said = f"from {values.min():g} to {values.max():g}" if values.numel() else "of no pixels"
        raise UserError(f"values {said} are no picture", "floats have to be in [0, 1]: divide by 255, or give uint8")


@contextmanager
def computing_in(dtype: torch.dtype) -> Generator[None]:
    """Within it, numbers are of the kind that the run was trained in, and no gradients are kept."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def naming_memory() -> Generator[None]:
    """Turn a lack of memory into what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if memory := out_of_memory(error, "give a smaller tile, as apply(image, tile=256)"):
            raise memory from error
        raise
