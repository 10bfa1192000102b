"""The share of a training's time that validations take, by task, where --eval-every is left to launchbay.

    python benchmarks/validation.py [--data DATA] [--steps 400] [TASK...]

DATA has MNIST and CIFAR-10; without it the tasks have their own data. CPU seconds of one thread each; a validation
draws pictures too. dcgan and vae are given no judge.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

from launchbay.launch.engine.loop import Engine
from launchbay.launch.train import main

REAL = {"classify": "cifar10", "denoise": "cifar10", "reconstruct": "cifar10", "vae": "mnist", "unmix": "mixture"}
"""Data of tasks that are measured on real pictures, if there are any."""
TASKS = (*REAL, "superres", "dcgan")


def measure(task: str, steps: int, data: str | None) -> tuple[float, float, int]:
    """Return the CPU seconds of a run, those of its validations, and their number."""
    spent, validate = list[float](), Engine.validate

    def timed(engine: Engine) -> bool:
        begin = time.process_time()
        try:
            return validate(engine)
        finally:
            spent.append(time.process_time() - begin)

    argv = ["--task", task, "--steps", str(steps), "--wandb", "off"]
    if data and task in REAL:
        argv += ["--data", REAL[task], "--data-root", data]
    Engine.validate = timed
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        code = main(argv)
    Engine.validate = validate
    if code:
        sys.exit(code)
    return time.process_time() - begin, sum(spent), len(spent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    table = Table("task", "steps", "CPU s", "validations", "share")
    for task in arguments.tasks:
        whole, part, count = measure(task, arguments.steps, arguments.data)
        table.add_row(task, str(arguments.steps), f"{whole:.1f}", str(count), f"{100 * part / whole:.1f} %")
    Console().print(table)
