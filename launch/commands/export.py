"""`launchbay export RUN`: the weights of a run as one plain safetensors file, which needs nothing of ours."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from launchbay import UserError, printable
from launchbay.launch.config.data_names import DATA, placeless
from launchbay.launch.files import replacing
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints

SUFFIX = ".safetensors"
PLACES = ("data_root", "val_root", "output_dir", "run", "resume")
"""Options that say where something is on the machine that trained; they are not exported."""
PUBLISHED = re.compile(r"(\w+=)?(timm/|hf-hub:|https?://)")
"""How the values of options begin that have a / in them, and are no paths."""


def export_run(run: Path, pointer: str, target: Path, console: Console) -> None:
    """Write the weights of the "best" or "last" checkpoint of `run` (their averages, with --ema) to `target`, a new
    file or the folder for it. Names are those of the network's own state_dict; with several networks each has its
    network's before it. The file's metadata: task, step, config (JSON, without paths), and the launchbay that trained.

    Raises:
        UserError: `run` is no run or has no intact checkpoint, or the file is there already, would be of another kind,
            or cannot be written.
    """
    mode = config_file(run).stat().st_mode
    target = target / f"{run.resolve().name}{SUFFIX}" if target.is_dir() else target
    if target.suffix != SUFFIX:
        raise UserError(
            f"{target} is no folder that is there, and does not end in {SUFFIX}, which is what export writes",
            f"name {target.with_suffix(SUFFIX) if target.name else SUFFIX}, or a folder",
        )
    if os.path.lexists(target):
        raise UserError(f"{target} exists already", "name another file; nothing was written")
    where = checkpoints.find_checkpoint(run / "checkpoints", pointer)
    state = checkpoints.read_state(where)
    networks = list(state.optimizers)
    files = {name: checkpoints.read_tensors(where / checkpoints.file_of(name)) for name in networks}
    named = {f"{name}.{key}": value for name, tensors in files.items() for key, value in tensors.items()}
    check_names(where, named)
    trained = {key for own in state.optimizers.values() for group in own.groups for key in group.params}
    parameters = sum(named[key].numel() for key in trained & named.keys())
    alone = f"{networks[0]}." if len(networks) == 1 else ""
    write_weights(
        target,
        {key.removeprefix(alone): value for key, value in named.items()},
        {
            "task": state.task,
            "step": str(state.step),
            "config": json.dumps(without_paths(state.config)),
            "launchbay": state.versions.get("launchbay", "unknown"),
        },
        mode,
    )
    said = f"{target}: {', '.join(networks)} of step {state.step}, {len(named)} tensors, {parameters:,} parameters"
    console.print(printable(said), highlight=False, markup=False, soft_wrap=True)


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


def write_weights(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str], mode: int) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            save_file(tensors, temporary, metadata)
            temporary.chmod(mode)  # safetensors lets nobody else read its files
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {target}: {error}", "name another place, or free some disk space") from error
