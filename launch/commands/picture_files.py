"""Picture files that are written: what each kind can hold, and how it is written whole."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from launchbay import UserError
from launchbay.data.formats import endings
from launchbay.launch.files import remedy, replacing

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
QUALITY = 95
"""Of JPEG, WebP and AVIF, where none is asked for."""


@dataclass(frozen=True)
class Kind:
    """What a format can hold."""

    alpha: bool
    deep: bool = False
    """16 bits."""
    lossy: bool = False


KINDS: Mapping[str, Kind] = {
    "PNG": Kind(alpha=True, deep=True),
    "TIFF": Kind(alpha=True, deep=True),
    "JPEG": Kind(alpha=False, lossy=True),
    "WEBP": Kind(alpha=True, lossy=True),
    "AVIF": Kind(alpha=True, lossy=True),
    "BMP": Kind(alpha=False),
    "PPM": Kind(alpha=False),
}


@cache
def writable() -> dict[str, str]:
    """Return the endings of pictures that can be written here, with their formats."""
    return {ending: name for ending, name in endings().items() if name in KINDS}


def kind_of(path: Path) -> Kind:
    """Return what the file `path` can hold, by its name.

    Raises:
        UserError: nothing that is known.
    """
    name = writable().get(path.suffix.lower())
    if name is None:
        said = f"what kind of picture is {path}?" if path.suffix else f"{path} has no ending, such as .png"
        raise UserError(said, f"can be written: {' '.join(writable())}")
    return KINDS[name]


class Canvas:
    """A picture that is filled part by part: `channels` are 1 to 4, of 8 bits or, if it is `deep`, 16."""

    def __init__(self, channels: int, height: int, width: int, *, deep: bool):
        self.channels, self.deep, self.shown = channels, deep, f"{width}×{height}"
        self.size = height, width
        self.values = np.empty((height, width, channels), np.uint16) if deep else None
        # Pillow's own memory: what it saves from a NumPy array is copied first.
        self.image = None if deep else Image.new(MODES[channels], (width, height))

    def put(self, part: Tensor, top: int, left: int) -> None:
        """Put C×h×w in [0, 1] at a place."""
        white = 65535 if self.deep else 255
        whole = (part.float().clamp(0, 1) * white).round()
        whole = whole if self.deep else whole.to(torch.uint8)  # a quarter of what is then moved
        values = whole.permute(1, 2, 0).contiguous().cpu().numpy()
        height, width = values.shape[:2]
        if self.values is not None:
            self.values[top : top + height, left : left + width] = values
            return
        assert self.image is not None
        self.image.paste(Image.fromarray(values[..., 0] if values.shape[2] == 1 else values), (left, top))

    def held_by(self, kind: Kind) -> "Canvas":
        """Return this, or what `kind` can hold of it: without transparency, or in 8 bits."""
        channels = self.channels - (0 if kind.alpha else 1 - self.channels % 2)
        if channels == self.channels and (kind.deep or not self.deep):
            return self
        values = self.values if self.values is not None else np.asarray(self.image).reshape(*self.size, -1)
        values = values[..., :channels]
        values = (values / 257).round().astype(np.uint8) if self.deep and not kind.deep else values
        other = Canvas(channels, *self.size, deep=self.deep and kind.deep)
        if other.deep:
            other.values = values.astype(np.uint16)
        else:
            other.image = Image.fromarray(np.ascontiguousarray(values[..., 0] if channels == 1 else values))
        return other


def write(canvas: Canvas, path: Path, *, profile: bytes = b"", exif: bytes = b"", quality: int | None = None) -> None:
    """Write what is on `canvas` to the file `path`, in place of what is there.

    Raises:
        UserError: it cannot be written.
    """
    name = writable()[path.suffix.lower()]
    beside: dict[str, bytes | int] = {"icc_profile": profile, "exif": exif}
    options = {key: value for key, value in beside.items() if value and name not in ("BMP", "PPM")}
    if KINDS[name].lossy:
        options["quality"] = quality or QUALITY
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if canvas.image is not None:
                canvas.image.save(temporary, format=name, **options)
            elif name == "PNG":
                assert canvas.values is not None
                write_deep_png(temporary, canvas.values, profile, exif)
            else:
                assert canvas.values is not None
                write_deep_tiff(temporary, canvas.values, profile)
    except (OSError, ValueError, struct.error) as error:
        hint = remedy(error) if isinstance(error, OSError) and error.errno else "name another kind of file"
        raise UserError(f"cannot write {path}: {error}", f"{hint}, or another place") from error


def write_deep_png(path: Path, values: NDArray[np.uint16], profile: bytes, exif: bytes) -> None:
    """Write H×W×C as a PNG of 16 bits, which Pillow cannot. Each row as its difference from the one above it."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
        if profile:
            PngImagePlugin.putchunk(file, b"iCCP", b"ICC\0\0" + zlib.compress(profile))
        if exif:
            PngImagePlugin.putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
        packer, above = zlib.compressobj(), np.zeros(width * channels * 2, np.uint8)
        for top in range(0, height, 256):
            rows = values[top : top + 256].astype(">u2").view(np.uint8).reshape(-1, above.size)
            lines = np.full((len(rows), above.size + 1), 2, np.uint8)
            lines[:, 1:] = rows - np.concatenate([above[None], rows[:-1]])
            PngImagePlugin.putchunk(file, b"IDAT", packer.compress(lines.tobytes()))
            above = rows[-1]
        PngImagePlugin.putchunk(file, b"IDAT", packer.flush())
        PngImagePlugin.putchunk(file, b"IEND", b"")


def write_deep_tiff(path: Path, values: NDArray[np.uint16], profile: bytes) -> None:
    """Write H×W×C as a TIFF of 16 bits, which Pillow cannot where it is in colour."""
    import tifffile

    channels = values.shape[2]
    more: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    tifffile.imwrite(
        path,
        values if channels > 1 else values[..., 0],
        photometric="rgb" if channels >= 3 else "minisblack",
        compression="zlib",
        iccprofile=profile or None,
        planarconfig="contig" if channels > 1 else None,
        metadata=None,
        **more,
    )
