"""--recompute: blocks of networks (blocks.py) are computed a second time in the backward pass, rather than kept.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016; torch.utils.checkpoint.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from launchbay import UserError
from launchbay.launch.engine.blocks import count_blocks, find_blocks

T = TypeVar("T")
Buffers = dict[nn.Module, dict[str, Tensor | None]]


def recompute_blocks(networks: Mapping[str, nn.Module]) -> str:
    """Let each block of `networks` forget what it has computed, but for its result, until the backward pass needs it.
    What comes of it is the same to the last bit: the second time a block has the same random numbers, for dropout, and
    the same buffers; what it changes in these then, such as statistics, is dropped. Return a line on that.

    Raises:
        UserError: no network has a block.
    """
    found = {name: list(find_blocks(network).values()) for name, network in networks.items()}
    if not any(found.values()):
        raise UserError(
            f"--recompute: no block is in {', '.join(networks)}: a module with parts of its own in an nn.Sequential or "
            "nn.ModuleList",
            "leave it out; --accumulate saves memory too",
        )
    for block in chain(*found.values()):
        block.forward = partial(compute_twice, block, block.forward)
    return f"computed again in the backward pass: {count_blocks(found)}"


def compute_twice(block: nn.Module, forward: Callable[..., T], *args: object, **named: object) -> T:
    """Return what `forward` of `block` does, as `recompute_blocks` says."""
    if not torch.is_grad_enabled():
        return forward(*args, **named)
    given = partial(forward, **named)
    return checkpoint(given, *args, use_reentrant=False, context_fn=partial(both_times, block))


def both_times(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what `block` is computed in for the first time, and whenever it is computed again."""
    before = {part: clones(part._buffers) for part in block.modules() if part._buffers}
    return nullcontext(), BuffersOf(before)


class BuffersOf(AbstractContextManager[None]):
    """Within it modules have the buffers that they had `before`; then again those of now. It can be entered again."""

    def __init__(self, before: Buffers):
        self.before = before

    def __enter__(self) -> None:
        self.now = {part: dict(part._buffers) for part in self.before}
        for part, buffers in self.before.items():
            part._buffers.update(clones(buffers))

    def __exit__(self, *_: object) -> None:
        for part, buffers in self.now.items():
            part._buffers.update(buffers)


def clones(buffers: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: buffer if buffer is None else buffer.clone() for name, buffer in buffers.items()}
