"""State that no checkpoint has: what a task keeps beside its `state_dict()`, and how to keep it there instead."""

import ast
import random
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from types import FunctionType, MethodType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from launchbay.data.base import digest
from launchbay.launch.check.lines import authored, source
from launchbay.tasks.places import Place

OF_MODULES = frozenset(vars(nn.Module()))
"""What torch keeps in the attributes of each module."""
UNCOMPARED = (FunctionType, MethodType, ModuleType, type, property, staticmethod, classmethod, Dataset, Optimizer)
"""Code, and data, which have checks of their own."""
SOURCES = (torch.Generator, random.Random, np.random.Generator)
Digests = dict[str, str]
"""A digest of each value, by its name."""


def hidden_state(task: nn.Module) -> Digests:
    """Return what `task` and the modules within it keep beside `state_dict()`: plain attributes, and buffers that are
    not persistent. What cannot be compared, such as a function or a data set, is left out.
    """
    return {name: digested for name, value in hidden(task) if (digested := digest_of(value))}


def hidden(task: nn.Module) -> Iterator[tuple[str, object]]:
    saved = set(task.state_dict())
    for path, module in task.named_modules():
        plain = {name: value for name, value in vars(module).items() if name not in OF_MODULES}
        for name, value in {**module._parameters, **module._buffers, **plain}.items():
            if (full := f"{path}.{name}".strip(".")) not in saved:
                yield full, value


def shared_state(kind: type) -> Digests:
    """Return what the author's classes of `kind`, and their modules, keep: all tasks of a process share it."""
    found: Digests = {}
    for cls in authored(kind):
        module = sys.modules[cls.__module__]
        for owner, values in ((cls.__qualname__, vars(cls)), (module.__name__, vars(module))):
            own = {name: digest_of(value) for name, value in list(values.items()) if name[:2] != "__"}
            found |= {f"{owner}.{name}": digested for name, digested in own.items() if digested}
    return found


def changed(before: Digests, after: Digests) -> list[str]:
    """Return the names of what is another one `after`, or was not there `before`."""
    return [name for name, digested in after.items() if before.get(name) != digested]


def digest_of(value: object, within: tuple[int, ...] = ()) -> str:
    """Return what two values have in common if they are alike; empty where that cannot be told.

    Args:
        within: the ids of what `value` is part of, where it may come again.
    """
    if isinstance(value, UNCOMPARED):
        return ""
    parts = parts_of(value)
    if parts is None:
        return digest_of_one(value)
    within = (*within, id(value))
    return digest(type(value), *(digest_of(part, within) for part in parts if id(part) not in within))


def parts_of(value: object) -> list[object] | None:
    """Return what is in a container, a module or an object; None if `value` is none of these."""
    match value:
        case nn.Module():
            return [*value.state_dict().items(), *hidden(value)]
        case Mapping():
            return list(value.items())
        case Set():
            return sorted(value, key=repr)
        case Sequence() if not isinstance(value, str | bytes | range):
            return list(value)
        case _ if hasattr(value, "__dict__") and not isinstance(value, (Tensor, *SOURCES)):
            return list(vars(value).items())
        case _:
            return None


def digest_of_one(value: object) -> str:
    match value:
        case Tensor():
            flat = value.detach().cpu().reshape(-1).view(torch.uint8)
            return digest(value.dtype, tuple(value.shape), flat.numpy().tobytes())
        case np.ndarray():
            return digest(value.dtype, value.shape, value.tobytes())
        case torch.Generator():
            return digest_of_one(value.get_state())
        case np.random.Generator():
            return digest(value.bit_generator.state)
        case random.Random():
            return digest(value.getstate())
        case _:
            said = repr(value)
            return "" if " at 0x" in said else digest(said)


def remedy_for(task: nn.Module, name: str) -> str:
    """Return how `task` keeps the part of its state called `name` so that a checkpoint has it."""
    value, attribute = dict(hidden(task)).get(name), name.rpartition(".")[2]
    match value:
        case _ if isinstance(value, SOURCES):
            return "draw from `batch.rand` and `batch.randn`, which need no state"
        case Tensor() if any(name == buffer for buffer, _ in task.named_buffers()):
            return f"leave out persistent=False where {attribute!r} is registered"
        case Tensor():
            return f'make it a buffer, in __init__: self.register_buffer("{attribute}", ...)'
        case bool() | int() | float():
            buffer = f'self.register_buffer("{attribute}", torch.tensor({value * 0}))'
            return f"keep it in a buffer, in __init__: {buffer}; or, if it counts steps, use `batch.step`"
        case _ if any(isinstance(part, nn.Module) for part in flat(value)):
            return "make each module an attribute of its own (or use nn.ModuleList), with requires_grad_(False)"
        case _:
            return f'keep it in tensors, in __init__: self.register_buffer("{attribute}", ...)'


def flat(value: object) -> Iterator[object]:
    """Yield `value` or, if it is a list, a mapping or an object, what is in it."""
    for part in parts_of(value) or ():
        yield from part if isinstance(part, tuple) else (part,)


def place_of_state(task: nn.Module, name: str) -> Place | None:
    """Return the line of the author's code that uses the attribute `name`, such as "steps" or "model.seen", in a method
    other than `__init__`; None if there is no such line.
    """
    path, _, attribute = name.rpartition(".")
    for cls in authored(type(task.get_submodule(path))):
        file, tree = source(cls)
        for method in tree.body if tree else ():
            if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                lines = [line for node in ast.walk(method) if (line := line_of_own(node, attribute))]
                if lines:
                    return Place(file, min(lines), f"{cls.__name__}.{method.name}")
    return None


def line_of_own(node: ast.AST, attribute: str) -> int:
    """Return the line of `node`, if it is `self.attribute`, or else 0."""
    match node:
        case ast.Attribute(attr=name, value=ast.Name(id="self")) if name == attribute:
            return node.lineno
        case _:
            return 0
