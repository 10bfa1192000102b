"""Our step beside bare loops over tensors that lie ready: one process, in turns, one table. speed.md has what it said.

    python benchmarks/bare.py --data DATA [--work denoise] [--precision bf16] [--rounds 9]

DATA has cifar-10-batches-py and MNIST; photographs are made there, in photos_png. `ours` is what a run does at each
step: data, augmentation, noise, guards, clipping, optimizer. `tuned` is the least that learns, with the same settings:
the task's losses of a staged batch whose augmentation and random numbers were made before, backward, clipping,
optimizer. `plain` is that as it is usually written: torch's default memory format, Adam and precision, no clipping; no
peer that does the same arithmetic can be faster, since all that loads and augments comes on top.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from speed import make_photographs
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from launchbay.launch.config.assembly import infer_options, open_sources
from launchbay.launch.config.command_line import parse
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.accelerator import create_accelerator
from launchbay.launch.engine.loop import Engine
from launchbay.tasks.base import Batch
from launchbay.tasks.classify import Classify
from launchbay.tasks.image_to_image import ImageToImage

CIFAR = ("--data", "cifar10", "--data-root")
MNIST = ("--data", "mnist", "--data-root")
WORKS = {
    "classify": (*CIFAR, "", "--rotate", "90", "--shift", "0", "--jitter", "0.2", "--batch-size", "128"),
    "superres": ("--model", "srcnn", "--patch", "48", "--data", "folder", "--data-root", "photos_png"),
    "denoise": (*CIFAR, "", "--batch-size", "64"),
    "reconstruct": (*CIFAR, "", "--batch-size", "128"),
    "vae": (*MNIST, "", "--batch-size", "128"),
    "dcgan": (*MNIST, "", "--batch-size", "64"),
}
STAGED = 8
BLOCK_S = 1.0
"""How many batches lie ready, and how long a turn takes, in seconds."""


class Staged(Batch):
    """A batch that was drawn before: its random numbers are stored."""

    def __init__(self, batch: Batch, *, contiguous: bool):
        super().__init__(batch.tensors, batch.keys, pictures=batch.pictures, masks=batch.masks)
        self.contiguous, self.drawn, self.turn = contiguous, list[Tensor](), 0
        if contiguous:
            self.tensors = {name: tensor.contiguous() for name, tensor in batch.tensors.items()}

    def rand(self, *shape: int) -> Tensor:
        return self.stored(super().rand, shape)

    def randn(self, *shape: int) -> Tensor:
        return self.stored(super().randn, shape)

    def stored(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        if self.turn == len(self.drawn):
            self.drawn.append(draw(*shape))
        self.turn += 1
        return self.drawn[self.turn - 1]


def engine(work: str, data: Path, precision: str | None) -> Engine:
    argv = ["--wandb", "off", "--optimizer", "adam", "--schedule", "constant", "--warmup", "0", "--steps", "100000"]
    argv += [str(data / word) if before == "--data-root" else word for before, word in pairs(WORKS[work])]
    argv += ["--precision", precision] if precision else []
    task_type, default = task_of(work)
    config, _ = parse(default, argv, None, quiet=True)
    sources = open_sources(config.train.data)
    config = infer_options(task_type, config, next(iter(sources.values())))
    torch.manual_seed(0)
    accelerator = create_accelerator(config.train)
    made = Engine(task_type(config.options), config, accelerator, sources)
    made.learner.use(made.learner.wrapped, training=True)
    return made


def pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(("", *words), words, strict=False))


def ours(made: Engine) -> Callable[[], None]:
    batches, number = made.batches.after(0), iter(range(1, 10**9))
    return lambda: void(made.learner.step(next(number), next(batches)))


def bare(made: Engine, task: Any, *, plain: bool) -> Callable[[], None]:
    """A loop without an engine over a copy of the task."""
    task.train()
    for name, network in task.networks().items():  # without accelerate's autocast around it
        setattr(task, name, made.accelerator.unwrap_model(network, keep_fp32_wrapper=False))
    if plain:
        task.to(memory_format=torch.contiguous_format)
    rate: dict[str, Any] = {"lr": made.options.optimization.lr}
    fused = None if plain else True
    optimizers = task.optimizers(lambda parameters, **own: torch.optim.Adam(parameters, **rate | own, fused=fused))
    parameters = {name: list(network.parameters()) for name, network in task.networks().items()}
    source = made.batches.after(0)
    batches = [Staged(batch, contiguous=plain) for batch in augmented(task, [next(source)[0] for _ in range(STAGED)])]
    low = made.accelerator.mixed_precision == "bf16" and not plain
    number = iter(range(10**9))

    def step() -> None:
        batch = batches[next(number) % STAGED]
        batch.turn = 0
        losses = task.training_step(batch)
        while True:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                name, terms = next(losses, ("", {}))
                if not name:
                    return
                loss = torch.stack(tuple(terms.values())).sum()
            loss.backward(inputs=parameters[name])
            if not plain:
                clip_grad_norm_(parameters[name], made.options.optimization.clip_norm or float("inf"))
            optimizers[name].step()
            optimizers[name].zero_grad()

    return step


def augmented(task: Any, batches: list[Batch]) -> list[Batch]:
    """What the task's augmentation makes of `batches`; then the task leaves it out. (A GAN's is part of its losses.)"""
    if isinstance(task, Classify | ImageToImage):
        batches = [task.augment(batch) for batch in batches]
        task.augment = lambda batch: batch
    return batches


def void(_: object) -> None: ...


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds a step, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(5):
            step()
    for number in range(rounds):
        for name in list(steps)[:: -1 if number % 2 else 1]:
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < BLOCK_S:
                steps[name]()
                count += 1
            seconds[name].append((time.perf_counter() - start) / count)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", action="append", choices=list(WORKS), help="default: all of them")
    parser.add_argument("--precision", choices=["bf16"])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    precision = arguments.precision or "fp32"
    shown = Table(
        f"{precision}, {torch.get_num_threads()} threads", "samples/s", "to tuned", "to plain", "least … most"
    )
    for work in arguments.work or WORKS:
        if work == "superres":
            make_photographs(arguments.data.resolve(), "png")
        made = engine(work, arguments.data.resolve(), arguments.precision)
        tasks = copy.deepcopy(made.task), copy.deepcopy(made.task)
        steps = {
            "ours": ours(made),
            "tuned": bare(made, tasks[0], plain=False),
            "plain": bare(made, tasks[1], plain=True),
        }
        seconds = measure(steps, arguments.rounds)
        ratios = {
            name: [other / own for own, other in zip(seconds["ours"], seconds[name], strict=True)] for name in steps
        }
        speed = made.options.optimization.batch_size / statistics.median(seconds["ours"])
        spread = f"{min(ratios['tuned']):.2f} … {max(ratios['tuned']):.2f}"
        medians = [f"{statistics.median(ratios[name]):.2f}" for name in ("tuned", "plain")]
        shown.add_row(work, f"{speed:.0f}", *medians, spread)
    Console().print(shown)


if __name__ == "__main__":
    main()
