"""What a data set gives for some indices: samples joined to a batch; what cannot be right is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.randomness import Index

if TYPE_CHECKING:
    from launchbay.data.base import ImageSet

Values = dict[str, Any]
"""By name, tensors with the N samples first and lists of N. Which of both a name stands for, its author knows."""


FLOATS = (torch.float16, torch.float32, torch.float64)
INTEGERS = (
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64,
)  # fmt: skip
"""Types of pictures and masks: those that numpy knows, too, which fingerprints need."""
ROUNDING = 1e-3
"""How far a picture may be outside of [0, 1]."""


def join(images: ImageSet, indices: Sequence[int], parts: Sequence[Values]) -> Values:
    """Return one batch of `parts`, the batches of one sample that `images` gave for each of `indices`.

    Raises:
        UserError: they do not go together.
    """
    first, names = parts[0], declared(images)
    for index, part in zip(indices, parts, strict=True):
        if part.keys() != first.keys():
            said = f"gives {', '.join(first)} for {images.name(indices[0])}, {', '.join(part)} for {images.name(index)}"
            refuse(images, said, "give the same for each picture")
    columns = {name: [part[name] for part in parts] for name in first}
    for name, values in columns.items():
        if place := next((place for place, value in enumerate(values) if not fits(value, values[0])), 0):
            both = " and ".join(f"{describe(values[n])} for {images.name(indices[n])}" for n in (0, place))
            hint = "give a list of them; what has the size of the picture can be named in `pictures` or `masks`"
            if name in names:
                hint = "let the task load them with crop or size; `uniform = False` says that sizes differ"
            refuse(images, f"gives {name!r} as {both}, which make no batch", hint)
    return {name: joined(values, is_picture=name in images.pictures) for name, values in columns.items()}


def fits(value: object, first: object) -> bool:
    if isinstance(first, list):
        return isinstance(value, list)
    return (
        isinstance(first, Tensor)
        and isinstance(value, Tensor)
        and value.shape == first.shape
        and value.dtype == first.dtype
    )


def joined(values: Sequence[Any], *, is_picture: bool) -> Tensor | list[Any]:
    if isinstance(values[0], list):
        return [entry for value in values for entry in value]
    if not is_picture or values[0].ndim != 4:
        return torch.cat(list(values))
    # As they are decoded, channels last: the other way takes a multiple of the time.
    return torch.cat([value.permute(0, 2, 3, 1) for value in values]).permute(0, 3, 1, 2)


def check(images: ImageSet, indices: Sequence[int], values: object) -> Values:
    """Return `values`, what `images` gave for `indices`.

    Raises:
        UserError: it is no batch of as many samples, or what the set calls pictures and masks are none.
    """
    if not isinstance(values, Mapping):
        refuse(images, f"gives {describe(values)}", 'give a dict by name: {"image": pictures}')
    values, names = cast(Values, values), declared(images)
    for name, value in values.items():
        if length(value) != len(indices):
            said = f"gives {name!r} as {describe(value)} for a batch of {len(indices)}"
            refuse(images, said, "give a tensor with the samples first, or a list with an entry for each")
    if lacking := [name for name in names if name not in values]:
        said = f"names {lacking[0]!r} in `{place_of(images, lacking[0])}`, but gives only {', '.join(values)}"
        refuse(images, said, "let __getitems__ give it, or leave out the name")
    for name in names:
        check_form(images, indices, name, values)
    return values


def check_form(images: ImageSet, indices: Sequence[int], name: str, values: Values) -> None:
    """Raise a UserError if the picture or mask `name` is none, or is not as large as `image`."""
    value, place = values[name], place_of(images, name)
    if place == "pictures":
        good = isinstance(value, Tensor) and value.ndim == 4 and value.dtype in (torch.uint8, *FLOATS)
        hint = "give N×C×H×W, of uint8 or of floating point numbers in [0, 1]"
    else:
        good = isinstance(value, Tensor) and value.ndim in (3, 4) and value.dtype in (*INTEGERS, *FLOATS)
        hint = "give N×H×W or N×C×H×W, of integers, truth values or floating point numbers"
    if not good or value.layout != torch.strided:
        refuse(images, f"names {name!r} in `{place}`, but gives it as {describe(value)}", hint)
    (height, width), (rows, columns), scale = value.shape[-2:], values["image"].shape[-2:], images.scales.get(name, 1)
    if (height, width) != (rows // scale, columns // scale):
        said = f"gives {name!r} with {width}×{height} pixels for {images.name(indices[0])}, which has {columns}×{rows}"
        hint = f"give it in the picture's size; if `{place}` does not name it, it may have any size"
        refuse(images, said, hint if scale == 1 else f"give it {scale} times smaller, as `scales` says")
    if place == "pictures" and value.is_floating_point():
        check_range(images, indices, name, value)


def check_range(images: ImageSet, indices: Sequence[int], name: str, value: Tensor) -> None:
    """Raise a UserError if the floating point pictures `name` are not in [0, 1], but for rounding."""
    lows, highs = value.flatten(1).aminmax(dim=1)
    good = (lows >= -ROUNDING) & (highs <= 1 + ROUNDING)  # not so where there is a nan
    if not good.all():
        place = int((~good).nonzero()[0])
        said = f"gives {name!r} with values from {lows[place]:g} to {highs[place]:g} for {images.name(indices[place])}"
        refuse(images, said, "give uint8, or floating point numbers in [0, 1]")


def declared(images: ImageSet) -> tuple[str, ...]:
    """Return the names of the pictures and masks of `images`, "image" first.

    Raises:
        UserError: they are no names.
    """
    for place, example in (("pictures", '("image", "input")'), ("masks", '("mask",)')):
        names: object = getattr(images, place)
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            said = f"has {describe(names)} as `{place}`, which names what it gives"
            refuse(images, said, f"make it a tuple of names such as {example}, and call other things by another name")
    if "image" not in images.pictures or set(images.pictures) & set(images.masks):
        said = f"has {images.pictures} as `pictures` and {images.masks} as `masks`"
        refuse(images, said, '"image" is one of `pictures`, and no name is in both')
    return tuple(dict.fromkeys(("image", *images.pictures, *images.masks)))


def place_of(images: ImageSet, name: str) -> str:
    return "pictures" if name in images.pictures else "masks"


def length(value: object) -> int | None:
    """Return how many samples `value` is of: a list, or a tensor with the samples first."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, list) else None


def bytes_beside(images: ImageSet) -> list[bytes]:
    """Return the names and the bytes of the pictures and masks beside `image`, of eight samples, for a fingerprint."""
    names = declared(images)[1:]
    found = [name.encode() for name in names]
    for place in range(0, len(images), max(1, len(images) // 8)) if names else ():
        index = [Index(place, 0)]  # whoever draws finds a key, as anywhere else
        values = check(images, index, images.__getitems__(index))
        found += [values[name].contiguous().numpy().tobytes() for name in names]
    return found


def describe(value: object) -> str:
    """Return what `value` is, in words."""
    if isinstance(value, Tensor):
        return f"{'×'.join(map(str, value.shape)) or 'a single number'} ({str(value.dtype).removeprefix('torch.')})"
    return f"a list of {len(value)}" if isinstance(value, list) else f"something of type {type(value).__name__}"


def refuse(images: ImageSet, what: str, hint: str) -> NoReturn:
    raise UserError(f"the data set {type(images).__name__} {what}", hint)
