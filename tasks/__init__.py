"""What to learn. A plugin author needs this import only: no W&B, no tyro, no accelerate comes with it."""

from launchbay.tasks.base import Batch, CreateOptimizer, Datasets, ImageToImage, Losses, Task

__all__ = ["Batch", "CreateOptimizer", "Datasets", "ImageToImage", "Losses", "Task"]
