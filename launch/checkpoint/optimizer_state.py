"""An optimizer's state as tensors and JSON under the names of the parameters it belongs to, and back."""

import json
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError, number_of
from launchbay.launch.files import Json
from launchbay.models.saved import SavedOptimizer
from launchbay.models.tensors import is_shared_out, rows_of, same_kind, shared_like

MOST_STEPS = 20
"""That an optimizer is asked to take until it has made all state that it ever makes."""
HINT = "go back to an earlier checkpoint, or continue with the version of the task that wrote it"


def describe(networks: Mapping[str, nn.Module], optimizer: Optimizer, name: str, tensors: dict[str, Tensor]) -> Json:
    """Return the state of the optimizer of network `name`: tensors go into `tensors`, what is returned is JSON."""
    names = parameter_names(networks)
    groups, values = [], {}
    state = optimizer.state_dict()["state"]  # by number; one that is made of another hands on what that has
    for group in optimizer.param_groups:
        groups.append({key: as_json(value) for key, value in group.items() if key != "params"})
        groups[-1]["params"] = [names[id(parameter)] for parameter in group["params"]]
    for number, parameter in enumerate(name for group in groups for name in group["params"]):
        for key, value in state.get(number, {}).items():
            where = f"{parameter}.{key}"
            if isinstance(value, Tensor):
                tensors[where] = value
            else:
                values[where] = value
    check_json(optimizer, name, [groups, values])
    return {"class": type(optimizer).__name__, "groups": groups, "values": values}


def as_json(setting: object) -> object:
    """Return what a checkpoint has for a setting of a group: a count may be a tensor, and what is set to a type of
    numbers is set so again by the options.
    """
    if isinstance(setting, Tensor) and setting.numel() == 1:
        return setting.item()
    return str(setting) if isinstance(setting, torch.dtype) else setting


def check_json(optimizer: Optimizer, name: str, values: object) -> None:
    """Check that JSON can hold the `values` of the optimizer of network `name`.

    Raises:
        UserError: it cannot.
    """
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the state of {name!r}'s {type(optimizer).__name__} cannot be saved as tensors and JSON: {error}",
            "choose an optimizer that keeps numbers and tensors only",
        ) from error


def check_savable(optimizer: Optimizer, name: str) -> None:
    """Check before the first step, as far as can be found out, that the optimizer of network `name` can be saved.

    Raises:
        UserError: it cannot.
    """
    for group in optimizer.param_groups:
        made = first_state(optimizer, group, group["params"][0], {}) or {}
        settings = [as_json(value) for key, value in group.items() if key != "params"]
        check_json(optimizer, name, settings + [value for value in made.values() if not isinstance(value, Tensor)])


