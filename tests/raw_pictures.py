"""Files of pictures as Pillow does not write them: TIFF of any numbers, PNG of 16 bits in colour."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_tiff(path: Path, pixels: NDArray[np.generic], *, photometric: int = 1, bits: int | None = None) -> None:
    """Write H×W or H×W×C as they are, in strips of two rows.

    Args:
        photometric: 0: white is zero; 1: black is; 2: RGB; 5: CMYK.
        bits: 12 packs two numbers into three bytes.
    """
    cube = pixels.reshape(*pixels.shape[:2], -1)
    height, width, channels = cube.shape
    strips = [packed(cube[top : top + 2], bits) for top in range(0, height, 2)]
    kind = {"i": 2, "f": 3}.get(pixels.dtype.kind, 1)
    starts = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    end = 8 + sum(map(len, strips))
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [bits or 8 * pixels.itemsize] * channels),
        (259, "H", [1]), (262, "H", [photometric]), (273, "I", starts), (277, "H", [channels]), (278, "I", [2]),
        (279, "I", list(map(len, strips))), (339, "H", [kind] * channels),
    ]  # fmt: skip
    entries, beyond, after = b"", b"", end + 2 + 12 * len(tags) + 4
    for tag, form, values in tags:
        data = struct.pack(f"<{len(values)}{form}", *values)
        if len(data) > 4:
            data, beyond = struct.pack("<I", after + len(beyond)), beyond + data + bytes(len(data) % 2)
        entries += struct.pack("<HHI", tag, 3 if form == "H" else 4, len(values)) + data.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", end)
    path.write_bytes(head + b"".join(strips) + struct.pack("<H", len(tags)) + entries + bytes(4) + beyond)


def packed(rows: NDArray[np.generic], bits: int | None) -> bytes:
    """Return the bytes of rows of pixels."""
    if bits != 12:
        return rows.tobytes()
    written = b""
    for row in rows.reshape(len(rows), -1).tolist():
        text = "".join(f"{number:012b}" for number in row)
        text += "0" * (-len(text) % 8)
        written += int(text, 2).to_bytes(len(text) // 8)
    return written


def write_png(path: Path, pixels: NDArray[np.uint16]) -> None:
    """Write H×W×3 of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
