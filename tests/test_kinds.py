"""docs/own-data.md, "What the values of a picture mean": each row of the table is so.

A row names a kind of picture, and what its first pixel becomes: red, green and blue, or the words of a refusal. The
files are written here: who adds a row adds its writer to `KINDS`.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray
from PIL import Image
from raw_pictures import write_png, write_tiff

from launchbay import UserError
from launchbay.data import decode as decoding
from launchbay.data.decode import decode, read_header
from launchbay.data.folder import Folder
from launchbay.data.sources import Source

WIDTH, HEIGHT = 5, 7


def grey(value: float, dtype: str) -> NDArray[np.generic]:
    return np.full((HEIGHT, WIDTH), value, dtype)


def painted(mode: str, value: int | tuple[int, ...]) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT), value)


def tiff(pixels: NDArray[np.generic], **how: int) -> Callable[[], Path]:
    def write() -> Path:
        write_tiff(Path("1.tif"), pixels, **how)
        return Path("1.tif")

    return write


def saved(name: str, image: Callable[[], Image.Image]) -> Callable[[], Path]:
    def write() -> Path:
        image().save(name)
        return Path(name)

    return write


def with_palette() -> Image.Image:
    image = painted("P", 7)
    image.putpalette([0, 0, 0] * 7 + [255, 0, 0])
    return image


def pgm() -> Path:
    Path("1.pgm").write_bytes(f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + grey(2047, ">u2").tobytes())
    return Path("1.pgm")


def deep_png() -> Path:
    write_png(Path("1.png"), np.full((HEIGHT, WIDTH, 3), (25855, 0, 65535), np.uint16))
    return Path("1.png")


def turned() -> Path:
    """Red where the upper left is when it stands upright; the camera held it on its side."""
    upright = painted("RGB", (0, 0, 255))
    upright.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save("1.png", exif=exif)
    return Path("1.png")


def animated() -> Path:
    frames = [painted("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save("1.webp", save_all=True, append_images=frames[1:], lossless=True)
    return Path("1.webp")


def heic() -> Path:
    import pillow_heif

    pillow_heif.register_heif_opener()
    painted("RGB", (100, 100, 100)).save("1.heic", quality=-1)
    return Path("1.heic")


KINDS: dict[str, Callable[[], Path]] = {
    "grey": saved("1.png", lambda: painted("L", 100)),
    "black and white, 1 bit": saved("1.tif", lambda: painted("1", 1)),
    "16 bits": tiff(grey(25700, "<u2")),
    "12 bits, if the file says so": pgm,
    "12 bits, packed": tiff(grey(2047, "<u2"), bits=12),
    "12 bits among 16, if it does not": tiff(grey(2047, "<u2")),
    "16 bits in colour": deep_png,
    "TIFF in which white is zero": tiff(grey(0, "<u2"), photometric=0),
    "signed numbers": tiff(grey(100, "<i2"), photometric=1),
    "signed, 8 bits": tiff(grey(100, "i1")),
    "32 bits": tiff(grey(100, "<u4")),
    "floating point": tiff(grey(0.5, "<f4")),
    "palette": saved("1.gif", with_palette),
    "CMYK": saved("1.tif", lambda: painted("CMYK", (0, 255, 255, 0))),
    "transparent": saved("1.png", lambda: painted("RGBA", (255, 0, 0, 0))),
    "turned by EXIF": turned,
    "animated, or of several pages": animated,
    "HEIC": heic,
}


def rows() -> dict[str, str]:
    """Return what the table says of each kind."""
    page = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    section = page.partition("## What the values of a picture mean")[2].partition("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]
    return {kind: becomes for kind, _, becomes in cells}


def test_each_kind_is_in_the_table() -> None:
    assert list(rows()) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_page_says_of_each_kind_is_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (said,) = KINDS[kind](), re.findall(r"`([^`]+)`", rows()[kind])
    if not re.fullmatch(r"\d+ \d+ \d+", said):
        with pytest.raises(UserError, match=said):
            decode(path)
        return
    picture = decode(path)
    assert " ".join(map(str, picture[:, 0, 0].tolist())) == said
    header = read_header(path)
    assert picture.shape[1:] == (header.height, header.width) == (HEIGHT, WIDTH)
    monkeypatch.setattr(decoding, "STRIP", 2 * WIDTH)  # as pictures of many megapixels are read
    assert (decode(path) == picture).all()


def test_bits_that_a_file_is_silent_about_are_told() -> None:
    Path("imgs").mkdir()
    for number in range(3):
        write_tiff(Path(f"imgs/{number}.tif"), grey(1000 * number + 95, "<u2"))
    source = Source(Folder, Path("imgs"))
    source("train")
    assert "the brightest pixel of all pictures has 8 of 255" in source.describe()[1]
    write_tiff(Path("imgs/1.tif"), grey(9000, "<u2"))
    source = Source(Folder, Path("imgs"))
    source("train")
    assert len(source.describe()) == 1
