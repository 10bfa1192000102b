"""`launchbay apply` where pictures are made of pictures."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn.functional import interpolate

from launchbay import UserError
from launchbay.data.decode import Header, unreadable
from launchbay.data.original import Original, Pixels, read_original
from launchbay.data.words import listed, plain_name
from launchbay.launch.commands.inputs import Input
from launchbay.launch.commands.picture_files import Canvas, kind_of, writable, write
from launchbay.launch.engine.tiles import Tiling, boxes, kept_part
from launchbay.tasks.answers import Answer, Pictures
from launchbay.tasks.base import AnyTask

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue give to the grey of a picture."""
MOST_AT_ONCE = 64
LARGEST_TRIED = 128
"""Pixels of a side of the black pictures that a task is tried on."""
IN_THE_BACKGROUND = 2**24
"""Pictures with at most so many pixels are written while the next are computed; larger ones would take the memory."""


@dataclass(frozen=True)
class Use:
    """A task in use: what it computes on, the channels that it takes, and in which precision."""

    task: AnyTask
    channels: int
    device: torch.device
    precision: torch.dtype | None = None

    def answer(self, image: Tensor) -> Answer:
        """Return what the task makes of N×C×H×W."""
        if self.precision is None:
            return self.task.reply(image)
        with torch.autocast(self.device.type, self.precision):
            return self.task.reply(image)

    def pictures(self, image: Tensor) -> Mapping[str, Tensor]:
        """Return the pictures that the task makes of N×C×H×W."""
        answer = self.answer(image)
        assert isinstance(answer, Pictures)
        return answer.by_name

    def rehearse(self, headers: Mapping[Input, Header]) -> Answer:
        """Return the answer to a black picture, after the task has answered one of each size that occurs; of large ones
        only a corner is tried.

        Raises:
            UserError: it cannot answer one, which is named.
        """
        answer, refused = None, dict[tuple[int, int], UserError]()
        size_of = {
            one: (min(known.height, LARGEST_TRIED), min(known.width, LARGEST_TRIED)) for one, known in headers.items()
        }
        for size in dict.fromkeys(size_of.values()):
            try:
                answer = self.rehearse_size(*size)
            except UserError as error:
                refused[size] = error
        if refused:
            named = {plain_name(one.path): headers[one] for one, size in size_of.items() if size in refused}
            raise self.cannot_use(named, next(iter(refused.values())))
        assert answer is not None
        return answer

    def cannot_use(self, named: Mapping[str, Header], why: UserError) -> UserError:
        """Return what to tell a person about the pictures `named`, the first of which is refused for a reason: all of
        them, and how many pixels are enough, if that is it.
        """
        sides = (2**power for power in range(LARGEST_TRIED.bit_length()))
        enough = next((side for side in sides if self.takes(side)), None)
        lines = [f"{name} has {known.width}×{known.height} pixels" for name, known in named.items()]
        if enough is None or not any(min(known.height, known.width) < enough for known in named.values()):
            return UserError(f"{next(iter(named))} cannot be used: {why.message}", why.hint)
        hint = f"leave out what is too small: {enough}×{enough} pixels are enough"
        if len(lines) == 1:
            return UserError(f"{lines[0]}, too few for the network", hint)
        return UserError(f"{len(lines):,} pictures are too small for the network:\n{listed(lines)}", hint)

    def takes(self, side: int) -> bool:
        """Return whether the task answers a square of so many pixels."""
        try:
            self.rehearse_size(side, side)
        except UserError:
            return False
        return True

    def rehearse_size(self, height: int, width: int) -> Answer:
        """Return the answer to a black picture of this size; of a large one only a corner is tried.

        Raises:
            UserError: the task cannot answer it.
        """
        height, width = min(height, LARGEST_TRIED), min(width, LARGEST_TRIED)
        try:
            answer = self.answer(torch.zeros(1, self.channels, height, width, device=self.device))
        except (RuntimeError, ValueError, AssertionError) as error:
            said = f"of {width}×{height} pixels the network makes: {str(error).splitlines()[0]}"
            raise UserError(said, "leave out what is too small for it") from error
        if isinstance(answer, Pictures):
            check_pictures(answer, height, width)
        return answer


def check_pictures(answer: Pictures, height: int, width: int) -> None:
    """Raise a UserError if these are no pictures that can be written."""
    for values in answer.by_name.values():
        if values.shape[1] not in (1, 3):
            raise UserError(f"its task gives {values.shape[1]} channels", "apply writes grey or colour pictures")
        down, across = values.shape[-2] / height, values.shape[-1] / width
        if down != across or down != int(down):
            said = f"its task makes {values.shape[-1]}×{values.shape[-2]} of {width}×{height} pixels"
            raise UserError(said, "apply is for pictures that stay as large, or become a whole number of times larger")


