"""One picture file -> one uint8 RGB tensor. Every way in which a file can be wrong is named here."""

import os
import stat
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from ctypes import CDLL
from functools import partial
from logging import NullHandler, getLogger
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from launchbay import UserError
from launchbay.data.archives import Content, Item, Unreachable
from launchbay.data.formats import FORMATS, missing, other_content
from launchbay.data.words import plain_name

TURNED: dict[int, Callable[[NDArray[np.generic]], NDArray[np.generic]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}
"""A view of an upright picture as the camera held it, by EXIF's orientation. Any other value says nothing."""
ODD = -1
"""In place of an orientation that is none."""
STRIP, LARGE = 2**22, 2**24
"""Pixels that are turned into RGB at a time; pictures with more than `LARGE` are decoded one at a time."""
WIDTH_TAG, HEIGHT_TAG, BITS_TAG, PHOTOMETRIC_TAG, ORIENTATION_TAG = 0x0100, 0x0101, 0x0102, 0x0106, 0x0112
WHITE_IS_ZERO = 0
KIND_TAG, SIGNED = 0x0153, 2
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of pictures without colour."""
one_large = Lock()
"""Held by the thread that decodes a large picture: several at once would take a multiple of the memory."""

# What cannot be used is refused by name. Pillow also warns: of pictures of half the size that it refuses, of EXIF that
# it cannot read; and libtiff, which it brings along, prints whatever it finds.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL|pillow_heif")
getLogger("PIL").addHandler(NullHandler())
with suppress(AttributeError, OSError):  # a libtiff that is built in cannot be reached
    CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


class Header(NamedTuple):
    """What is known of a picture before it is decoded: its sides, upright, the bytes of its file, whether it is without
    colour, and whether its EXIF has an orientation that is none.
    """

    height: int
    width: int
    bytes: int
    grey: bool
    odd: bool = False


def decode(path: Item) -> Tensor:
    """Return the picture in `path` as uint8, 3×H×W, upright.

    Grey pictures get three equal channels, 16-bit ones are scaled to 8 bits, transparency is dropped, of an animation
    the first picture is taken.

    Raises:
        UserError: the file is missing, empty, cut short or not a picture; it is named.
    """
    try:
        return torch.from_numpy(pixels_of(path)).permute(2, 0, 1)
    except Exception as error:
        raise unreadable(path, error) from error


def pixels_of(path: Item | str, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the picture in `path` as `decode` does, H×W×3, written to `into` if that is given; what is wrong with it
    is raised as it is found. It takes some 4 to 8 bytes per pixel beside what it returns.

    Raises:
        ValueError: `into` is of another shape.
    """
    with opened(path) as (image, _), one_large if image.width * image.height > LARGE else nullcontext():
        values_of, said = meaning(image), image.size
        image.load()
        if image.size != said and not tiff_tags(image):  # a TIFF that is turned has changed its sides
            raise ValueError(f"it has {image.width}×{image.height} pixels, but {said[0]}×{said[1]} by its header")
        turn = orientation(image.getexif)
        height, width = (image.width, image.height) if turn >= 5 else (image.height, image.width)
        upright = np.empty((height, width, 3), np.uint8) if into is None else into
        if upright.shape != (height, width, 3):
            expected = f"{upright.shape[1]}×{upright.shape[0]}"
            raise ValueError(f"it has {width}×{height} pixels, but {expected} by its header when that was read")
        held = TURNED[turn](upright) if turn in TURNED else upright
        rows = max(1, STRIP // image.width)
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            strip = image if rows >= image.height else image.crop((0, top, image.width, bottom))
            held[top:bottom] = values_of(strip)
        return upright


def meaning(image: Image.Image) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Return what makes of the pixels of `image`, or of a strip of it, H×W×3 of RGB or H×W×1 of grey.

    Raises:
        ValueError: nobody knows which of its values are black and white.
    """
    tags = tiff_tags(image)
    is_signed = SIGNED in tags.get(KIND_TAG, ())
    if not image.mode.startswith(("I", "F")) and not is_signed:
        return in_colour
    if image.mode == "F" or (image.mode == "I" and tags) or is_signed:
        kind = "floating point numbers" if image.mode == "F" else "signed numbers, or of 32 bits"
        raise ValueError(f"its values are {kind}, which do not say what is black and what white: save 8 or 16 bits")
    white = 4095 if tags.get(BITS_TAG) in (12, (12,)) else 65535  # of a PNG or PPM Pillow makes 16 bits
    black, white = (white, 0) if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO else (0, white)
    return partial(in_grey, black=black, white=white)


def in_colour(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of `image` as RGB, H×W×3."""
    if image.mode == "La":
        image = image.convert("LA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def in_grey(image: Image.Image, *, black: int, white: int) -> NDArray[np.uint8]:
    """Return the pixels of `image`, of more than 8 bits, as H×W×1: `black` becomes 0, `white` 255."""
    scaled = (np.asarray(image).astype(np.float32) - black) * (255 / (white - black))
    return scaled.round().clip(0, 255).astype(np.uint8)[..., None]


def read_header(path: Item | str) -> Header:
    """Return what the head of the file `path` says, without decoding it; what is wrong with it is raised as it is
    found.
    """
    with opened(path) as (image, size):
        width, height = image.size
        # A PNG's own `getexif` decodes it, for what may stand behind the pixels.
        png = image.fp if image.format == "PNG" else None
        is_brief = png is not None and not says_more_at_its_end(png)
        turn = orientation(lambda: Image.Image.getexif(image) if is_brief else image.getexif())
        if tags := tiff_tags(image):  # whose `size` is that of the upright picture or not, as Pillow's version has it
            width, height = int(tags[WIDTH_TAG]), int(tags[HEIGHT_TAG])
        sides = (width, height) if turn >= 5 else (height, width)
        return Header(*sides, size, image.mode in GREY, turn == ODD)


@contextmanager
def opened(path: Item | str) -> Generator[tuple[ImageFile.ImageFile, int]]:
    """Open the picture `path`, of whose pixels nothing is decoded yet, and say how many bytes its file has."""
    with open_regular(path) as (file, size):
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            file.seek(0)
            head = file.read(64)
            file.seek(0)
            if said := other_content(head):
                raise ValueError(said) from None
            if head[4:8] != b"ftyp" or "HEIF" in missing():
                raise
            import pillow_heif

            pillow_heif.register_heif_opener()
            image = Image.open(file, formats=("HEIF",))
        with image:
            yield image, size


def count_frames(path: Item) -> int:
    """Return how many pictures are in the file `path`, of which the first is read; 1 if that cannot be told."""
    try:
        with opened(path) as (image, _):
            return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever bytes make of Pillow: what is wrong is told when it is decoded
        return 1


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """Return what a TIFF says of itself, by tag; nothing of another picture."""
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def orientation(exif: Callable[[], Image.Exif]) -> int:
    """Return EXIF's orientation of a picture, 1 where it says none, `ODD` where it says what nobody understands."""
    try:
        value = exif().get(ORIENTATION_TAG, 1)
        is_plain = isinstance(value, int) and 0 <= value <= 8
        return max(1, value) if is_plain else ODD
    except Exception:  # whatever its bytes make of Pillow's parser
        return ODD


@contextmanager
def open_regular(path: Item | str) -> Generator[tuple[BinaryIO, int]]:
    """Open the file `path`, of a folder or an archive, and say how many bytes it has. A pipe, which would be waited
    for, or a device is refused.

    Raises:
        ValueError: it is no regular file.
        OSError: it cannot be opened.
    """
    if isinstance(path, Content):
        file, size = path.open()
        if not size:
            raise ValueError("it is empty")
        with file:
            yield file, size
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        if (link := Path(path)).is_symlink():
            raise ValueError(f"it is a link to {link.readlink()}, which is not there") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode):
            raise ValueError("it is no regular file")
        if not known.st_size:
            raise ValueError("it is empty")
        yield file, known.st_size


def says_more_at_its_end(png: IO[bytes]) -> bool:
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
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: cut it into several pictures"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UserError | ValueError | OSError) and str(error):
        return plain_name(str(error))
    return f"its content is damaged ({plain_name(f'{type(error).__name__}: {error}')})"


def unreadable(path: Item, error: Exception) -> UserError:
    """Return what to tell a person about `path`, which gave `error`."""
    if isinstance(error, Unreachable):
        hint = "look after the network and the disk; then the same command goes on from the last checkpoint"
        return UserError(plain_name(error), hint)
    said = f"cannot read the picture {plain_name(path)}: {reason_of(error)}"
    return UserError(said, path.remedy if isinstance(path, Content) else "repair it or take it out of the folder")
