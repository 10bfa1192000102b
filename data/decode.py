"""One picture file -> one uint8 RGB tensor. Every way in which a file can be wrong is named here."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from launchbay import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def decode(path: Path) -> Tensor:
    """Return the picture in `path` as uint8, 3×H×W, upright.

    Grey pictures get three equal channels, 16-bit ones are scaled to 8 bits, transparency is dropped.

    Raises:
        UserError: the file is missing, empty, cut short or not a picture; it is named.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith(("I", "F")):  # 16 bits; Pillow would clip them to 255
                values = np.asarray(image)
                if image.mode == "F" or values.min() < 0 or values.max() > 65535:
                    raise ValueError("its values are neither of 8 nor of 16 bits")
                image = Image.fromarray((values.astype(np.float32) / 257).round().astype(np.uint8))
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except UnidentifiedImageError:
        reason = "it is empty" if path.stat().st_size == 0 else "Pillow does not recognise its content as a picture"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error)
    raise UserError(f"cannot read the picture {path}: {reason}", "repair it or take it out of the folder")