@dataclass(frozen=True)
class Restoring:
    """How pictures are made of pictures, and written."""

    use: Use
    tiling: Tiling
    strip: bool
    quality: int | None
    console: Console

    def run(
        self,
        plan: Mapping[Input, Mapping[str, Path]],
        headers: Mapping[Input, Header],
        share: tuple[int, int] = (0, 1),
    ) -> list[str]:
        """Make and write what is planned; of several processes this one does its `share`: its number, and how many
        there are. Return what is wrong with those that cannot be read.
        """
        damaged, waiting = list[str](), list[Future[None]]()
        # What is computed together does not depend on the number of processes, and so neither does what comes out.
        groups = list(self.groups(plan, headers))[share[0] :: share[1]]
        total = sum(headers[one].height * headers[one].width for group in groups for one in group)
        hidden = not self.console.is_terminal
        with (
            Progress(console=self.console, transient=True, disable=hidden) as bar,
            ThreadPoolExecutor(1) as writer,
        ):
            row = bar.add_task("applying", total=total)
            for group in groups:
                originals = dict[Input, Original]()
                for one in group:
                    try:
                        originals[one] = read_original(one.path)
                    except Exception as error:  # whatever its bytes make of a decoder
                        damaged.append(unreadable(one.path, error).message)
                if originals:
                    made = self.make([*originals.values()], lambda pixels: bar.advance(row, pixels))
                    jobs = [
                        partial(self.finish, one, original, canvases, plan[one])
                        for (one, original), canvases in zip(originals.items(), made, strict=True)
                    ]
                    for done in waiting:
                        done.result()
                    small = headers[group[0]].height * headers[group[0]].width * 16 <= IN_THE_BACKGROUND
                    waiting = [writer.submit(job) for job in jobs] if small else []
                    for job in () if small else jobs:
                        job()
            for done in waiting:
                done.result()
        return damaged

    def groups(
        self, plan: Mapping[Input, Mapping[str, Path]], headers: Mapping[Input, Header]
    ) -> Generator[list[Input]]:
        """Yield inputs that are computed together: neighbours of one size, as many as the memory suggests."""
        for (height, width), same in groupby(plan, key=lambda one: headers[one][:2]):
            those, most = list(same), max(1, min(MOST_AT_ONCE, self.tiling.pixels // (height * width)))
            for start in range(0, len(those), most):
                yield those[start : start + most]

    def make(self, originals: Sequence[Original], advance: Callable[[int], object]) -> list[dict[str, Canvas]]:
        """Return what is made of pictures, all of one size."""
        height, width = originals[0].pixels.shape[:2]
        canvases: list[dict[str, Canvas]] = [{} for _ in originals]
        for box in boxes(height, width, self.tiling):
            inputs = torch.cat([self.colours(original, *box.seen) for original in originals])
            for name, outputs in self.use.pictures(inputs).items():
                scale = outputs.shape[-1] // inputs.shape[-1]
                for original, output, own in zip(originals, outputs, canvases, strict=True):
                    part = kept_part(like(original, output, *box.seen), box)
                    if name not in own:
                        deep = original.pixels.itemsize == 2
                        own[name] = Canvas(len(part), height * scale, width * scale, deep=deep)
                    own[name].put(part, box.kept[0].start * scale, box.kept[1].start * scale)
            rows, columns = box.kept
            advance(len(originals) * (rows.stop - rows.start) * (columns.stop - columns.start))
        return canvases

    def colours(self, original: Original, rows: slice, columns: slice) -> Tensor:
        """Return a part of a picture as the network takes it, 1×C×h×w."""
        values = original.pixels[rows, columns]
        picture = to_unit(values[..., :-1] if original.has_alpha else values).to(self.use.device)
        if self.use.channels == 1 and picture.shape[1] == 3:
            return grey(picture)
        return picture.expand(-1, self.use.channels, -1, -1)

    def finish(
        self, one: Input, original: Original, canvases: Mapping[str, Canvas], targets: Mapping[str, Path]
    ) -> None:
        """Write what was made of a picture, and say so."""
        for name, canvas in canvases.items():
            path, kind = targets[name], kind_of(targets[name])
            profile, exif = (b"", b"") if self.strip else (original.profile_for(canvas.channels), original.exif)
            holds, unfit = writable()[path.suffix.lower()], []
            if holds == "WEBP" and profile[16:20] == b"GRAY":  # WebP is always in colour
                profile, unfit = b"", ["its grey profile"]
            left = ["its transparency"] if canvas.channels in (2, 4) and not kind.alpha else []
            left += ["8 of its 16 bits"] if canvas.deep and not kind.deep else []
            left += unfit
            left += ["its EXIF"] if exif and (holds in ("BMP", "PPM") or (holds == "TIFF" and canvas.deep)) else []
            left += ["its colour profile"] if profile and holds in ("BMP", "PPM") else []
            write(canvas.held_by(kind), path, profile=profile, exif=exif, quality=self.quality)
            without = f"  (without {', '.join(left)}, which {path.suffix} cannot keep)" if left else ""
            without += f"  (without {original.dropped})" * bool(original.dropped)
            said = f"{plain_name(one.path)} -> {plain_name(path)}  {canvas.shown}{without}"
            self.console.print(said, highlight=False, markup=False, soft_wrap=True)


def to_unit(values: Pixels) -> Tensor:
    """Return h×w×C of 8 or 16 bits as 1×C×h×w in [0, 1]."""
    pixels = torch.tensor(values)
    white = 255 if pixels.dtype == torch.uint8 else 65535
    return pixels.permute(2, 0, 1)[None].to(torch.get_default_dtype()) / white


def grey(picture: Tensor) -> Tensor:
    """Return ...×1×h×w of ...×3×h×w."""
    weights = torch.tensor(LUMA, dtype=picture.dtype, device=picture.device).view(3, 1, 1)
    return (picture * weights).sum(dim=-3, keepdim=True)


def like(original: Original, output: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return the `output` for a part of a picture with the channels that this has: grey stays grey, and what is
    transparent so too, enlarged as the picture is.
    """
    output = output.to(torch.get_default_dtype())
    if original.pixels.shape[2] < 3 and len(output) == 3:
        output = grey(output)
    if not original.has_alpha:
        return output
    alpha = to_unit(original.pixels[rows, columns, -1:]).to(output)
    if alpha.shape[-2:] != output.shape[-2:]:
        alpha = interpolate(alpha, output.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    return torch.cat([output, alpha[0]])
