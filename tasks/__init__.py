"""The task interface and the tasks. Importing it loads no W&B, no tyro and no accelerate."""

from launchbay.tasks.base import Batch, CreateOptimizer, Datasets, Losses, Task
from launchbay.tasks.generative import Generative
from launchbay.tasks.image_to_image import ImageToImage
from launchbay.tasks.teachers import follow

__all__ = [
    "API_VERSION",
    "Batch",
    "CreateOptimizer",
    "Datasets",
    "Generative",
    "ImageToImage",
    "Losses",
    "Task",
    "follow",
]

API_VERSION = 2
"""Version of what a plugin may rely on: what this package, `launchbay.data` and `launchbay.testing` export, with
its public members; tests/public.txt lists them. Raised when something goes or changes, not when something comes."""
