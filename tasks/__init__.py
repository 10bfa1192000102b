"""The task interface and the tasks. Importing it loads no W&B, no tyro and no accelerate."""

from launchbay import API_VERSION
from launchbay.tasks.answers import Answer, Classes, Pictures
from launchbay.tasks.base import Batch, CreateOptimizer, Datasets, Losses, Moment, Task
from launchbay.tasks.generative import Generative
from launchbay.tasks.image_to_image import ImageToImage
from launchbay.tasks.options import Mark
from launchbay.tasks.teachers import follow

__all__ = [
    "API_VERSION",
    "Answer",
    "Batch",
    "Classes",
    "CreateOptimizer",
    "Datasets",
    "Generative",
    "ImageToImage",
    "Losses",
    "Mark",
    "Moment",
    "Pictures",
    "Task",
    "follow",
]
