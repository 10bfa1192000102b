"""The share of a training's time that validations take, by task, where --eval-every is left to launchbay.

    python benchmarks/validation.py [--data DATA] [--trained 30] [--steps 100 200 300 400] [TASK...]

A run of few steps with two validations says what a step and a validation take; how many validations runs of other
lengths have, launchbay says. Without DATA, which has MNIST and CIFAR-10, the tasks have their own data. CPU seconds of
one thread each; a validation draws pictures, writes them and the report too. dcgan and vae are given no judge.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from math import ceil
from typing import NoReturn
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from launchbay.launch.engine.interval import eval_every
from launchbay.launch.engine.loop import Engine
from launchbay.launch.train import main

REAL = {"classify": "cifar10", "denoise": "cifar10", "reconstruct": "cifar10", "vae": "mnist", "unmix": "mixture"}
"""Data of tasks that are measured on real pictures, if there are any."""
TASKS = (*REAL, "superres", "dcgan")


@dataclass
class Measured:
    """When the validations of a run began and ended, in CPU seconds, and how many steps are between two of them in
    longer runs.
    """

    trained: int
    begun: list[float] = field(default_factory=list[float])
    ended: list[float] = field(default_factory=list[float])
    every: dict[int, int] = field(default_factory=dict[int, int])
    """By length; the last one is that of the task."""

    def step(self) -> float:
        return (self.begun[1] - self.ended[0]) / (self.trained / 2)

    def validations(self, count: int) -> float:
        """Return what `count` of them take. The first one imports what it draws with, the last one draws more."""
        first, last = (end - begin for begin, end in zip(self.begun, self.ended, strict=True))
        return last + first + (count - 2) * min(first, last) if count > 1 else max(first, last)

    def share(self, steps: int) -> tuple[int, float]:
        """Return how many validations a run of `steps` has, and what share of its time they take."""
        count = ceil(steps / self.every[steps])
        return count, self.validations(count) / (self.validations(count) + steps * self.step())


def measure(task: str, trained: int, lengths: list[int], data: str | None) -> Measured:
    """Train `task` for `trained` steps, with a validation in the middle and one at the end."""
    argv = ["--task", task, "--wandb", "off"]
    if data and task in REAL:
        argv += ["--data", REAL[task], "--data-root", data]
    found, validate = Measured(trained), Engine.validate

    def plan(engine: Engine, *_: object) -> NoReturn:
        """Say where runs of all lengths validate, instead of training."""
        given = len(engine.learner.networks), engine.options.optimization, engine.training_set, engine.validation_sets
        found.every = {steps: eval_every(steps, *given) for steps in (*lengths, engine.steps)}
        sys.exit(0)

    def timed(engine: Engine) -> bool:
        found.begun.append(time.process_time())
        try:
            return validate(engine)
        finally:
            found.ended.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with patch.object(Engine, "fit", plan):
            code = main(argv)
        with patch.object(Engine, "validate", timed):
            code = code or main([*argv, "--steps", str(trained), "--eval-every", str(trained // 2)])
    if code:
        sys.exit(code)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--data")
    parser.add_argument("--trained", type=int, default=30)
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 200, 300, 400])
    arguments = parser.parse_args()
    table = Table(
        "task", "a step, ms", "a validation, s", *(f"{steps} steps" for steps in arguments.steps), "its own length"
    )
    for task in arguments.tasks:
        found = measure(task, arguments.trained, arguments.steps, arguments.data)
        *lengths, own = [(steps, *found.share(steps)) for steps in (*arguments.steps, [*found.every][-1])]
        cells = [f"{count}: {100 * share:.1f} %" for _, count, share in lengths]
        whole = f"{found.validations(1):.2f}"
        table.add_row(
            task, f"{1000 * found.step():.0f}", whole, *cells, f"{own[0]:,} steps, {own[1]}: {100 * own[2]:.1f} %"
        )
    Console(width=140).print(table)
