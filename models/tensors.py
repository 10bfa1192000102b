"""Tensors as they are read from safetensors files, and whether they are what a network takes."""

from collections.abc import Container, Mapping
from math import prod
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from launchbay import UserError

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Types that are converted into each other; all others have to be the same."""
MOST_DIMENSIONS, MOST_EXTENT = 16, 2**48
"""torch reads more than it computes with: more dimensions, and sizes that overflow beside one that is 0."""
PACKED = tuple(getattr(torch, name) for name in ("float4_e2m1fn_x2",) if hasattr(torch, name))
"""Types that torch reads and computes nothing with."""


def read_tensors(file: Path, hint: str = "go back to an earlier checkpoint") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU. None takes memory before it is looked at.

    Raises:
        UserError: it is none, or cannot be read.
    """
    try:
        tensors = load_file(file)
    except MemoryError:
        raise
    except Exception as error:  # whatever the library makes of a file that it does not understand
        raise UserError(f"{file} is not a safetensors file: {error}", hint) from error
    if odd := [name for name, tensor in tensors.items() if tensor.ndim > MOST_DIMENSIONS]:
        raise UserError(f"{file}: {odd[0]} has {tensors[odd[0]].ndim} dimensions", hint)
    for name, tensor in tensors.items():
        if prod(max(size, 1) for size in tensor.shape) > MOST_EXTENT:
            raise UserError(f"{file}: {name} has an impossible shape, {form(tensor)}", hint)
        if tensor.dtype in PACKED:
            raise UserError(f"{file}: {name} has {str(tensor.dtype).removeprefix('torch.')} numbers", hint)
    return tensors


def same_kind(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Return whether numbers of type `given` may be taken for `wanted` ones."""
    return given == wanted or (given in FLOATS and wanted in FLOATS)


def form(tensor: Tensor) -> str:
    """Return the shape of `tensor`, and its kind where it has no usual floating point numbers."""
    shape = "×".join(map(str, tensor.shape)) or "one number"
    return shape if tensor.dtype in FLOATS else f"{shape} {str(tensor.dtype).removeprefix('torch.')}"


def check_kinds(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, hint: str) -> None:
    """Check that the tensors `given` are of the types of those `wanted`: torch would convert complex numbers, integers
    and what else there is to floating point numbers, without a word.

    Raises:
        UserError: one is not.
    """
    for name in given.keys() & wanted.keys():
        if not same_kind(given[name].dtype, wanted[name].dtype):
            types = [str(tensor.dtype).removeprefix("torch.") for tensor in (given[name], wanted[name])]
            raise UserError(f"{where}: {name} has {types[0]} numbers, and the network {types[1]}", hint)


def not_finite(tensors: Mapping[str, Tensor], allowed: Container[str] = ()) -> list[str]:
    """Return the names of `tensors` that have a value that is nan or infinite, and are not among the `allowed`."""
    return [
        name
        for name, value in tensors.items()
        if name not in allowed and value.is_floating_point() and not value.isfinite().all()
    ]


def check_finite(
    given: Mapping[str, Tensor], where: str, hint: str, wanted: Mapping[str, Tensor] | None = None
) -> None:
    """Check that the tensors `given`, which were read from `where`, have no value that is nan or infinite; not either
    in the types of those `wanted`. Where these are infinite themselves, as a mask may be, they may.

    Raises:
        UserError: one has.
    """
    for name, tensor in given.items():
        value, like = rows_of(tensor), rows_of((wanted or {}).get(name, tensor))
        if not value.isfinite().all() and (name not in (wanted or {}) or like.isfinite().all()):
            raise UserError(f"{where}: {name} has nan or infinite values", hint)
        if like.dtype != value.dtype and value.isfinite().all() and not value.to(like.dtype).isfinite().all():
            kind = str(like.dtype).removeprefix("torch.")
            raise UserError(f"{where}: {name} has values that are too large for {kind}", hint)


def is_shared_out(value: object) -> bool:
    """Return whether `value` is a tensor of which each process has some rows (--shard)."""
    return isinstance(value, Tensor) and hasattr(value, "device_mesh")


def rows_of(tensor: Tensor) -> Tensor:
    """Return the rows of `tensor` that this process has: all of them, unless it is shared out."""
    return tensor.detach().to_local() if is_shared_out(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def whole_of(tensor: Tensor) -> Tensor:
    """Return all rows of `tensor`; where it is shared out, all processes have to ask for it."""
    return tensor.detach().full_tensor() if is_shared_out(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]


def shared_like(whole: Tensor, wanted: object) -> Tensor:
    """Return `whole`; where `wanted`, of the same shape, is shared out, the same numbers shared out as that is."""
    if is_shared_out(whole) or not is_shared_out(wanted) or whole.shape != getattr(wanted, "shape", None):
        return whole
    from torch.distributed.tensor import DTensor

    assert isinstance(wanted, DTensor)
    mesh, stride = wanted.device_mesh, whole.contiguous().stride()
    parts, rank = whole.chunk(mesh.size()), mesh.get_local_rank()
    rows = parts[rank].clone() if rank < len(parts) else whole[:0]
    return DTensor.from_local(rows, mesh, wanted.placements, run_check=False, shape=whole.shape, stride=stride)
