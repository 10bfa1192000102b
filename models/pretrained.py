"""Networks of timm by name, with weights that are downloaded, read from a file, or none."""

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from launchbay import UserError


def timm_network(name: str, *, pretrained: bool = False, weights: Path | None = None, **options: Any) -> nn.Module:
    """timm's network `name`, as timm.create_model builds it with `options`.

    Args:
        pretrained: with the weights that timm downloads.
        weights: with those of this safetensors file, under timm's names.

    Raises:
        UserError: timm does not know the name, or the weights cannot be had.
    """
    import timm

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it would report each of five attempts
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        near = (timm.list_models(f"{name}*") or get_close_matches(name, timm.list_models()))[:3]
        said = f"timm has no network {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise UserError(said, "timm.list_models() names them all")
    local = {"pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
    if weights and not weights.is_file():
        raise UserError(f"there is no file of weights {weights}", "name a safetensors file with timm's own names")
    if pretrained:
        wait = "without a network it takes a minute to find that out"
        print(f"fetching the weights of timm/{name}, unless they are here already; {wait}", flush=True)
    try:
        return timm.create_model(name, pretrained=pretrained or weights is not None, **local, **options)
    except Exception as error:
        if not (pretrained or weights):
            raise
        source = str(weights) if weights else "its weights cannot be downloaded"
        raise UserError(
            f"timm's {name} cannot be had with pretrained weights ({source}): "
            f"{(str(error) or type(error).__name__).splitlines()[0]}",
            "on a machine with a network: timm.create_model(NAME, pretrained=True), save its state_dict with "
            "safetensors, and name that file; or train without pretrained weights",
        ) from error
