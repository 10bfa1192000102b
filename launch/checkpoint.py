"""Checkpoints: tensors and JSON, complete or not there at all, verified before use. No pickle, no importable names.

checkpoints/step-00000400/NAME.safetensors          one per network
                          NAME.trained.safetensors  with --ema, which makes NAME an average: what training goes on with
                          optimizers.safetensors    each tensor of optimizer state as NETWORK.PARAMETER.KEY
                          state.json                the rest
                          manifest.json             size and SHA-256 of each file, sealed by its own
checkpoints/last, best                              the name of a folder
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_file, save_model
from torch import Tensor, nn
from torch.optim import Optimizer

from launchbay import UserError

FORMAT = 1
PREFIX = "step-"


class DamagedCheckpoint(Exception):
    """A file of a checkpoint is missing, cut short or changed."""


def save(
    folder: Path,
    step: int,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    state: Mapping[str, Any],
    *,
    averages: Mapping[str, nn.Module],
    best: bool,
    keep: int,
) -> Path:
    """Write checkpoint `step`, point `last` (and `best`) to it, delete all but the newest `keep` and the best.

    Everything is written to a temporary folder beside and synchronised to disk before it gets its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    final = folder / f"{PREFIX}{step:08d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    temporary.mkdir()
    try:
        write(temporary, networks, averages, optimizers, {"format": FORMAT, "step": step, **state})
        synchronise(temporary)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    synchronise(folder)
    for name in ("last", "best") if best else ("last",):
        write_text(folder / name, final.name)
    delete_old(folder, keep)
    return final


def write(
    folder: Path,
    networks: Mapping[str, nn.Module],
    averages: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    state: dict[str, Any],
) -> None:
    for name, network in networks.items():
        save_model(averages.get(name, network), str(folder / f"{name}.safetensors"))
        if name in averages:
            save_model(network, str(folder / f"{name}.trained.safetensors"))
    tensors: dict[str, Tensor] = {}
    groups = {name: describe(networks, optimizer, name, tensors) for name, optimizer in optimizers.items()}
    save_file(tensors, folder / "optimizers.safetensors")
    (folder / "state.json").write_text(to_json({**state, "optimizers": groups}, indent=1))
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": seal(files)}, indent=1))
    for path in folder.iterdir():
        synchronise(path)


def describe(
    networks: Mapping[str, nn.Module], optimizer: Optimizer, name: str, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """The optimizer's state by parameter name: tensors go into `tensors`, what is returned is JSON."""
    names = {id(p): f"{network}.{key}" for network, module in networks.items() for key, p in module.named_parameters()}
    groups, values = [], {}
    for group in optimizer.param_groups:
        groups.append({key: value for key, value in group.items() if key != "params"})
        groups[-1]["params"] = [names[id(parameter)] for parameter in group["params"]]
        for parameter in group["params"]:
            for key, value in optimizer.state.get(parameter, {}).items():
                where = f"{names[id(parameter)]}.{key}"
                if isinstance(value, Tensor):
                    tensors[where] = value.detach().cpu().contiguous()
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


def verify(checkpoint: Path) -> dict[str, Any]:
    """The content of the checkpoint's state.json, after every file was found as it was written.

    Raises:
        DamagedCheckpoint: one is not; it is named.
    """
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_bytes())
        files = manifest["files"]
        if manifest["seal"] != seal(files):
            raise ValueError("its seal does not match")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"{checkpoint}: manifest.json: {error}") from error
    for name, expected in files.items():
        path = checkpoint / Path(name).name
        try:
            found = fingerprint(path)
        except OSError as error:
            raise DamagedCheckpoint(f"{checkpoint}: {name}: {error.strerror}") from error
        if found != expected:
            raise DamagedCheckpoint(f"{checkpoint}: {name} is not what was written ({found['bytes']} bytes)")
    state = json.loads((checkpoint / "state.json").read_bytes())
    if state["format"] != FORMAT:
        raise UserError(
            f"{checkpoint} has format {state['format']}, this launchbay reads {FORMAT}", "use the version that wrote it"
        )
    return state


def load_networks(checkpoint: Path, networks: Mapping[str, nn.Module]) -> None:
    """Put the weights of a verified checkpoint into `networks`."""
    for name, network in networks.items():
        try:
            load_model(network, checkpoint / f"{name}.safetensors")
        except (OSError, RuntimeError) as error:
            raise UserError(f"{checkpoint} does not fit network {name!r}: {error}") from error


def find(folder: Path, pointer: str) -> Path:
    """The verified checkpoint that `pointer` ("last" or "best") names; if it is damaged the newest good one, aloud."""
    if not (folder / "last").is_file():
        raise UserError(f"{folder} holds no checkpoint", "has the run reached its first one?")
    name = (folder / pointer if (folder / pointer).is_file() else folder / "last").read_text().strip()
    candidates = [folder / Path(name).name, *reversed(steps(folder))]
    for checkpoint in dict.fromkeys(candidates):
        try:
            verify(checkpoint)
            return checkpoint
        except DamagedCheckpoint as error:
            print(f"damaged checkpoint, taking the one before: {error}", flush=True)
    raise UserError(f"no checkpoint in {folder} is whole")


def steps(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def delete_old(folder: Path, keep: int) -> None:
    best = (folder / "best").read_text().strip() if (folder / "best").is_file() else ""
    for checkpoint in steps(folder)[:-keep]:
        if checkpoint.name != best:
            doomed = checkpoint.rename(folder / f".tmp-{checkpoint.name}")  # no half-deleted checkpoint has a good name
            shutil.rmtree(doomed)


def fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def seal(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace the file at once: a reader finds the old text or the new."""
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(text)
    synchronise(temporary)
    temporary.replace(path)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as the standard has it: a number that is none (nan, infinity) becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    return json.dumps(plain(value), indent=indent, allow_nan=False)


def synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
