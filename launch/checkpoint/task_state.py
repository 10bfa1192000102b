"""A task's own state: all of its `state_dict()` that belongs to no trainable network. A teacher, a queue, a counter.

What PyTorch calls extra state (`get_extra_state`), of the task and of its networks, is kept as JSON.
"""

import hashlib
import json
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from launchbay import UserError, printable
from launchbay.devices import to_host
from launchbay.launch.files import Json, to_json
from launchbay.models.checkpoints import cut
from launchbay.models.tensors import FLOATS, check_finite, check_kinds


def own_state(task: nn.Module, networks: Collection[str]) -> dict[str, object]:
    """Return what `task.state_dict()` has beside its trainable `networks`."""
    return {name: value for name, value in task.state_dict().items() if name.partition(".")[0] not in networks}


def tensors_of(state: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the tensors of a state_dict: all but extra state."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def extra_state(state: Mapping[str, object]) -> Json:
    """Return what is no tensor in a state_dict.

    Raises:
        UserError: JSON cannot hold it, so that it would come back as something else.
    """
    extra = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    for name, value in extra.items():
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise UserError(
                f"{name} is a {type(value).__name__} that JSON cannot hold, so no checkpoint can",
                "let get_extra_state return numbers, strings, lists, dicts with string keys; make tensors buffers",
            )
    return extra


def digests(state: Mapping[str, object]) -> dict[str, str]:
    """Return a SHA-256 of each value of `state`: of a tensor's type, shape and bits, or of JSON."""
    tensors = {name: value for name, value in tensors_of(state).items() if not value.is_cpu}
    return {name: digest(value) for name, value in {**state, **to_host(tensors)}.items()}


def digest(value: object) -> str:
    if not isinstance(value, Tensor):
        return hashlib.sha256(to_json(value).encode()).hexdigest()
    data = value.detach().contiguous().flatten()
    hashed = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    hashed.update(data.view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def load_own_state(
    task: nn.Module, networks: Collection[str], state: Mapping[str, object], where: str, *, strict: bool
) -> None:
    """Put `state`, read from checkpoint `where`, into `task`, whose trainable `networks` are left alone. Unless
    `strict`, a part of the task that is not there is left out, aloud: only the training needs it.

    Raises:
        UserError: the task has other state than the checkpoint.
    """
    mine, given = own_state(task, networks), dict(state)
    if not strict:
        absent = {name for name in given.keys() - mine.keys() if not hasattr(task, name.partition(".")[0])}
        if absent:
            parts = ", ".join(sorted({name.partition(".")[0] for name in absent}))
            print(printable(f"not used here: the state of {parts}"), flush=True)
        given = {name: value for name, value in given.items() if name not in absent}
    differences = {"lacks": mine.keys() - given.keys(), "has, and the task has not,": given.keys() - mine.keys()}
    if said := [f"{verb} {', '.join(sorted(names)[:5])}" for verb, names in differences.items() if names]:
        raise UserError(
            f"{where} {'; it '.join(said)}",
            "go on with the version of the task that wrote it; give each buffer its value, not None, in __init__",
        )
    remedy, parameters = "go on with the version of the task that wrote it", dict(task.named_parameters())
    tensors = tensors_of(given)
    check_kinds(tensors, parameters, where, remedy)
    check_finite({name: value for name, value in tensors.items() if name in parameters}, where, remedy, parameters)
    adopt_buffers(task, tensors, where)
    try:
        task.load_state_dict(given, strict=False)  # the networks have files of their own
    except Exception as error:  # also what an author's set_extra_state makes of what it does not know
        raise UserError(f"{where} does not fit the task's own state: {cut(error)}", remedy) from error


def adopt_buffers(task: nn.Module, given: Mapping[str, Tensor], where: str) -> None:
    """Give the buffers of `task` the shape and the type that they have in `given`: a pool may grow in training, and a
    counter become a mean.

    Raises:
        UserError: a type is one that no network computes with, and not what the buffer has.
    """
    for name, buffer in list(task.named_buffers()):
        if name in given and (buffer.shape, buffer.dtype) != (given[name].shape, given[name].dtype):
            kind = given[name].dtype
            if kind not in (buffer.dtype, *FLOATS) and (kind.is_floating_point or kind.is_complex):
                raise UserError(
                    f"{where}: {name} has {kind} numbers, and the task {buffer.dtype}", "go back to an earlier one"
                )
            module, _, own = name.rpartition(".")
            setattr(task.get_submodule(module), own, given[name].to(buffer.device))
