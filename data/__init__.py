"""Data sets, transforms and augmentation, the order of samples, batches. No tasks, no networks."""

from launchbay.data.augment import dihedral, warp
from launchbay.data.base import ImageSet, Load, LoadOptions, count_classes, patch_of, side_of
from launchbay.data.randomness import Index, generator, key

__all__ = [
    "ImageSet",
    "Index",
    "Load",
    "LoadOptions",
    "count_classes",
    "dihedral",
    "generator",
    "key",
    "patch_of",
    "side_of",
    "warp",
]
