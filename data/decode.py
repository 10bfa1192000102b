"""One picture file -> one uint8 RGB tensor. Every way in which a file can be wrong is named here."""

import os
import stat
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from launchbay import UserError
from launchbay.data.archives import Item, Member
from launchbay.data.words import plain_name

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is ever decoded, whatever a file is called: Pillow would hand others (EPS) to another program."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif")
"""How files of pictures are called."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What brings a picture upright that the camera held as EXIF's orientation says. Any other value says nothing."""
WIDTH_TAG, HEIGHT_TAG, ORIENTATION_TAG = 0x0100, 0x0101, 0x0112

# Pillow warns from half of the size that it refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Header(NamedTuple):
    """What is known of a picture before it is decoded: its sides, upright, and the bytes of its file."""

    height: int
    width: int
    bytes: int


def decode(path: Item) -> Tensor:
    """Return the picture in `path` as uint8, 3×H×W, upright.

    Grey pictures get three equal channels, 16-bit ones are scaled to 8 bits, transparency is dropped, of an animation
    the first picture is taken.

    Raises:
        UserError: the file is missing, empty, cut short or not a picture; it is named.
    """
    try:
        return torch.from_numpy(pixels_of(path).copy()).permute(2, 0, 1)
    except Exception as error:
        raise unreadable(path, error) from error


def pixels_of(path: Item | str) -> NDArray[np.uint8]:
    """Return the picture in `path` as `decode` does, H×W×3; what is wrong with it is raised as it is found."""
    with open_regular(path) as (file, _), Image.open(file, formats=FORMATS) as opened:
        opened.load()
        image = opened.transpose(UPRIGHT[turn]) if (turn := orientation(opened.getexif)) in UPRIGHT else opened
        if image.mode.startswith(("I", "F")):  # 16 bits; Pillow would clip them to 255
            values = np.asarray(image)
            if image.mode == "F" or values.min() < 0 or values.max() > 65535:
                raise ValueError("its values are neither of 8 nor of 16 bits")
            image = Image.fromarray((values.astype(np.float32) / 257).round().astype(np.uint8))
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_header(path: Item | str) -> Header:
    """Return what the head of the file `path` says, without decoding it; what is wrong with it is raised as it is
    found.
    """
    with open_regular(path) as (file, size), Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        # A PNG's own `getexif` decodes it, for what may stand behind the pixels.
        is_brief = image.format == "PNG" and not says_more_at_its_end(file)
        turn = orientation(lambda: Image.Image.getexif(image) if is_brief else image.getexif())
        if image.format == "TIFF":  # whose `size` is that of the upright picture or not, as Pillow's version has it
            exif = image.getexif()
            width, height = int(exif[WIDTH_TAG]), int(exif[HEIGHT_TAG])
        return Header(*((width, height) if turn >= 5 else (height, width)), size)


def orientation(exif: Callable[[], Image.Exif]) -> int:
    """Return EXIF's orientation of a picture, 1 where it says nothing that can be understood."""
    try:
        value = exif().get(ORIENTATION_TAG, 1)
        return value if isinstance(value, int) and value in UPRIGHT else 1
    except Exception:  # whatever its bytes make of Pillow's parser
        return 1


@contextmanager
def open_regular(path: Item | str) -> Generator[tuple[BinaryIO, int]]:
    """Open the file `path`, of a folder or an archive, and say how many bytes it has. A pipe, which would be waited
    for, or a device is refused.

    Raises:
        ValueError: it is no regular file.
        OSError: it cannot be opened.
    """
    if isinstance(path, Member):
        file, size = path.open()
        if not size:
            raise ValueError("it is empty")
        with file:
            yield file, size
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode):
            raise ValueError("it is no regular file")
        if not known.st_size:
            raise ValueError("it is empty")
        yield file, known.st_size


def says_more_at_its_end(png: BinaryIO) -> bool:
    """Return whether anything stands behind the pixels of a PNG file, which is left where it was."""
    before = png.tell()
    png.seek(len(b"\x89PNG\r\n\x1a\n"))
    kinds = []
    while len(head := png.read(8)) == 8:
        kinds.append(head[4:])
        png.seek(int.from_bytes(head[:4], "big") + len(b"CRC."), os.SEEK_CUR)
    png.seek(before)
    behind = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else kinds
    return not set(behind) <= {b"IDAT", b"IEND"}


def reason_of(error: Exception) -> str:
    """Return in words why a picture could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return f"Pillow does not recognise its content as one of {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UserError | ValueError | OSError) and str(error):
        return plain_name(str(error))
    return f"its content is damaged ({plain_name(f'{type(error).__name__}: {error}')})"


def unreadable(path: Item, error: Exception) -> UserError:
    """Return what to tell a person about `path`, which gave `error`."""
    said = f"cannot read the picture {plain_name(path)}: {reason_of(error)}"
    return UserError(said, "repair it or take it out of the folder")
