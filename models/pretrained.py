"""Published weights: networks of timm by name, with weights that are downloaded or none; files of the hub."""

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from launchbay import UserError

PATIENCE = "unless they are here already; without a network it takes a minute to find that out"
OFFLINE = (
    "on a machine with a network, save their state_dict() with safetensors, and start from that file (--weights FILE); "
    "or train without pretrained weights"
)

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def timm_network(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
    """timm's network `name`, as timm.create_model builds it with `options`.

    Args:
        pretrained: with the weights that timm downloads.

    Raises:
        UserError: timm does not know the name, or the weights cannot be had.
    """
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would report each of five attempts
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        near = (timm.list_models(f"{name}*") or get_close_matches(name, timm.list_models()))[:3]
        said = f"timm has no network {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise UserError(said, "timm.list_models() names them all")
    if pretrained:
        print(f"fetching the weights of timm/{name}, {PATIENCE}", flush=True)
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"the weights of timm/{name} cannot be downloaded: {reason}", OFFLINE) from error


def hub_file(repository: str) -> Path:
    """Return the file of weights of a `repository` of the Hugging Face hub, ORGANISATION/NAME or that with @REVISION,
    downloaded unless it is here already.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    print(f"fetching the weights of {repository}, {PATIENCE}", flush=True)
    name, _, revision = repository.partition("@")
    reason: Exception | None = None
    for file in HUB_FILES:
        try:
            return Path(hf_hub_download(name, file, revision=revision or None))
        except EntryNotFoundError as error:  # also where it is not here, and the hub cannot be asked
            reason = reason or error
        except Exception as error:
            reason = error
            break
    said = (str(reason) or type(reason).__name__).splitlines()[0]
    raise UserError(f"the weights of hf-hub:{repository} cannot be downloaded: {said}", OFFLINE) from reason


def fit_published(tensors: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], set[str], list[str]]:
    """Return published `tensors` as the timm network `network` can take them, the names to leave out (a classifier of
    other classes), and notes on what was changed (a first layer for other channels). Other networks get all as it is.
    """
    from timm.models import adapt_input_conv

    config: Any = getattr(network, "pretrained_cfg", {})
    fitted, wanted, notes = dict(tensors), network.state_dict(), list[str]()
    for name in [f"{layer}.weight" for layer in names_in(config, "first_conv")]:
        if name in wanted and name in fitted and fitted[name].shape[1] != wanted[name].shape[1]:
            notes.append(f"{name} brought from {fitted[name].shape[1]} to {wanted[name].shape[1]} channels")
            fitted[name] = adapt_input_conv(wanted[name].shape[1], fitted[name])
    left_out = set[str]()
    for layer in names_in(config, "classifier"):
        names = {name for name in {**fitted, **wanted} if name.startswith(f"{layer}.")}
        if not all(n in fitted and n in wanted and fitted[n].shape == wanted[n].shape for n in names):
            left_out |= names
    return fitted, left_out, notes


def names_in(config: Mapping[str, str | Sequence[str] | None], kind: str) -> tuple[str, ...]:
    """Return the layers that timm's `config` has as its first ("first_conv") or last ("classifier"): some, or none."""
    found = config.get(kind) or ()
    return (found,) if isinstance(found, str) else tuple(found)
