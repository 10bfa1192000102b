"""An optimizer's state as tensors and JSON under the names of the parameters it belongs to, and back."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError
from launchbay.launch.files import Json


def describe(networks: Mapping[str, nn.Module], optimizer: Optimizer, name: str, tensors: dict[str, Tensor]) -> Json:
    """Return the state of the optimizer of network `name`: tensors go into `tensors`, what is returned is JSON."""
    names = parameter_names(networks)
    groups, values = [], {}
    for group in optimizer.param_groups:
        groups.append({key: value for key, value in group.items() if key != "params"})
        groups[-1]["params"] = [names[id(parameter)] for parameter in group["params"]]
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                where = f"{names[id(parameter)]}.{key}"
                if isinstance(value, Tensor):
                    tensors[where] = value
                else:
                    values[where] = value
    try:
        json.dumps([groups, values], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the state of {name!r}'s {type(optimizer).__name__} cannot be saved as tensors and JSON: {error}",
            "choose an optimizer that keeps numbers and tensors only",
        ) from error
    return {"class": type(optimizer).__name__, "groups": groups, "values": values}


def restore(
    networks: Mapping[str, nn.Module],
    optimizer: Optimizer,
    name: str,
    tensors: Mapping[str, Tensor],
    described: Json,
) -> None:
    """Give the optimizer of network `name` the state that `describe` took down. Its own settings, learning rate and
    all, stay: they follow from the options.

    Raises:
        UserError: that was another optimizer, or it had other parameters.
    """
    names = parameter_names(networks)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter for group in described["groups"] for parameter in group["params"]]
    if described["class"] != type(optimizer).__name__ or before != [names[id(p)] for p in parameters]:
        raise UserError(
            f"the checkpoint has {described['class']} with {len(before)} parameters for {name!r}, "
            f"the task {type(optimizer).__name__} with {len(parameters)}",
            "continue with the version of the task that wrote it",
        )
    values = {**described["values"], **tensors}
    by_parameter: dict[str, Json] = {}
    for where, value in values.items():
        parameter, _, key = where.rpartition(".")
        by_parameter.setdefault(parameter, {})[key] = value
    state = {
        number: {key: laid_out(value, parameter) for key, value in by_parameter[names[id(parameter)]].items()}
        for number, parameter in enumerate(parameters)
        if names[id(parameter)] in by_parameter
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def laid_out(value: object, parameter: Tensor) -> object:
    """In memory of its own, ordered as the parameter is: tensors straight from a file are not aligned, and sums over
    another order round differently."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value) if (
        value.shape == parameter.shape
    ) else value.clone()  # fmt: skip


def parameter_names(networks: Mapping[str, nn.Module]) -> dict[int, str]:
    """NETWORK.PARAMETER by the parameter's id."""
    return {id(p): f"{network}.{key}" for network, module in networks.items() for key, p in module.named_parameters()}
