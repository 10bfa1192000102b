"""Which formats of pictures are read, how their files are called, and what reads those that cannot be read here."""

from functools import cache
from importlib.util import find_spec

from PIL import features

ENDINGS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""How files are called, by format. No other format is ever decoded, whatever a file is called: Pillow would hand some
(EPS) to another program."""
FORMATS = tuple(name for name in ENDINGS if name != "HEIF")
"""Those that Pillow itself reads."""
WHAT_READS = {"AVIF": "Pillow 11.3 or newer", "HEIF": "pip install 'launchbay[heif]'", "WEBP": "a Pillow with WebP"}
"""What reads a format that is not read everywhere."""
OTHER_CONTENT = {
    b"version https://git-lfs": "it is only a pointer to a picture: fetch that with git lfs pull",
    b"<!doctype html": "it is a web page, perhaps in place of a download that failed",
    b"<html": "it is a web page, perhaps in place of a download that failed",
}
"""What is often found in place of a picture, by how its bytes begin, in small letters."""


@cache
def missing() -> dict[str, str]:
    """Return the formats that cannot be read on this machine, and what reads them."""
    there = {"HEIF": find_spec("pillow_heif"), "AVIF": features.check("avif"), "WEBP": features.check("webp")}
    return {name: what for name, what in WHAT_READS.items() if not there[name]}


@cache
def endings() -> dict[str, str]:
    """Return the endings of pictures that can be read here, with their formats."""
    return {ending: name for name, each in ENDINGS.items() if name not in missing() for ending in each}


@cache
def unread_endings() -> dict[str, str]:
    """Return the endings of pictures that cannot be read here, with what reads them."""
    return {ending: what for name, what in missing().items() for ending in ENDINGS[name]}


def other_content(head: bytes) -> str:
    """Return what else a file is that begins with the bytes `head`, and is no picture that can be read here; empty
    where that is not known.
    """
    if head[4:8] == b"ftyp":
        heif, avif = missing().get("HEIF"), missing().get("AVIF")
        if heif and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
            return f"it is HEIC: {heif} reads it"
        if avif and head[8:12] in (b"avif", b"avis"):
            return f"it is AVIF: {avif} reads it"
    return next((said for start, said in OTHER_CONTENT.items() if head.lower().startswith(start)), "")
