"""The weights of a run as one plain safetensors file, which needs nothing of ours."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from launchbay import UserError, number_of
from launchbay.launch.config.data_names import DATA, placeless
from launchbay.launch.files import replacing
from launchbay.models import checkpoints
from launchbay.models.saved import State

SUFFIX = ".safetensors"
PLACES = ("data_root", "val_root", "output_dir", "run", "resume")
"""Options that say where something is on the machine that trained; they are not exported."""
PUBLISHED = re.compile(r"(\w+=)?(timm/|spandrel/|hf-hub:|https?://)")
"""How the values of options begin that have a / in them, and are no paths."""


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint (their averages, with --ema), and what there is to say of them."""

    state: State
    networks: list[str]
    tensors: Mapping[str, Tensor]
    """By the names that they have in the network; with several networks each has its network's before it."""
    metadata: dict[str, str]
    """Task, step, config (JSON, without paths), and the launchbay that trained."""
    about: str
    """In a line."""


def read_weights(checkpoint: Path) -> Weights:
    """Return the weights of a verified checkpoint.

    Raises:
        UserError: a tensor has a name that cannot be exported.
    """
    state = checkpoints.read_state(checkpoint)
    networks = list(state.optimizers)
    files = {name: checkpoints.read_tensors(checkpoint / checkpoints.file_of(name)) for name in networks}
    named = {f"{name}.{key}": value for name, tensors in files.items() for key, value in tensors.items()}
    check_names(checkpoint, named)
    trained = {key for own in state.optimizers.values() for group in own.groups for key in group.params}
    parameters = sum(named[key].numel() for key in trained & named.keys())
    size = f"{number_of(len(named), 'tensor')}, {number_of(parameters, 'parameter')}"
    about = f"{', '.join(networks)} of step {state.step}, {size}"
    alone = f"{networks[0]}." if len(networks) == 1 else ""
    tensors = {key.removeprefix(alone): value for key, value in named.items()}
    return Weights(state, networks, tensors, metadata_of(state), about)


def metadata_of(state: State) -> dict[str, str]:
    """Return what a file says of the run that it is from."""
    return {
        "task": state.task or "",
        "step": str(state.step),
        "config": json.dumps(without_paths(state.config)),
        "launchbay": state.versions.get("launchbay", "unknown"),
    }


def check_names(where: Path, names: Iterable[str]) -> None:
    """Check that the names of tensors can be those of files, which others may make of them.

    Raises:
        UserError: one cannot.
    """
    for name in names:
        if set(name) & {"/", "\\"} or ".." in name or not name.isprintable():
            raise UserError(f"{where} has a tensor called {name!r}", "export another run: names are not paths")


def without_paths(config: Mapping[str, object]) -> dict[str, object]:
    """Return the options in `config` but those that say where something is on the machine that trained."""
    kept = {name: value for name, value in config.items() if name not in PLACES}
    plain = {name: placeless(value) if name in DATA else value for name, value in kept.items()}
    return {name: value for name, value in plain.items() if name in DATA or not has_path(value)}


def has_path(value: object) -> bool:
    """Return whether `value` is, or contains, what looks like a path."""
    if isinstance(value, list | tuple):
        return any(map(has_path, value))
    if isinstance(value, dict):
        return any(map(has_path, value.values()))
    return isinstance(value, str) and bool(set(value) & {"/", "\\", "~"}) and not PUBLISHED.match(value)


def write_weights(target: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], mode: int) -> None:
    """Write a new file that those may read who may read `mode`.

    Raises:
        UserError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            save_file(dict(tensors), temporary, metadata)
            temporary.chmod(mode)  # safetensors lets nobody else read its files
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {target}: {error}", "name another place, or free some disk space") from error
