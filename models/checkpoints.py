"""Checkpoints as they are read, by whoever reads one: found, verified, and where damaged replaced by the one before,
aloud. What they hold and how they are written: launch/checkpoint/storage.py. Tensors and JSON; no pickle.
"""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from launchbay import UserError

FORMAT = 1
PREFIX = "step-"


class DamagedCheckpoint(Exception):
    """A file of a checkpoint is missing, cut short or changed."""


def file_of(network: str, *, trained: bool = False) -> str:
    """Return the file of a network's weights; with --ema, which makes that an average, `trained` ones have another."""
    return f"{network}.trained.safetensors" if trained else f"{network}.safetensors"


def open_checkpoint(path: Path, pointer: str, asked: str) -> Path:
    """Return the verified checkpoint that `path` is, or the one that `pointer` names in it, a run's folder.

    Args:
        pointer: "best" or "last", as `find_checkpoint` takes it; "newest": that one, wherever `last` points.
        asked: the option and its value, which begin a message: "--resume runs/superres-1".

    Raises:
        UserError: there is nothing under that name, or no intact checkpoint.
    """
    remedy = "give the folder of a run or of a checkpoint"
    if not path.is_dir():
        raise UserError(f"{asked}: there is no such folder", remedy)
    inside = path / "checkpoints"
    if list_checkpoints(inside):
        return newest_checkpoint(inside) if pointer == "newest" else find_checkpoint(inside, pointer)
    if (path / "config.yaml").is_file():
        raise UserError(f"{asked}: that run has no checkpoint yet", "name another")
    if not (path / "manifest.json").is_file():
        raise UserError(f"{asked}: there is no checkpoint", remedy)
    try:
        verify(path)
    except DamagedCheckpoint as error:
        raise UserError(f"{asked}: {error}", remedy) from error
    return path


def find_checkpoint(folder: Path, pointer: str) -> Path:
    """Return the verified checkpoint that `pointer` ("last" or "best") names; if it is damaged the newest intact one,
    aloud.
    """
    if not (folder / "last").is_file():
        raise UserError(
            f"{folder} holds no checkpoint", "the run has not saved one yet: continue it, or name another run"
        )
    name = (folder / pointer if (folder / pointer).is_file() else folder / "last").read_text(errors="replace").strip()
    return first_intact([folder / Path(name).name, *reversed(list_checkpoints(folder))], folder)


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest intact checkpoint, wherever `last` points: a run may have ended between the two."""
    return first_intact(list(reversed(list_checkpoints(folder))), folder)


def first_intact(candidates: list[Path], folder: Path) -> Path:
    for checkpoint in dict.fromkeys(candidates):
        try:
            verify(checkpoint)
            return checkpoint
        except DamagedCheckpoint as error:
            print(f"damaged checkpoint, taking the one before: {error}", flush=True)
    raise UserError(
        f"no checkpoint in {folder} is intact", "restore one from a copy, or start another --run; nothing was changed"
    )


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def verify(checkpoint: Path) -> dict[str, Any]:
    """Return the content of the checkpoint's state.json, after every file was found as it was written.

    Raises:
        DamagedCheckpoint: one is not; it is named.
        UserError: another version of launchbay wrote it.
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
    state = read_state(checkpoint)
    if state["format"] != FORMAT:
        raise UserError(
            f"{checkpoint} has format {state['format']}, this launchbay reads {FORMAT}", "use the version that wrote it"
        )
    check_numbers(checkpoint, list(files), state)
    return state


def check_numbers(checkpoint: Path, files: Sequence[str], state: Mapping[str, Any]) -> None:
    """Check that what a training goes on with is numbers: launchbay once saved others, too.

    Raises:
        DamagedCheckpoint: a tensor has nan or infinite values, and is none of those that had when the run began.
    """
    known = state.get("not_finite")
    for name in files:
        of_task = name in ("task.safetensors", "task.frozen.safetensors")
        if not name.endswith(".safetensors") or (of_task and known is None):  # what began so was not noted then
            continue
        allowed = (known or {}).get(name, ())
        try:
            tensors = read_tensors(checkpoint / Path(name).name)
        except UserError as error:
            raise DamagedCheckpoint(error.message) from error
        if bad := not_finite(tensors, allowed):
            raise DamagedCheckpoint(f"{checkpoint}: {name}: {bad[0]} has nan or infinite values")


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the content of a verified checkpoint's state.json."""
    return json.loads((checkpoint / "state.json").read_bytes())


def load_weights(checkpoint: Path, networks: Mapping[str, nn.Module], *, trained: bool = False) -> None:
    """Put the weights of a verified checkpoint into `networks`.

    Raises:
        UserError: they do not fit.
    """
    extra = read_state(checkpoint).get("extra_state", {})
    for name, network in networks.items():
        file = checkpoint / file_of(name, trained=trained)
        tensors = read_tensors(file)
        own = {key.removeprefix(f"{name}."): value for key, value in extra.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(tensors | own)
        except RuntimeError as error:
            said = f"{checkpoint} does not fit network {name!r}: {error}"
            raise UserError(said, "use the version of the task that wrote it") from error


def read_tensors(file: Path, hint: str = "go back to an earlier checkpoint") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        UserError: it is none, or cannot be read.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is not a safetensors file: {error}", hint) from error


def not_finite(tensors: Mapping[str, Tensor], allowed: Container[str] = ()) -> list[str]:
    """Return the names of `tensors` that have a value that is nan or infinite, and are not among the `allowed`."""
    return [
        name
        for name, value in tensors.items()
        if name not in allowed and value.is_floating_point() and not value.isfinite().all()
    ]


def check_finite(tensors: Mapping[str, Tensor], where: str, hint: str) -> None:
    """Raise a UserError if one of the `tensors`, which were read from `where`, has a value that is nan or infinite."""
    if bad := not_finite(tensors):
        raise UserError(f"{where}: {bad[0]} has nan or infinite values", hint)


def fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def seal(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
