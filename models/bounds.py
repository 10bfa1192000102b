"""What a checkpoint justifies: a network that options from a file describe is no larger than the tensors beside it.

A line such as `width: 1000000` takes all memory, `blocks: 1000000000` all time, before anything is found not to fit.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.modules import module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from launchbay import UserError
from launchbay.models.checkpoints import OPTIMIZERS, read_manifest

TIMES, VALUES, PARTS = 4, 2**26, 5_000
"""A network may take, while it is built, so many times what its checkpoint has, and beyond that so many values and so
many layers and tensors: layers are made and replaced, and buffers need not be saved."""


@contextmanager
def bounded_by(checkpoint: Path, what: str) -> Generator[None]:
    """Refuse to build, within the block, a network far larger than what the `checkpoint` holds.

    Args:
        what: has described the network, and begins the message.

    Raises:
        UserError: it is larger. What it has taken until then is little.
    """
    built = Bounds(what, *held_by(checkpoint))
    with ExitStack() as stack:
        for register in (
            module.register_module_parameter_registration_hook,
            module.register_module_buffer_registration_hook,
            module.register_module_module_registration_hook,
        ):
            stack.callback(register(built.count).remove)
        stack.enter_context(built)
        yield


def held_by(checkpoint: Path) -> tuple[int, int]:
    """Return the number of values and of tensors in the files of a verified `checkpoint`, optimizers aside."""
    shapes: list[Sequence[int]] = []
    for name in read_manifest(checkpoint).files:
        if not name.endswith(".safetensors") or name == OPTIMIZERS:
            continue
        file = checkpoint / name
        try:
            with safe_open(file, "pt") as opened:
                shapes += [opened.get_slice(key).get_shape() for key in opened.keys()]  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            said = f"{file} is not a safetensors file: {error}"
            raise UserError(said, "go back to an earlier checkpoint") from error
    return sum(map(prod, shapes)), len(shapes)


class Bounds(TorchDispatchMode):
    """Counts what is built, and looks at each operation of torch before it takes memory."""

    def __init__(self, what: str, values: int, tensors: int):
        super().__init__()
        self.what, self.held, self.tensors = what, values, tensors
        self.values, self.parts = 0, 0

    def count(self, owner: nn.Module, name: str, part: Tensor | nn.Module | None) -> None:
        """Take note of a tensor or a layer that becomes part of a network."""
        self.parts += 1
        self.values += part.numel() if isinstance(part, Tensor) else 0
        if self.values > TIMES * self.held + VALUES:
            self.refuse(f"{self.values - 1:,} values", f"{self.held:,}")
        if self.parts > TIMES * self.tensors + PARTS:
            self.refuse(f"{self.parts - 1:,} layers and tensors", f"{self.tensors:,} tensors")

    def refuse(self, more: str, held: str) -> NoReturn:
        said = f"{self.what} describes a network that would have more than {more}, its checkpoint has {held}"
        raise UserError(said, "that is damaged, or of another run: put back the options that it was trained with")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch._dynamo takes as long to import as torch

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        if not func._schema.is_mutable:  # what is changed in place is here already
            values = largest_result(func, args, kwargs or {})
            if values > TIMES * self.held + VALUES:
                self.refuse(f"{values - 1:,} values", f"{self.held:,}")
        return func(*args, **(kwargs or {}))


def largest_result(func: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> int:
    """Return the number of values of the largest tensor that an operation would give, found without computing it: on
    the "meta" device, where tensors have a shape only. 0 where that cannot tell."""
    meta = {**kwargs, "device": "meta"} if "device" in kwargs else kwargs
    try:
        with torch.no_grad():
            args, meta = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, meta))
            given = func(*args, **meta)
    except Exception:  # some follow from the values, not from the shapes alone
        return 0
    return max((tensor.numel() for tensor in tree_leaves(given) if isinstance(tensor, Tensor)), default=0)
