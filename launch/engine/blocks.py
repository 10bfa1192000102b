"""The blocks of a network: what --shard brings together one after the other, and --recompute computes twice."""

from collections import Counter
from collections.abc import Collection, Generator, Mapping

from torch import nn

from launchbay import number_of

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LARGEST_BLOCK = 1 / 8
"""Of the parameters of a network, where a block can be split."""
PARAMETRIZATIONS = "parametrizations"
"""How torch calls the part that makes a weight of others, as spectral normalisation does: it is still one layer."""


def find_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks of `network` by their names: the modules that have parts of their own and stand in a list
    (nn.Sequential, ModuleList or ModuleDict), such as residual blocks and layers of a transformer. One with more than
    an eighth of the network's parameters is split at the lists in it, if these have blocks.

    What shares a parameter with another part of the network is no block.
    """
    found = dict(blocks_in(network, "", LARGEST_BLOCK * size(network)))
    inside = [{id(one) for one in block.parameters()} for block in found.values()]
    users = Counter(one for part in [*inside, outside(network, found)] for one in part)
    return {
        name: block
        for (name, block), own in zip(found.items(), inside, strict=True)
        if own and all(users[one] == 1 for one in own)
    }


def blocks_in(module: nn.Module, name: str, most: float) -> Generator[tuple[str, nn.Module]]:
    """Yield the blocks below `module`, those with more than `most` parameters only where there is no smaller one."""
    for own, child in parts(module):
        place = f"{name}.{own}".removeprefix(".")
        smaller = list(blocks_in(child, place, most))
        is_called = not isinstance(child, nn.ModuleList | nn.ModuleDict)
        if isinstance(module, LISTS) and is_called and parts(child) and (size(child) <= most or not smaller):
            yield place, child
        else:
            yield from smaller


def parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, child) for name, child in module.named_children() if name != PARAMETRIZATIONS]


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def outside(network: nn.Module, found: dict[str, nn.Module]) -> set[int]:
    """Return the ids of the parameters of `network` that are, by some name, in none of the blocks `found`."""
    return {
        id(parameter)
        for name, parameter in network.named_parameters(remove_duplicate=False)
        if not any(name.startswith(f"{block}.") for block in found)
    }


def count_blocks(found: Mapping[str, Collection[object]]) -> str:
    """Return in words how many blocks were `found` in each network."""
    return ", ".join(f"{number_of(len(inside), 'block')} of {name}" for name, inside in found.items())
