"""Checkpoints: tensors and JSON, complete or not there at all. No pickle, no importable names. They are found, verified
and read in models/checkpoints.py, by all who read one.

checkpoints/step-00000400/NAME.safetensors          one per network
                          NAME.trained.safetensors  with --ema, which makes NAME an average: what training goes on with
                          task.safetensors          the task's other state (a teacher, a queue) that training changed
                          task.frozen.safetensors   and what it did not: one file, linked from checkpoint to checkpoint
                          optimizers.safetensors    each tensor of optimizer state as NETWORK.PARAMETER.KEY
                          state.json                the rest
                          manifest.json             size and SHA-256 of each file, sealed by its own
checkpoints/last, best                              the name of a folder
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from launchbay.launch.checkpoint.optimizer_state import restore
from launchbay.launch.checkpoint.task_state import extra_state, load_own_state, own_state
from launchbay.launch.files import Json, synchronize, to_json, write_text
from launchbay.models.checkpoints import (
    FORMAT,
    PREFIX,
    fingerprint,
    list_checkpoints,
    load_weights,
    read_state,
    read_tensors,
    seal,
)

OPTIMIZERS = "optimizers.safetensors"
TASK = "task.safetensors"
FROZEN = "task.frozen.safetensors"


@dataclass(frozen=True)
class TrainedState:
    """The parts of a training that are saved: the task, its networks, their averages (--ema) and their optimizers, by
    the same names.
    """

    task: nn.Module
    networks: Mapping[str, nn.Module]
    averages: Mapping[str, AveragedModel]
    optimizers: Mapping[str, Optimizer]

    def extra_state(self) -> Json:
        """Return the extra state of the task and of its networks, by their names in the task.

        Raises:
            UserError: JSON cannot hold it.
        """
        extra = extra_state(own_state(self.task, self.networks))
        for name, network in self.networks.items():
            extra |= extra_state({f"{name}.{key}": value for key, value in network.state_dict().items()})
        return extra


@dataclass(frozen=True)
class CheckpointContent:
    """The content of a checkpoint, in memory: tensors by file and name, and JSON. Layers that share their weights have
    a copy each: safetensors holds no tensor twice. `frozen` is a digest of the tensors in `FROZEN`.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    frozen: str
    state: Json


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
        if file != FROZEN or not link_frozen(folder, content.frozen):
            save_file(dict(tensors), folder / file, {"digest": content.frozen} if file == FROZEN else None)
    (folder / "state.json").write_text(to_json(state, indent=1))
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": seal(files)}, indent=1))
    mode = (folder / "manifest.json").stat().st_mode  # safetensors lets nobody else read its files
    for path in folder.iterdir():
        path.chmod(mode)
        synchronize(path)


def link_frozen(folder: Path, digest: str) -> bool:
    """Link `FROZEN` into the new checkpoint `folder` from the newest one beside it that has the same tensors in that
    file, by their `digest`. Returns whether there is one, and the disk knows links.
    """
    for checkpoint in reversed(list_checkpoints(folder.parent)):
        file = checkpoint / FROZEN
        with suppress(OSError, ValueError, KeyError, SafetensorError):
            with safe_open(file, "pt") as opened:
                same = (opened.metadata() or {}).get("digest") == digest
            manifest = json.loads((checkpoint / "manifest.json").read_bytes())
            if same and manifest["files"][FROZEN] == fingerprint(file):
                os.link(file, folder / FROZEN)
                return True
    return False


def load_checkpoint(checkpoint: Path, trained_state: TrainedState) -> Json:
    """Put a verified checkpoint's tensors where they were taken from. Returns the content of its state.json.

    Raises:
        UserError: they do not fit, or are not what the networks and optimizers of a training can be.
    """
    state = read_state(checkpoint)
    load_weights(checkpoint, trained_state.networks, trained=bool(trained_state.averages))
    load_weights(checkpoint, {name: averaged.module for name, averaged in trained_state.averages.items()})
    load_task(checkpoint, trained_state.task, trained_state.networks)
    for averaged in trained_state.averages.values():
        averaged.n_averaged.fill_(state["step"])
    tensors = read_tensors(checkpoint / OPTIMIZERS)
    for name, optimizer in trained_state.optimizers.items():
        mine = {where: tensor for where, tensor in tensors.items() if where.startswith(f"{name}.")}
        restore(trained_state.networks, optimizer, name, mine, state["optimizers"][name])
    return state


def load_task(checkpoint: Path, task: nn.Module, networks: Mapping[str, nn.Module], *, strict: bool = True) -> None:
    """Put the state of a verified checkpoint that is of none of the `networks` into `task`; see `load_own_state`."""
    extra = read_state(checkpoint).get("extra_state")
    if extra is None:
        if lacking := own_state(task, networks):
            parts = ", ".join(sorted({name.partition(".")[0] for name in lacking}))
            print(f"{checkpoint} has no state of {parts}: launchbay saved networks only then", flush=True)
        return
    state = {name: value for name, value in extra.items() if name.partition(".")[0] not in networks}
    for file in (checkpoint / TASK, checkpoint / FROZEN):
        state |= read_tensors(file) if file.is_file() else {}
    load_own_state(task, networks, state, str(checkpoint), strict=strict)


def delete_old(folder: Path, keep: int) -> None:
    best = (folder / "best").read_text(errors="replace").strip() if (folder / "best").is_file() else ""
    last = (folder / "last").read_text()  # what comes after it is damaged, and no reason to delete it
    for checkpoint in [path for path in list_checkpoints(folder) if path.name <= last][:-keep]:
        if checkpoint.name != best:
            doomed = checkpoint.rename(folder / f".tmp-{checkpoint.name}")  # no half-deleted checkpoint has a good name
            shutil.rmtree(doomed)
