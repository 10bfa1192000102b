"""Files of tensors of which each process has some rows (--shard): each writes its own, and the main process puts them
together to a file of the same content as that of one process.

torch's HuggingFaceStorageWriter does the same, but not for integers, such as BatchNorm's counter (torch 2.15).
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from errno import ENOENT
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from launchbay.launch.files import appears

ALIGNED = 8
"""Bytes that the header of a safetensors file is a multiple of."""


def rows_file(file: Path, rank: int) -> Path:
    """Return where process `rank` writes its rows of the tensors that are to be in `file`."""
    return file.with_name(f"rows-{rank:05d}-{file.name}")


def write_rows(folder: Path, rank: int, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the rows that process `rank` has, by file and name, to the `folder` that the main process has made.

    Raises:
        OSError, SafetensorError: the disk is full, or fails, or this machine does not see that folder.
    """
    check_appears(folder)
    for file, rows in tensors.items():
        save_file(dict(rows), rows_file(folder / file, rank))


def join_rows(file: Path, tensors: Mapping[str, Tensor], rows: Mapping[str, int], processes: int) -> None:
    """Write `tensors` to `file`. Those in `rows`, which says how many of them there are, go on in the files of the
    other processes, which are removed then. No more than one tensor is in memory beside those given.

    Raises:
        OSError, SafetensorError: the disk is full, or fails, or rows are missing.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    parts = [rows_file(file, rank) for rank in range(1, processes)]
    for part in parts:
        check_appears(part)
    with ExitStack() as stack, file.open("wb") as written:
        others = [stack.enter_context(safe_open(part, "pt")) for part in parts]
        written.write(header(tensors, rows, names))
        for name in names:
            written.write(bytes_of(tensors[name]))
            for other in others if name in rows else ():
                written.write(bytes_of(other.get_tensor(name)))
    for part in parts:
        part.unlink()


def check_appears(path: Path) -> None:
    """Raise an OSError where `path`, which a process of another machine may have made, does not come to be seen."""
    if not appears(path):
        raise FileNotFoundError(ENOENT, "not seen here, though another process has made it", str(path))


def header(tensors: Mapping[str, Tensor], rows: Mapping[str, int], names: list[str]) -> bytes:
    """Return the header of a safetensors file with `tensors` in the order of `names`. Source: its documentation."""
    empty = save({name: tensor.new_empty(0) for name, tensor in tensors.items()})
    content = json.loads(empty[8 : 8 + int.from_bytes(empty[:8], "little")])
    begin = 0
    for name in names:
        tensor = tensors[name]
        shape = [rows.get(name, tensor.shape[0]), *tensor.shape[1:]] if tensor.ndim else []
        end = begin + torch.Size(shape).numel() * tensor.element_size()
        content[name] |= {"shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text


def bytes_of(tensor: Tensor) -> memoryview:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
