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
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from launchbay import UserError
from launchbay.launch.checkpoint.optimizer_state import restore
from launchbay.launch.files import Json, synchronize, to_json, write_text

FORMAT = 1
PREFIX = "step-"
OPTIMIZERS = "optimizers.safetensors"


class DamagedCheckpoint(Exception):
    """A file of a checkpoint is missing, cut short or changed."""


@dataclass(frozen=True)
class TrainedState:
    """The parts of a training that are saved as tensors: networks, their averages (--ema) and their optimizers, by the
    same names.
    """

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, AveragedModel]
    optimizers: Mapping[str, Optimizer]


@dataclass(frozen=True)
class CheckpointContent:
    """The content of a checkpoint, in memory: tensors by file and name, and JSON. Layers that share their weights have
    a copy each: safetensors holds no tensor twice.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Json


def file_of(network: str, *, trained: bool = False) -> str:
    """Return the file of a network's weights; with --ema, which makes that an average, `trained` ones have another."""
    return f"{network}.trained.safetensors" if trained else f"{network}.safetensors"


def save(folder: Path, step: int, content: CheckpointContent, *, best: bool, keep: int) -> Path:
    """Write checkpoint `step`, point `last` (and `best`) to it, delete all but the newest `keep` and the best.

    Everything is written to a temporary folder beside and synchronised to disk before it gets its name.

    Raises:
        OSError: the disk is full, or fails; earlier checkpoints stay intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    final = folder / f"{PREFIX}{step:08d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    temporary.mkdir()
    try:
        write_files(temporary, content, {"format": FORMAT, "step": step, **content.state})
        synchronize(temporary)
        if final.exists():  # damaged, or it would have been gone on from
            shutil.rmtree(final.rename(folder / f".tmp-{final.name}-old"))
        temporary.rename(final)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, SafetensorError):  # how that library reports a disk that is full
            raise OSError(str(error)) from error
        raise
    synchronize(folder)
    update_pointers(final, best=best)
    delete_old(folder, keep)
    return final


def update_pointers(checkpoint: Path, *, best: bool) -> None:
    """Let `last` (and `best`) name `checkpoint`."""
    for name in ("last", "best") if best else ("last",):
        write_text(checkpoint.parent / name, checkpoint.name)


def write_files(folder: Path, content: CheckpointContent, state: Json) -> None:
    for file, tensors in content.tensors.items():
        save_file(dict(tensors), folder / file)
    (folder / "state.json").write_text(to_json(state, indent=1))
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": seal(files)}, indent=1))
    mode = (folder / "manifest.json").stat().st_mode  # safetensors lets nobody else read its files
    for path in folder.iterdir():
        path.chmod(mode)
        synchronize(path)


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors of `network`, each in its own memory, as safetensors want them: also those of layers
    that share their weights, which safetensors' save_model cannot tell apart with channels last.
    """
    return {name: t.detach().clone(memory_format=torch.contiguous_format) for name, t in network.state_dict().items()}


def load_checkpoint(checkpoint: Path, trained_state: TrainedState) -> Json:
    """Put a verified checkpoint's tensors where they were taken from. Returns the content of its state.json.

    Raises:
        UserError: they do not fit, or are not what the networks and optimizers of a training can be.
    """
    state = json.loads((checkpoint / "state.json").read_bytes())
    load_weights(checkpoint, trained_state.networks, trained=bool(trained_state.averages))
    load_weights(checkpoint, {name: averaged.module for name, averaged in trained_state.averages.items()})
    for averaged in trained_state.averages.values():
        averaged.n_averaged.fill_(state["step"])
    tensors = read_tensors(checkpoint / OPTIMIZERS)
    for name, optimizer in trained_state.optimizers.items():
        mine = {where: tensor for where, tensor in tensors.items() if where.startswith(f"{name}.")}
        restore(trained_state.networks, optimizer, name, mine, state["optimizers"][name])
    return state


def verify(checkpoint: Path) -> Json:
    """Return the content of the checkpoint's state.json, after every file was found as it was written.

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


def load_weights(checkpoint: Path, networks: Mapping[str, nn.Module], *, trained: bool = False) -> None:
    """Put the weights of a verified checkpoint into `networks`."""
    for name, network in networks.items():
        file = checkpoint / file_of(name, trained=trained)
        tensors = read_tensors(file)
        for tensor, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise UserError(f"{file}: {tensor} has nan or infinite values", "go back to an earlier checkpoint")
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            said = f"{checkpoint} does not fit network {name!r}: {error}"
            raise UserError(said, "use the version of the task that wrote it") from error


def read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is not a safetensors file: {error}", "go back to an earlier checkpoint") from error


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


def delete_old(folder: Path, keep: int) -> None:
    best = (folder / "best").read_text(errors="replace").strip() if (folder / "best").is_file() else ""
    last = (folder / "last").read_text()  # what comes after it is damaged, and no reason to delete it
    for checkpoint in [path for path in list_checkpoints(folder) if path.name <= last][:-keep]:
        if checkpoint.name != best:
            doomed = checkpoint.rename(folder / f".tmp-{checkpoint.name}")  # no half-deleted checkpoint has a good name
            shutil.rmtree(doomed)


def fingerprint(path: Path) -> Json:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def seal(files: Json) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
