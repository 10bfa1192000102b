"""Data sets, transforms and augmentation, the order of samples, batches. No tasks, no networks."""

from launchbay.data.augment import dihedral, warp
from launchbay.data.base import ImageSet, Load, LoadOptions, count_classes, patch_of, side_of
from launchbay.data.folder import Folder, find_pictures
from launchbay.data.glyphs import Glyphs
from launchbay.data.pairs import Pairs
from launchbay.data.photos import Photos
from launchbay.data.randomness import Index, generator, key

__all__ = [
    "Folder",
    "Glyphs",
    "ImageSet",
    "Index",
    "Load",
    "LoadOptions",
    "Pairs",
    "Photos",
    "count_classes",
    "dihedral",
    "find_pictures",
    "generator",
    "key",
    "patch_of",
    "side_of",
    "warp",
]
