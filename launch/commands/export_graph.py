"""A trained task as a graph: what goes in, what comes out, and in which sizes. Exported to files by export_files.py."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from launchbay import UserError
from launchbay.tasks.answers import Answer, Pictures
from launchbay.tasks.base import AnyTask, Batch, Task
from launchbay.tasks.generative import Generative

OUTPUT, NOISE = "output", "noise_"
"""The name of a picture that a task gives no name; what the names of random numbers begin with."""
SIDES = 61, 83
"""Height and width of the pictures that a graph is made with: no multiple of anything, or it would hold for these."""
FEW = 32
"""What sides of pictures divide by where a network does not take them all."""
TRIED = 64, 32, 28, 96, 128, 224
"""Sides of pictures of which a network takes one, where its options do not say which."""
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Sizes:
    """Sizes that a graph takes."""

    said: str
    """In words."""
    made_with: Inputs
    checked_with: Sequence[Inputs]
    """Three of other sizes, if the graph takes others."""
    free: Sequence[int]
    """Dimensions of each input that may have any size."""


class Replying(nn.Module):
    """What `launchbay apply` makes of pictures, before it rounds: N×C×H×W in [0, 1] -> pictures, or probabilities."""

    def __init__(self, task: AnyTask):
        super().__init__()
        self.task = task

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        answer = self.task.reply(image)
        if isinstance(answer, Pictures):
            return {name or OUTPUT: picture.clamp(0, 1) for name, picture in answer.by_name.items()}
        return {"probabilities": answer.probabilities}


class Drawing(nn.Module):
    """What `launchbay apply` draws: latents N×L, and what `generate` draws beside, -> pictures."""

    def __init__(self, task: Generative[Any]):
        super().__init__()
        self.task = task

    def forward(self, latent: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        return drawn(self.task, latent, latent.new_zeros(latent.shape[0], 0), noise)


class DrawingClasses(nn.Module):
    """The same with the number of the class to draw, N."""

    def __init__(self, task: Generative[Any]):
        super().__init__()
        self.task = task

    def forward(self, latent: Tensor, label: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        return drawn(self.task, latent, self.task.wanted(label), noise)


def drawn(task: Generative[Any], latent: Tensor, condition: Tensor, noise: Sequence[Tensor]) -> dict[str, Tensor]:
    return {OUTPUT: task.generate_with(Given(latent, noise), latent, condition).clamp(0, 1)}


class Given(Batch):
    """Random numbers that are given: an input of a graph each, where `generate` draws them."""

    def __init__(self, latent: Tensor, noise: Sequence[Tensor]):
        super().__init__({"image": latent}, ())
        self.noise = iter(noise)

    def rand(self, *shape: int) -> Tensor:
        return next(self.noise)

    def randn(self, *shape: int) -> Tensor:
        return next(self.noise)


class Noted(Batch):
    """Random numbers that are drawn, each call noted: from what, and of which shape."""

    def __init__(self, latent: Tensor):
        super().__init__({"image": latent}, range(len(latent)))
        self.noted = list[tuple[Callable[..., Tensor], tuple[int, ...]]]()

    def rand(self, *shape: int) -> Tensor:
        self.noted.append((torch.rand, shape))
        return super().rand(*shape)

    def randn(self, *shape: int) -> Tensor:
        self.noted.append((torch.randn, shape))
        return super().randn(*shape)


@dataclass(frozen=True)
class Graph:
    """What is to be exported: a module, and the sizes that it may take, which are tried one after the other."""

    module: nn.Module
    sizes: Sequence[Sizes]
    inputs: Mapping[str, str]
    """What each input is, by its name."""
    outputs: Sequence[str] = (OUTPUT,)

    @torch.no_grad()
    def answer(self, given: Inputs) -> dict[str, Tensor]:
        """Return what comes out, by name."""
        return self.module(*given)

    def shapes(self, sizes: Sizes) -> tuple[Any, ...]:
        """Return which dimensions of which inputs are free, as torch.export takes it."""
        from torch.export import Dim

        free = [dict.fromkeys(sizes.free[: given.ndim], Dim.DYNAMIC) for given in sizes.made_with]
        first = sum(not name.startswith(NOISE) for name in self.inputs)
        return (*free[:first], tuple(free[first:])) if free[first:] else tuple(free)


def graph_of(task: AnyTask, options: object) -> Graph:
    """Return the graph of a trained `task` on the CPU, that was built with `options`.

    Raises:
        UserError: it makes nothing of pictures, or takes none of a usual size.
    """
    with fixed_numbers():
        if isinstance(task, Generative):
            return drawing(task)
        if type(task).reply is Task.reply:
            said = "the task does not say what it makes of a picture"
            raise UserError(said, "export its weights, as .safetensors; or give it the method reply(image)")
        tried = first_answer(task, options)
        if tried is None:
            said = f"the network takes no pictures of {', '.join(map(str, TRIED))} pixels"
            raise UserError(said, "export its weights, as .safetensors")
        side, channels = tried[0], channels_of(options)
        module, picture = Replying(task), torch.zeros(2, channels, side, side)
        with torch.no_grad():
            outputs = tuple(module(picture))
        about = {"image": f"float32 N×{channels}×H×W in [0, 1]"}
        return Graph(module, sizes_of_pictures(channels, side), about, outputs)


def channels_of(options: object) -> int:
    """Return the channels of the pictures that a task takes."""
    return getattr(options, "channels", None) or 3


@torch.no_grad()
def first_answer(task: AnyTask, options: object) -> tuple[int, Answer] | None:
    """Return what a `task` makes of black pictures, and their side: that which its options name, or the first that it
    takes. None if it makes nothing of pictures.
    """
    own = [getattr(options, name, None) for name in ("size", "patch")]
    for side in dict.fromkeys((*own, *TRIED)):
        if side:
            with suppress(RuntimeError, ValueError, AssertionError, UserError, NotImplementedError):
                return side, task.reply(torch.zeros(2, channels_of(options), side, side))
    return None


def sizes_of_pictures(channels: int, side: int) -> list[Sizes]:
    """Return what a network may take, what is best first: pictures of any size, of sides that divide, of one `side`."""

    def pictures(count: int, height: int, width: int) -> Inputs:
        return (torch.rand(count, channels, height, width),)

    some = [pictures(*size) for size in ((1, 48, 64), (3, 53, 38), (2, 96, 120))]
    few = [pictures(*size) for size in ((1, 2 * FEW, 3 * FEW), (3, 4 * FEW, 2 * FEW), (2, 5 * FEW, 4 * FEW))]
    square = [pictures(count, side, side) for count in (2, 1, 3, 5)]
    alone = [pictures(1, side, side) for _ in range(4)]
    return [
        Sizes("N, H and W are free", pictures(2, *SIDES), some, (0, 2, 3)),
        Sizes(f"N, H and W are free, H and W multiples of {FEW}", pictures(2, 3 * FEW, 5 * FEW), few, (0, 2, 3)),
        Sizes(f"N is free, H = W = {side}", square[0], square[1:], (0,)),
        Sizes(f"N = 1, H = W = {side}", alone[0], alone[1:], ()),
    ]


def drawing(task: Generative[Any]) -> Graph:
    """Return the graph of a task that draws pictures."""
    latent = torch.randn(2, task.latent)
    noted = Noted(latent)
    with torch.no_grad():
        task.generate_with(noted, latent, task.wanted(torch.arange(2)))

    def inputs(count: int) -> Inputs:
        label = (torch.arange(count) % task.classes,) if task.classes else ()
        return torch.randn(count, task.latent), *label, *(draw(count, *shape) for draw, shape in noted.noted)

    about = {"latent": f"float32 N×{task.latent}, standard normal"}
    about |= {"label": f"int64 N, a class from 0 to {task.classes - 1}"} if task.classes else {}
    for number, (draw, shape) in enumerate(noted.noted):
        kind = "standard normal" if draw is torch.randn else "uniform in [0, 1)"
        about[f"{NOISE}{number}"] = f"float32 {'×'.join(map(str, ('N', *shape)))}, {kind}"
    sizes = [Sizes("N is free", inputs(2), [inputs(1), inputs(3), inputs(5)], (0,))]
    sizes += [Sizes("N = 1", inputs(1), [inputs(1), inputs(1), inputs(1)], ())]
    module = DrawingClasses(task) if task.classes else Drawing(task)
    return Graph(module, sizes, about)


@contextmanager
def fixed_numbers() -> Generator[None]:
    """Draw the same random numbers in the block each time, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield
