"""Pictures that are not as a task needs them, by name."""

from collections.abc import Sequence

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.words import listed, some_of


class UnsuitablePictures(UserError):
    """Pictures that are not as `load` was asked for: `option` is what it was asked for, "crop", "channels" or nothing
    that a task chooses. Who knows the task's own options can give a better hint.
    """

    essential: tuple[str, ...] = ()
    """What the data set makes no sense without."""

    def __init__(self, message: str, hint: str, option: str = "", channels: int = 0, split: str = ""):
        super().__init__(message, hint)
        self.option, self.channels, self.split = option, channels, split


class SmallPictures(UnsuitablePictures):
    """Some of `images` have fewer than `smallest` pixels in width or height: `lines` has one for each."""

    def __init__(self, lines: Sequence[str], images: ImageSet, smallest: int, option: str = ""):
        self.lines, self.images, self.smallest = lines, images, smallest
        said = f"{lines[0]}, but {smallest}×{smallest} are needed"
        if len(lines) > 1:
            said = f"{len(lines):,} pictures have fewer than the {smallest}×{smallest} pixels needed:\n{listed(lines)}"
        super().__init__(said, "leave small pictures out", option)

    def needing(self) -> list[str]:
        """Return the lines with how many pixels are needed."""
        return [f"{line}, but {self.smallest}×{self.smallest} are needed" for line in self.lines]


def check_sizes(images: ImageSet, smallest: int, option: str = "") -> None:
    """Raise SmallPictures if pictures have fewer than `smallest` pixels in width or height; they are named."""
    if small := small_pictures(images, smallest):
        raise SmallPictures(small, images, smallest, option)


def small_pictures(images: ImageSet, smallest: int) -> list[str]:
    """Return a line for each picture with fewer than `smallest` pixels in width or height; where all have one size, for
    the first.
    """
    places = range(1 if images.uniform else len(images))
    sizes = ((place, *images.size(place)) for place in places)
    return [f"{images.name(n)} has {w}×{h} pixels" for n, h, w in sizes if min(h, w) < smallest]


def check_one_size(images: ImageSet) -> None:
    """Raise UnsuitablePictures if some of what belongs to a picture is smaller, and cannot be brought to its size."""
    if images.scales:
        said = f"the data set gives {some_of(tuple(images.scales))} in another size than its pictures"
        raise UnsuitablePictures(said, "choose a task that does not bring all pictures to one size")
