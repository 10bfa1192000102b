"""Evaluate sets of 1 to 17 samples in batches of 1 to 5, all in one launch: each process writes figures-RANK.json."""

import json
import os
from pathlib import Path

from torch import Tensor
from toys import Noise, NoOptions, Noticing

from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.accelerator import create_accelerator
from launchbay.launch.engine.evaluation import evaluate
from launchbay.launch.train import leave_processes
from launchbay.tasks import Batch

SIZES, BATCHES = range(1, 18), range(1, 6)


class Corners(Noticing):
    """The mean of one pixel; how many samples there are, and in which order, as Noticing has it."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"mean": batch.image[:, 0, 0, 0], "corner": batch.image[:, :, 0, 0]}


def figures() -> dict[str, dict[str, float]]:
    """{"SIZE BATCH": the figures}, the same on all processes."""
    shared = TrainOptions()
    accelerator, task = create_accelerator(shared), Corners(NoOptions()).eval()
    return {
        f"{size} {batch}": evaluate(task, Noise(size), accelerator, batch, shared).figures.own
        for size in SIZES
        for batch in BATCHES
    }


if __name__ == "__main__":
    found = figures()
    Path(f"figures-{os.environ['RANK']}.json").write_text(json.dumps(found))
    leave_processes()