def restore(
    networks: Mapping[str, nn.Module],
    optimizer: Optimizer,
    name: str,
    tensors: Mapping[str, Tensor],
    described: SavedOptimizer,
) -> None:
    """Give the optimizer of network `name` the state that `describe` took down. Its own settings, learning rate and
    all, stay: they follow from the options, but for what its own steps change.

    Raises:
        UserError: that was another optimizer, it had other parameters, or would make other state of them.
    """
    names = parameter_names(networks)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter for group in described.groups for parameter in group.params]
    if described.kind != type(optimizer).__name__ or before != [names[id(p)] for p in parameters]:
        raise UserError(
            f"the checkpoint has {described.kind} with {number_of(len(before), 'parameter')} for {name!r}, "
            f"the task {type(optimizer).__name__} with {len(parameters)}",
            "continue with the version of the task that wrote it",
        )
    by_parameter: dict[str, Json] = {}
    for where, value in [*described.values.items(), *tensors.items()]:
        parameter, _, key = where.rpartition(".")
        by_parameter.setdefault(parameter, {})[key] = value
    if unknown := [where for where in by_parameter if where not in before]:
        raise UserError(f"the checkpoint has state of {unknown[0]} for {name!r}, which is no parameter of it", HINT)
    check_state(optimizer, names, by_parameter)
    restore_counters(optimizer, described, name)
    state = {
        number: {key: laid_out(value, parameter) for key, value in by_parameter[names[id(parameter)]].items()}
        for number, parameter in enumerate(parameters)
        if names[id(parameter)] in by_parameter
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def check_state(optimizer: Optimizer, names: Mapping[int, str], saved: Mapping[str, Json]) -> None:
    """Check that the `saved` state of each parameter, by its name, is what `optimizer` itself would make of it: its
    native code believes what it finds.

    Raises:
        UserError: one is not.
    """
    known: dict[object, Json | None] = {}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            name = names[id(parameter)]
            found = saved.get(name, {})
            form = number, parameter.shape, parameter.dtype, frozenset(found)
            if found and form not in known:
                known[form] = first_state(optimizer, group, parameter, found)
            if found:
                check_like(name, found, known[form], parameter)


def twin_of(optimizer: Optimizer, group: Json, parameter: Tensor, gradient: float) -> Optimizer:
    """Return an optimizer like `optimizer`, of one parameter like `parameter` with gradients of one value, alone in a
    group like `group`. What `optimizer` is made of has a twin, too.
    """
    sample = torch.zeros_like(parameter, requires_grad=True)
    sample.grad = torch.full_like(parameter, gradient)
    groups, states = [{**group, "params": [sample]}], dict[int, defaultdict[Tensor, Json]]()

    def twin(optimizer: Optimizer) -> Optimizer:
        own: Json = dict(vars(optimizer))
        own |= {name: OrderedDict[int, object]() for name in own if name.endswith("_hooks")}
        own |= {name: twin(part) for name, part in own.items() if isinstance(part, Optimizer)}
        state = states.setdefault(id(optimizer.state), defaultdict(dict))
        made = object.__new__(type(optimizer))
        vars(made).update({**own, "state": state, "param_groups": groups})
        return made

    return twin(optimizer)


def first_state(optimizer: Optimizer, group: Json, parameter: Tensor, wanted: Mapping[str, object]) -> Json | None:
    """Return the state that an optimizer like `optimizer` makes of a parameter like this one, of gradients that are 0:
    that of its first step, or of the first one that has all keys `wanted`. None if it cannot be asked.
    """
    try:
        twin = twin_of(optimizer, group, parameter, 0)
        made: Json = {}
        for _ in range(MOST_STEPS):
            type(optimizer).step(twin)
            made = twin.state_dict()["state"].get(0, {})
            if wanted.keys() <= made.keys():
                break
        return made or None
    except Exception:  # it wants more than gradients
        return None


def restore_counters(optimizer: Optimizer, described: SavedOptimizer, name: str) -> None:
    """Give the groups of `optimizer` those numbers that its own steps change, a count of steps say, as they were.

    Raises:
        UserError: one is missing, or no number.
    """
    for group, saved in zip(optimizer.param_groups, described.groups, strict=True):
        differing = {k for k, value in saved.settings.items() if k not in group or as_json(group[k]) != value}
        for key, like in counters(optimizer, group).items() if differing else ():
            value = saved.settings.get(key)
            if not is_number(value):
                raise UserError(f"the checkpoint has no number {key!r} for the optimizer of {name!r}", HINT)
            group[key] = torch.full_like(like, value) if isinstance(like, Tensor) else value


def counters(optimizer: Optimizer, group: Json) -> dict[str, object]:
    """Return what `optimizer` counts in `group`: numbers that its steps change, as they make them; none if it cannot be
    asked."""
    try:
        twin = twin_of(optimizer, group, group["params"][0], 1)
        for _ in range(2):
            type(optimizer).step(twin)
        after = twin.param_groups[0]
    except Exception:  # it wants more than gradients
        return {}
    return {
        key: value
        for key, value in after.items()
        if is_number(as_json(value)) and (key not in group or as_json(group[key]) != as_json(value))
    }


def check_like(name: str, found: Json, made: Json | None, parameter: Tensor) -> None:
    """Check the state `found` of the `parameter` of that `name` by that which the optimizer has `made`; where it could
    not be asked, each tensor is a number, or as large as the parameter.

    Raises:
        UserError: it is something else.
    """
    if made is not None and (odd := sorted(found.keys() ^ made.keys())):
        verb = "has" if odd[0] in found else "lacks"
        raise UserError(f"the optimizer's state of {name} {verb} {odd[0]!r}", HINT)
    for key, value in found.items():
        if made is not None:
            like = made[key]
        elif isinstance(value, Tensor):
            like = parameter if value.shape == parameter.shape else torch.zeros((), dtype=value.dtype)
        else:
            like = value
        said = mismatch(value, like)
        if key == "step" and not said and torch.as_tensor(value).lt(0).any():
            said = "is less than 0"
        if said:
            raise UserError(f"the optimizer's state of {name}: {key} {said}", HINT)


def mismatch(value: object, like: object) -> str:
    """Return how `value` differs in kind from one that is `like` it; empty if it does not."""
    if isinstance(value, Tensor) and isinstance(like, Tensor):
        if value.shape != like.shape or not same_kind(value.dtype, like.dtype):
            return f"is {tuple(value.shape)} of {value.dtype}, and has to be {tuple(like.shape)} of {like.dtype}"
        return "" if rows_of(value).to(like.dtype).isfinite().all() else "has nan or infinite values"
    alike = (is_number(value) and is_number(like)) or type(value) is type(like)
    return "" if alike else f"is a {type(value).__name__}, and has to be a {type(like).__name__}"


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def laid_out(value: object, parameter: Tensor) -> object:
    """In memory of its own, ordered as the parameter is: tensors straight from a file are not aligned, and sums over
    another order round differently."""
    if not isinstance(value, Tensor):
        return value
    if is_shared_out(parameter):
        return shared_like(value, parameter)
    return torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value) if (
        value.shape == parameter.shape
    ) else value.clone()  # fmt: skip


def parameter_names(networks: Mapping[str, nn.Module]) -> dict[int, str]:
    """NETWORK.PARAMETER by the parameter's id."""
    return {id(p): f"{network}.{key}" for network, module in networks.items() for key, p in module.named_parameters()}
