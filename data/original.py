"""One picture file as it is: grey or in colour, 8 or 16 bits, with its transparency, colour profile and EXIF."""

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from launchbay.data.archives import Item
from launchbay.data.decode import (
    BITS_TAG,
    GREY,
    HEIGHT_TAG,
    ORIENTATION_TAG,
    PHOTOMETRIC_TAG,
    TURNED,
    WHITE_IS_ZERO,
    WIDTH_TAG,
    meaning,
    open_regular,
    opened,
    orientation,
    tiff_tags,
)

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
PNG_HEAD = struct.Struct(">8x8xIIBB")
"""Of a PNG: width, height, bits, kind of colour."""
WITH_COLOUR, WITH_ALPHA = 2, 4
"""Bits of a PNG's kind of colour."""
KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x8769, 0x8825)
"""Of a TIFF, what is about the picture, not about its file: description, camera, software, time, author, rights, EXIF
and place."""
DETAILS_TAG, PLACE_TAG = 0x8769, 0x8825
SIDE_TAGS = (0xA002, 0xA003)
"""Where EXIF says how large the picture was."""


@dataclass(frozen=True)
class Original:
    """What a file holds. `pixels` are upright, H×W×C in 8 or 16 bits: grey, grey and alpha, RGB, or RGBA (C = 1 to 4).
    `exif` says nothing of an orientation any more; it and `profile` are empty where there is none.
    """

    pixels: Pixels
    profile: bytes = b""
    exif: bytes = b""
    dropped: str = ""
    """What was left out, in words."""

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] in (2, 4)

    def profile_for(self, channels: int) -> bytes:
        """Return the profile for a result of so many channels: none, if one of the two is grey and the other is not."""
        return self.profile if (channels < 3) == (self.pixels.shape[2] < 3) else b""


def read_original(path: Item) -> Original:
    """Return the picture in `path`; what is wrong with it is raised as it is found."""
    with opened(path) as (image, _):
        deep = deep_png(path) if image.format == "PNG" else deep_tiff(path, image)
        profile, dropped = image.info.get("icc_profile") or b"", ""
        if profile and image.mode in ("CMYK", "LAB"):  # the pixels become RGB
            profile, dropped = b"", f"its {image.mode.replace('LAB', 'Lab')} profile: its colours are RGB now"
        pixels = values_of(image) if deep is None else deep
        turn, (exif, lost) = orientation(image.getexif), kept_exif(image)
        dropped += ", " * bool(dropped and lost) + lost
        if turn in TURNED:
            upright = np.empty_like(pixels, shape=(*(pixels.shape[:2][:: -1 if turn >= 5 else 1]), pixels.shape[2]))
            TURNED[turn](upright)[:] = pixels
            pixels = upright
        return Original(pixels, profile, exif, dropped)


def kept_exif(image: Image.Image) -> tuple[bytes, str]:
    """Return what EXIF says about the picture rather than its file, and what of that cannot be written again, in words.
    Orientation and sides are left out: a result is upright, and may be larger.
    """
    try:
        exif = image.getexif()
        details = exif.get_ifd(DETAILS_TAG)
        exif.get_ifd(PLACE_TAG)
    except Exception:  # whatever its bytes make of Pillow's parser
        return b"", "its EXIF, which cannot be read"
    of_file = [tag for tag in exif if tag not in KEPT_TAGS] if image.format == "TIFF" else [WIDTH_TAG, HEIGHT_TAG]
    for tag in (ORIENTATION_TAG, *of_file):
        exif.pop(tag, None)
    for tag in SIDE_TAGS:
        details.pop(tag, None)
    odd = [tag for tag in exif if tag not in (DETAILS_TAG, PLACE_TAG) and not can_be_written({tag: exif[tag]})]
    for tag in odd:
        del exif[tag]
    names = ", ".join(str(ExifTags.TAGS.get(tag, tag)) for tag in odd)
    try:
        return exif.tobytes() if len(exif) else b"", f"{names} of its EXIF" if odd else ""
    except Exception:  # something in its details that Pillow reads, and cannot write
        return b"", "its EXIF, which cannot be written again"


def can_be_written(tags: Mapping[int, object]) -> bool:
    exif = Image.Exif()
    exif.update(tags)
    try:
        exif.tobytes()
    except Exception:  # whatever Pillow makes of a value of another type than it has to be
        return False
    return True


def values_of(image: Image.Image) -> Pixels:
    """Return what Pillow decodes, in the fewest channels that hold it."""
    if image.mode.startswith(("I", "F")):
        return grey_of_16_bits(image)
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    kind = ("L" if image.mode in GREY else "RGB") + "A" * transparent
    if kind == "LA" and image.mode not in ("LA", "La"):  # Pillow makes a grey level transparent in RGBA alone
        image = image.convert("RGBA")
    values = np.asarray(image if image.mode == kind else image.convert(kind))
    return values.reshape(*values.shape[:2], -1)


def grey_of_16_bits(image: Image.Image) -> NDArray[np.uint16]:
    """Return grey of more than 8 bits, as H×W×1: 65535 is white."""
    meaning(image)  # refuses what nobody knows the white of
    tags = tiff_tags(image)
    white = 4095 if tags.get(BITS_TAG) in (12, (12,)) else 65535
    values = np.asarray(image).astype(np.float32) * (65535 / white)
    values = values.round().clip(0, 65535).astype(np.uint16)[..., None]
    return 65535 - values if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO else values


def deep_png(path: Item) -> NDArray[np.uint16] | None:
    """Return the 16 bits of a PNG in colour or with transparency, of which Pillow keeps 8; None of any other."""
    with open_regular(path) as (file, _):
        head = file.read(PNG_HEAD.size)
        _, _, bits, kind = PNG_HEAD.unpack(head)
        return decode_png(head, file) if bits == 16 and kind & (WITH_COLOUR | WITH_ALPHA) else None


def decode_png(head: bytes, file: BinaryIO) -> NDArray[np.uint16]:
    from torchvision.io import ImageReadMode, decode_image

    data = torch.frombuffer(bytearray(head + file.read()), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision says that another package will have this one day
        return decode_image(data, ImageReadMode.UNCHANGED).permute(1, 2, 0).contiguous().numpy()


def deep_tiff(path: Item, image: Image.Image) -> NDArray[np.uint16] | None:
    """Return the 16 bits of a TIFF in RGB or RGBA, of which Pillow keeps 8; None of any other picture."""
    tags = tiff_tags(image)
    if tags.get(BITS_TAG) not in ((16,) * 3, (16,) * 4) or tags.get(PHOTOMETRIC_TAG) != 2:
        return None
    import tifffile

    with open_regular(path) as (file, _):
        values = tifffile.imread(BytesIO(file.read()), key=0)
    return np.moveaxis(values, 0, -1) if tags.get(284) == 2 else values  # a plane for each channel
