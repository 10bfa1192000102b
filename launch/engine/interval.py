"""How often a run validates: so that validations cost at most a tenth of its time. No clock is asked: a run that goes
on, or is done again on another machine, has to validate at the same steps, for they decide which checkpoint is best.
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
"""A validation costs at most one part in so many of the training since the one before."""
PASSES = 3
"""Through a network, that learning from a pixel takes: forward, and backward, which costs two. Validation takes one."""


def eval_every(steps: int, options: OptimizationOptions, training: ImageSet, validation: Mapping[str, ImageSet]) -> int:
    """Return the steps between two validations: a tenth of the `steps`, or so many tenths that the pixels of
    `validation` are at most a tenth of those that pass through a network meanwhile. The first picture of each set
    stands for all.
    """
    learnt = PASSES * steps * options.batch_size * pixels(training, options.seed, "train")
    asked = sum(len(images) * pixels(images, options.seed, "val") for images in validation.values())
    return ceil(steps / TENTHS) * min(TENTHS, max(1, ceil(TENTHS * SHARE * asked / learnt)))


def pixels(images: ImageSet, seed: int, split: str) -> int:
    """Return those of the first picture, as the task is given it."""
    height, width = fetch(images, with_keys([0], seed, split, [0])).values["image"].shape[-2:]
    return height * width
