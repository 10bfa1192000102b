"""How often a run validates: so that validations cost at most a tenth of its time. No clock is asked: a run that goes
on, or is done again on another machine, has to validate at the same steps, for they decide which checkpoint is best.
So the work is counted: how many pixels pass through networks.
"""

from collections.abc import Mapping
from math import ceil

from launchbay.data import ImageSet
from launchbay.data.loader import fetch
from launchbay.data.randomness import with_keys
from launchbay.launch.config.options import OptimizationOptions

TENTHS = 10
"""Parts of a training. At the end of each there is a validation, unless that would be too many."""
SHARE = 10
"""Of the training, that all validations cost at most one part of."""
PASSES = 3
"""Through each network, that learning from a pixel takes: forward, and backward, which costs two."""
LOOKS = 1.5
"""Passes that evaluating a pixel takes: forward, and figures."""
DRAWN = 1_300_000
"""Passes of one pixel that a validation costs besides: pictures, their files, the report. This and LOOKS are
fitted to what `python benchmarks/validation.py` measures, so that the built-in tasks keep to SHARE. A pass of one pixel
through the smallest takes some 130 ns on a core of a CPU, through the largest 5 µs.
"""


def eval_every(
    steps: int, networks: int, options: OptimizationOptions, training: ImageSet, validation: Mapping[str, ImageSet]
) -> int:
    """Return the steps between two validations of a training of so many `steps` and `networks`: a tenth of it, or so
    many more that all of them are at most a tenth of its work. The first picture of each set stands for all.
    """
    learnt = PASSES * networks * steps * options.batch_size * pixels(training, options.seed, "train")
    seen = sum(len(images) * pixels(images, options.seed, "val") for images in validation.values())
    count = int(learnt / (SHARE * (LOOKS * seen + DRAWN)))
    return ceil(steps / min(max(1, count), TENTHS))


def pixels(images: ImageSet, seed: int, split: str) -> int:
    """Return those of the first picture, as the task is given it."""
    height, width = fetch(images, with_keys([0], seed, split, [0])).values["image"].shape[-2:]
    return height * width
