"""What is wrong with pictures is told at once, of all sets that a task loads, and not one set after the other."""

from typing import Unpack

from launchbay.data.base import ImageSet, Load, LoadOptions
from launchbay.data.files import DamagedPictures
from launchbay.data.unsuitable import SmallPictures, UnsuitablePictures
from launchbay.data.words import listed


class Complaints:
    """Collects what is wrong with pictures, while the task loads its other sets."""

    def __init__(self) -> None:
        self.damaged: list[DamagedPictures] = []
        self.small: list[SmallPictures] = []

    def noting(self, load: Load) -> Load:
        """Return a `load` that gives something in place of a set with damaged or small pictures: nothing is trained."""

        def lenient(split: str, **options: Unpack[LoadOptions]) -> ImageSet:
            try:
                return load(split, **options)
            except DamagedPictures as error:
                self.damaged.append(error)
                if error.rest is None:
                    raise
                return error.rest
            except SmallPictures as error:
                self.small.append(error)
                return error.images

        return lenient

    def __bool__(self) -> bool:
        return bool(self.damaged or self.small)

    def tell(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            DamagedPictures: some cannot be read; others may be too small.
            UnsuitablePictures: some are too small.
        """
        needing = [*dict.fromkeys(line for error in self.small for line in error.needing())]
        if self.damaged:
            lines = dict.fromkeys(line for error in self.damaged for line in error.lines)
            first = self.damaged[0]
            raise DamagedPictures([*lines, *needing], None, first.where, first.remedy)
        if not self.small:
            return
        first = self.small[0]
        if {(error.smallest, error.option) for error in self.small} == {(first.smallest, first.option)}:
            lines = dict.fromkeys(line for error in self.small for line in error.lines)
            raise SmallPictures([*lines], first.images, first.smallest, first.option)
        said = f"{len(needing):,} pictures are too small:\n{listed(needing)}"
        raise UnsuitablePictures(said, first.hint, first.option)
