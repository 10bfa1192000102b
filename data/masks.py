"""Masks: pictures whose values say what each pixel is, and are never changed."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from launchbay import UserError
from launchbay.data.archives import Item, Place
from launchbay.data.base import digest
from launchbay.data.decode import opened, reason_of
from launchbay.data.files import SKIPPING
from launchbay.data.reading import Paths, examine
from launchbay.data.words import plain_name


class NoMask(ValueError):
    """A picture that is whole, but no mask."""


class Masks:
    """The masks at the place `root` that are called `names`; why some cannot be read is in `problems`, why others are
    no masks, as far as that is known, in `refused`.

    Args:
        keep: decode them now, and keep them.
    """

    def __init__(self, root: Place, names: Sequence[str], *, keep: bool):
        self.files = Paths(root, names)
        self.headers, self.problems = examine(root, names)
        self.uniform = self.headers.are_uniform()
        self.refused = dict[str, str]()
        self.kept: list[Tensor] | None = None
        if keep or SKIPPING.get():
            good = [(name, self.files[place]) for place, name in enumerate(names) if name not in self.problems]
            kept = list[Tensor]()
            for name, file in good:
                mask = self._keep(name, file)
                kept += [mask] if keep else []
            self.kept = kept if keep and not self.problems else None

    def _keep(self, name: str, file: Item) -> Tensor:
        try:
            return read_mask(file)
        except NoMask as error:
            self.refused[name] = str(error)
            return torch.empty(0)
        except Exception as error:  # whatever bytes make of Pillow
            self.problems[name] = reason_of(error)
            return torch.empty(0)

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width)."""
        return self.headers[index].height, self.headers[index].width

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (height, width) of each mask, by its name."""
        return {name: self.size(index) for index, name in enumerate(self.files.names)}

    def name(self, index: int) -> str:
        """Return the path of a mask."""
        return plain_name(self.files[index])

    def fingerprint(self) -> str:
        """Return what tells these from others: their names and the sizes of their files."""
        return digest(
            *(
                part
                for name, header in zip(self.files.names, self.headers, strict=True)
                for part in (name, header.bytes)
            )
        )

    def image(self, index: int) -> Tensor:
        """Return a mask: uint8 H×W, int32 if it has more than 8 bits.

        Raises:
            UserError: it is none.
        """
        if self.kept is not None:
            return self.kept[index]
        try:
            return read_mask(self.files[index])
        except Exception as error:
            said = f"cannot read the mask {self.name(index)}: {reason_of(error)}"
            raise UserError(said, "repair it, or take it away with its picture") from error


def read_mask(file: Item) -> Tensor:
    """Return the grey or palette values of a mask as they are, H×W; what is wrong with it is raised as it is found.

    Raises:
        NoMask: it has colours, or values that were changed when it was saved.
    """
    with opened(file) as (image, _):
        if image.format == "JPEG":
            raise NoMask("JPEG changes the values of a mask: save it as PNG")
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(("RGB", "LA", "PA")):
            upright = one_channel(upright)
        if upright.mode not in ("1", "L", "P") and not upright.mode.startswith("I"):
            raise NoMask(f"it has colours ({upright.mode}): the values of a mask are grey or of a palette")
        values = np.asarray(upright)
        return torch.from_numpy(values.astype(np.int32 if upright.mode.startswith("I") else np.uint8))


def one_channel(image: Image.Image) -> Image.Image:
    """Return the one channel of grey values that were saved as colours; `image` if it has any."""
    channels = [np.asarray(channel) for channel in image.split()][: 3 if image.mode.startswith("RGB") else 1]
    return Image.fromarray(channels[0]) if all(np.array_equal(channels[0], each) for each in channels) else image
