"""Pictures of each format with some bytes changed, seeded: they are read or refused by name, and nothing else happens.

A failure shows its seed and the place in the sequence: `mutated` gives the same bytes again.
"""

import io
import random
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from launchbay import UserError
from launchbay.data.decode import Header, decode, pixels_of, read_header, reason_of

FORMATS: list[tuple[str, dict[str, object]]] = [
    ("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
    ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_deflate"}),
    ("BMP", {}), ("GIF", {}), ("AVIF", {}), ("HEIF", {}), ("PPM", {}),
]  # fmt: skip
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16")
PIXELS = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)
NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\1\0\0\0")
TURNED = struct.pack("<HHII", 0x0112, 3, 1, 6)
"""The orientation in EXIF of a little-endian file."""


def exif(kind: str) -> Image.Exif:
    """Turned, with text, a fraction, and, but for TIFF, blocks of their own for the camera and its place."""
    found = Image.Exif()
    found[0x0112], found[0x010F], found[0x011A] = 6, "Maker", 72.0
    if kind == "TIFF":  # in which Pillow cannot write them
        return found
    found[0x8769] = {0x9003: "2020:01:01 00:00:00", 0xA002: 34}
    found[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return found


def whole() -> dict[str, bytes]:
    """A picture of each format, in each mode that it has."""
    pillow_heif.register_heif_opener()
    files: dict[str, bytes] = {}
    for kind, how in FORMATS:
        for mode in MODES:
            stream = io.BytesIO()
            deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
            image = deep if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
            try:
                image.save(stream, kind, exif=exif(kind), **how)
            except (OSError, ValueError, KeyError, NotImplementedError, RuntimeError):
                continue  # the format has no such mode
            files[f"{kind} {mode} {how}"] = stream.getvalue()
    return files


def mutated(files: dict[str, bytes], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Give `count` files with bytes changed, taken out, put in, or cut off; most of them in the head or in EXIF."""
    chance, kinds = random.Random(seed), sorted(files)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        data = bytearray(files[kind])
        known = data.find(TURNED)
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            reach = min(len(data), chance.choice((40, 200, len(data))))
            at = chance.randrange(reach)
            if known >= 0 and chance.random() < 0.3:
                at = min(len(data) - 1, max(0, known + chance.randrange(-40, 80)))
            match chance.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    data[at] = chance.choice((chance.randrange(256), 0, 255, 127, 128))
                case 5 | 6 | 7:
                    data[at : at + 4] = chance.choice((*NUMBERS, struct.pack("<I", chance.randrange(1 << 32))))
                case 8:
                    del data[at : at + chance.randrange(1, 9)]
                case _:
                    data[at:at] = chance.randbytes(chance.randrange(1, 9))
            data = data or bytearray(b"x")
        yield kind, bytes(data[: chance.randrange(1, len(data) + 1)] if chance.random() < 0.15 else data)


def outcome(path: Path) -> str:
    """What becomes of the picture `path`: "read" or "refused"; header and decoder are of one mind."""
    header: Header | None = None
    try:
        header = read_header(path)
    except Exception as error:
        check_reason(error)
    try:
        pixels = pixels_of(path)
    except Exception as error:
        check_reason(error)
        with pytest.raises(UserError) as raised:
            decode(path)
        assert str(path) in raised.value.message
        return "refused"
    assert header is not None, "the head is refused, the picture is not"
    assert pixels.shape == (header.height, header.width, 3) and header.bytes == path.stat().st_size
    return "read"


def check_reason(error: Exception) -> None:
    said = reason_of(error)
    assert said and said.isprintable(), repr(error)


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 400), *(pytest.param(seed, 10_000, marks=pytest.mark.slow) for seed in (2, 3, 4))]
)
def test_changed_files_are_read_or_refused_by_name(seed: int, count: int, capfd: pytest.CaptureFixture[str]) -> None:
    files, path, outcomes = whole(), Path("picture"), Counter[str]()
    assert len(files) > 50
    for kind in files:
        path.write_bytes(files[kind])
        assert outcome(path) == "read", kind
    for number, (kind, content) in enumerate(mutated(files, seed, count)):
        path.write_bytes(content)
        try:
            outcomes[outcome(path)] += 1
        except BaseException as error:
            error.add_note(f"file {number} of seed {seed}, {kind}")
            raise
    assert min(outcomes["read"], outcomes["refused"]) > count // 8, outcomes
    assert "".join(capfd.readouterr()) == "", "no library prints what it thinks of a file"
