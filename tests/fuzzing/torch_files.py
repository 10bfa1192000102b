"""Mutations of a file of torch.save: what unpickles into it, and what its archive says."""

import io
import random
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fuzzing.values import DTYPES, NAMES, NUMBERS
from fuzzing.world import World

BLOCK = 2**24
"""Bytes of nothing that one piece of a bomb unpacks to."""


class Leaves:
    """Leaves the mark when it is unpickled."""

    def __init__(self, mark: str):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.mark, "w")


def torch_file(world: World, chance: random.Random) -> str:
    """Put another file of torch.save in the place of the stranger's."""
    file = world.run / "weights.pth"
    content: Any = torch.load(file, weights_only=True)
    name = chance.choice(sorted(content))
    strange = {
        "a call": lambda: Leaves(str(world.mark)),
        "another type": lambda: content[name].to(torch.float32).to(chance.choice(DTYPES)),
        "a view of 2^50 numbers": lambda: torch.zeros(1).expand(2**50),
        "a sparse tensor": content[name].to_sparse,
        "overlapping numbers": lambda: torch.zeros(4).as_strided(content[name].shape, (0,) * content[name].dim()),
        "nothing but a shape": lambda: content[name].to("meta"),
        "not finite": lambda: torch.full_like(content[name], float("nan")),
        "a quantized tensor": lambda: torch.quantize_per_tensor(content[name], 0.1, 0, torch.qint8),
        "no tensor": lambda: chance.choice((*NUMBERS, None, "text", [], {}, {"a": {}})),
        "a parameter": lambda: torch.nn.Parameter(content[name]),
        "another shape": lambda: content[name][None],
        "deep": lambda: nested(150),
    }
    match chance.choice((*strange, "keys", "bomb", "bomb", "archive", "old")):
        case "keys":
            key = chance.choice((*NAMES[1:-1], 1, (1, 2), b"x", None))
            content[key] = content.pop(name)
            done = f"{key!r:.50} for {name}"
        case "bomb":
            file.write_bytes(bomb(file.read_bytes()))
            return "weights.pth: packed to unpack to 8 GiB"
        case "archive":
            file.write_bytes(renamed(file.read_bytes(), chance))
            return "weights.pth: other names in the archive"
        case "old":
            torch.save(content, file, _use_new_zipfile_serialization=False)
            data = bytearray(file.read_bytes())
            for _ in range(20):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            file.write_bytes(data)
            return "weights.pth: of the old kind, bits flipped"
        case done:
            content[name] = strange[done]()
    torch.save({"model": content} if chance.random() < 0.3 else content, file)
    return f"weights.pth: {done}"


def nested(depth: int) -> dict[str, Any]:
    inside: dict[str, Any] = {"a": Tensor([1])}
    for _ in range(depth):
        inside = {"a": inside}
    return inside


def bomb(archive: bytes) -> bytes:
    """Return `archive` with its pickle packed, and 8 GiB of nothing after it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            new.writestr(member, old.read(member))
            if member.filename.endswith("data.pkl"):
                pieces = 2**33 // BLOCK
                info = new.getinfo(member.filename)
                new.fp.seek(info.header_offset + 30 + len(info.filename) + len(info.extra))  # pyright: ignore
                new.fp.write(piece * pieces + packer.flush())  # pyright: ignore
                info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, 2**33
                info.compress_size = new.fp.tell() - info.header_offset - 30 - len(info.filename)  # pyright: ignore
                new.start_dir = new.fp.tell()  # pyright: ignore
    return written.getvalue()


def renamed(archive: bytes, chance: random.Random) -> bytes:
    """Return `archive` with its members under other names, packed or twice."""
    written = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w", kind) as new:
        for member in old.infolist():
            name = member.filename
            if chance.random() < 0.3:
                name = chance.choice(("../../outside/evil", "/etc/evil", name * 2, name.replace("data/", "data/../")))
            new.writestr(name, old.read(member))
    return written.getvalue()
