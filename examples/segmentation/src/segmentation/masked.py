"""Your own pictures, and masks that you have drawn for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from launchbay import UserError
from launchbay.data import Folder
from PIL import Image
from torch import Tensor

from . import VOID


class Masked(Folder):
    """Pictures in DIR/images; for each a mask in DIR/masks, a PNG of the same name and size, whose grey or palette
    values are numbers of classes, or 255 for none. DIR/classes.txt has the names of the classes, one a line, that of
    the background first. Every tenth picture is for validation.

    Raises:
        UserError: something of this is not there or not so.
    """

    masks = ("mask",)

    def __init__(self, split: str, root: Path | None = None):
        hint = "give with --data-root a folder that has images/, masks/ and classes.txt, the names of the classes"
        if root is None:
            raise UserError("--data masked does not say which folder", hint)
        if not (root / "classes.txt").is_file():
            raise UserError(f"there is no {root / 'classes.txt'}", hint)
        super().__init__(split, root / "images")
        self.classes = tuple((root / "classes.txt").read_text(encoding="utf-8").splitlines())
        self.mask_root = root / "masks"

    def label(self, index: int) -> None:
        return None

    def mask(self, index: int) -> Tensor:
        """Return the mask of a picture: int64 H×W."""
        path = self.mask_root / self.files[index].relative_to(self.root).with_suffix(".png")
        try:
            with Image.open(path, formats=["PNG"]) as file:
                mask = torch.from_numpy(np.array(file)).long()
        except OSError as error:
            raise UserError(
                f"cannot read the mask {path}: {error.strerror or error}", "each picture needs one"
            ) from error
        hint = "its values are numbers of classes: 0 for the first name in classes.txt, and so on"
        if mask.ndim != 2:
            raise UserError(f"the mask {path} has colours", hint)
        if unknown := mask[(mask >= len(self.classes)) & (mask != VOID)].tolist():
            raise UserError(f"the mask {path} has the class {unknown[0]}, but there are {len(self.classes)}", hint)
        return mask

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return {**super().__getitems__(indices), "mask": torch.stack([self.mask(index) for index in indices])}
