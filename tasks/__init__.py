"""The task interface and the tasks. Importing it loads no W&B, no tyro and no accelerate."""

from launchbay import API_VERSION
from launchbay.tasks.base import Batch, CreateOptimizer, Datasets, Losses, Task
from launchbay.tasks.generative import Generative
from launchbay.tasks.image_to_image import ImageToImage

__all__ = ["API_VERSION", "Batch", "CreateOptimizer", "Datasets", "Generative", "ImageToImage", "Losses", "Task"]
