"""Weights from anywhere, as tensors by name: a run, a checkpoint, a file, timm or the Hugging Face hub. No optimizer.

Where they go is launch/engine/start.py's business.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.models.checkpoints import file_of, open_checkpoint, read_state
from launchbay.models.pretrained import hub_file, timm_network
from launchbay.models.tensors import read_tensors

TIMM, HUB = "timm/", "hf-hub:"
TORCH = (".pth", ".pt", ".ckpt", ".bin")
"""Endings of files that torch.save writes."""
KEYS = ("params_ema", "state_dict_ema", "model_ema", "params", "state_dict", "model_state_dict", "model")
"""Where such files keep their weights, averages first, as those who write them use them."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DDP and torch.compile put before each name."""
REMEDY = f"name a run's or checkpoint's folder, a file (.safetensors, {', '.join(TORCH)}), timm/NAME or hf-hub:ID"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """What a `source` holds, on the CPU."""

    source: str
    """What was asked for, or the checkpoint or file that was found there."""
    networks: Mapping[str, Tensors]
    """Tensors by name, by the network's name; under "" those of a source that names no network."""
    notes: tuple[str, ...] = ()
    """What was decided on the way."""
    published: bool = False
    """Made for any use, as timm's are: their classifier need not fit."""


def read_weights(source: str) -> Weights:
    """Return the weights that `source` names.

    Raises:
        UserError: there are none, they cannot be had here, or they are no tensors by name.
    """
    if source.startswith(TIMM):
        network = timm_network(source.removeprefix(TIMM), pretrained=True)
        return Weights(source, {"": network.state_dict()}, published=True)
    if source.startswith(HUB):
        found = read_file(hub_file(source.removeprefix(HUB)))
        return replace(found, source=source, published=True)
    if Path(source).is_dir():
        checkpoint = open_checkpoint(Path(source), "best", f"--weights {source}")
        names = read_state(checkpoint).optimizers
        return Weights(str(checkpoint), {name: read_tensors(checkpoint / file_of(name)) for name in names})
    if Path(source).is_file():
        return read_file(Path(source))
    raise UserError(f"--weights {source}: there is no such file or folder", REMEDY)


def read_file(file: Path) -> Weights:
    """Return the weights in a `file` of safetensors or of torch.save."""
    if file.suffix == ".safetensors":
        return unwrap(str(file), read_tensors(file, "get it again, or name another"))
    if file.suffix not in TORCH:
        raise UserError(f"--weights {file}: this is no kind of file that holds weights", REMEDY)
    try:
        zipped = zipfile.is_zipfile(file)
        if zipped:
            check_unpacked(file)
        content: object = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(
            f"{file} cannot be read as tensors alone ({type(error).__name__})",
            "it is damaged, or holds Python objects, which could run code. Load it where it was made, and save the "
            "network's state_dict() alone",
        ) from error
    tensors, note = choose(str(file), content)
    if odd := [name for name, tensor in tensors.items() if not is_plain(tensor)]:
        raise UserError(f"{file}: {odd[0]} is sparse, quantized or empty of values", "save dense tensors of numbers")
    return unwrap(str(file), tensors, note)


def is_plain(tensor: Tensor) -> bool:
    """Return whether `tensor` has its values, as one number after the other."""
    return tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_quantized


def check_unpacked(file: Path) -> None:
    """Check that nothing in a zip file is compressed: torch.save does not, and it may be a thousand times as large as
    the file.

    Raises:
        ValueError: it is.
    """
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type for entry in archive.infolist()):
            raise ValueError("compressed")


def choose(file: str, content: object) -> tuple[Tensors, str]:
    """Return those weights of what torch.save wrote to `file` that are meant, and a note: all of it, or those under a
    usual key.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{file} holds a {type(content).__name__}, no tensors by name", "save a state_dict()")
    if tensors := {str(name): value for name, value in content.items() if isinstance(value, Tensor)}:
        others = [str(name) for name in content if str(name) not in tensors]
        return tensors, f"no tensors, and not used: {', '.join(others)}" if others else ""
    inside = {str(key): value for key, value in content.items() if is_state(value)}
    meant = [key for key in KEYS if key in inside] or list(inside)
    if not meant or (len(meant) > 1 and meant[0] not in KEYS):
        said = f"{file} holds {', '.join(map(str, content)) or 'nothing'}: "
        said += "which of these is meant?" if meant else "no tensors by name"
        raise UserError(said, "save the network's state_dict() alone, and name that file")
    others = ", ".join(str(key) for key in content if key != meant[0])
    return inside[meant[0]], f"those under {meant[0]!r} in the file" + (f", beside {others}" if others else "")


def is_state(value: object) -> TypeGuard[Tensors]:
    """Return whether `value` is tensors by name."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def unwrap(source: str, tensors: Tensors, note: str = "") -> Weights:
    """Return `tensors`, which no network's name goes with, without what wrappers put before all of their names."""
    notes = [note] if note else []
    while found := next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in tensors)), None):
        tensors = {name.removeprefix(found): tensor for name, tensor in tensors.items()}
        notes.append(f"{found!r} taken off the names")
    return Weights(source, {"": tensors}, tuple(notes))
