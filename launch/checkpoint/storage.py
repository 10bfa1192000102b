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
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from launchbay import UserError, printable
from launchbay.launch.checkpoint.optimizer_state import restore
from launchbay.launch.checkpoint.shards import join_rows
from launchbay.launch.checkpoint.task_state import extra_state, load_own_state, own_state
from launchbay.launch.files import Json, remove_leftovers, synchronize, to_json, write_text
from launchbay.models.checkpoints import (
    FORMAT,
    HINT,
    OPTIMIZERS,
    PREFIX,
    DamagedCheckpoint,
    OpenedCheckpoint,
    fingerprint,
    list_checkpoints,
    load_weights,
    read_manifest,
    read_pointer,
    seal,
    step_of,
)
from launchbay.models.reading import Unfit, check, parse, refuse_link
from launchbay.models.saved import STATE, STATE_BYTES, State

TASK = "task.safetensors"
FROZEN = "task.frozen.safetensors"
RECORD = "metrics.jsonl"
"""Beside the folder of checkpoints."""
UNFINISHED = re.compile(r"\.tmp-step-\d{8,15}(-\w+)?", re.ASCII)
"""The names of folders of checkpoints that were being written or deleted."""
OURS = re.compile(r"state\.json|manifest\.json|[^/]+\.safetensors|\.tmp\w{6}", re.ASCII)
"""The names of what `write_files` writes; the last is how safetensors begins a file."""


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

    Of the tensors in `rows` (--shard), by file and name, this process has some rows only; that is how many there are.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    frozen: str
    state: Json
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def save(
    folder: Path,
    step: int,
    content: CheckpointContent,
    *,
    best: bool,
    keep: int,
    collect: Callable[[Path], int] = lambda _: 1,
) -> Path:
    """Write checkpoint `step`, point `last` (and `best`) to it, delete all but the newest `keep` and the best.

    `collect` has other processes write their rows to the folder that it is given, and says how many processes there
    are. Everything is written to a temporary folder beside and synchronised to disk before it gets its name.

    Raises:
        OSError: the disk is full, or fails; earlier checkpoints stay intact.
        UserError: no run could read it again.
    """
    make_folder(folder)
    final = folder / f"{PREFIX}{step:08d}"
    temporary = folder / f".tmp-{final.name}-{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        write_files(temporary, content, {"format": FORMAT, "step": step, **content.state}, collect(temporary))
        synchronize(temporary)
        if (folder.parent / RECORD).is_file():  # a run that goes on from here needs its lines up to here
            synchronize(folder.parent / RECORD)
        if final.exists():  # damaged, or it would have been gone on from
            put_aside(final)
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


def make_folder(folder: Path) -> None:
    """Make the `folder` of a run's checkpoints, unless it is there, and remove what killed processes left in it."""
    refuse_link(folder)
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)  # not what it is in: a run folder that was removed stays away
        synchronize(folder.parent)
    remove_leftovers(folder)
    for path in folder.glob(".tmp-*"):
        if UNFINISHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and is_ours(path):
            shutil.rmtree(path)


def update_pointers(checkpoint: Path, *, best: bool) -> None:
    """Let `last` (and `best`) name `checkpoint`."""
    for name in ("last", "best") if best else ("last",):
        write_text(checkpoint.parent / name, checkpoint.name)


def write_files(folder: Path, content: CheckpointContent, state: Json, processes: int) -> None:
    for file, tensors in content.tensors.items():
        if file in content.rows:
            join_rows(folder / file, tensors, content.rows[file], processes)
        elif file != FROZEN or not link_frozen(folder, content.frozen):
            save_file(dict(tensors), folder / file, {"digest": content.frozen} if file == FROZEN else None)
    text = to_json(state, indent=1)
    check_readable(text)
    (folder / "state.json").write_text(text, encoding="utf-8")
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"files": files, "seal": seal(files)}, indent=1))
    mode = (folder / "manifest.json").stat().st_mode  # safetensors lets nobody else read its files
    for path in folder.iterdir():
        path.chmod(mode)
        synchronize(path)


def check_readable(state: str) -> None:
    """Check that the JSON of a state.json can be read again.

    Raises:
        UserError: it is too large, or nested too deeply, or a name in it is odd.
    """
    try:
        if len(state) > STATE_BYTES:
            raise Unfit(f"has more than {STATE_BYTES:,} bytes")
        check(parse(state.encode()), STATE)
    except Unfit as error:
        raise UserError(
            f"no run could go on from this checkpoint: its state.json {error}",
            "let get_extra_state return little, and name networks and figures in plain words; make tensors buffers",
        ) from error


def link_frozen(folder: Path, digest: str) -> bool:
    """Link `FROZEN` into the new checkpoint `folder` from the newest one beside it that has the same tensors in that
    file, by their `digest`. Returns whether there is one, and the disk knows links.
    """
    for checkpoint in reversed(list_checkpoints(folder.parent)):
        file = checkpoint / FROZEN
        with suppress(OSError, Unfit, DamagedCheckpoint, KeyError, SafetensorError):
            known = asdict(read_manifest(checkpoint).files[FROZEN])
            with safe_open(file, "pt") as opened:
                same = (opened.metadata() or {}).get("digest") == digest
            if same and known == fingerprint(file, known["bytes"]):
                os.link(file, folder / FROZEN)
                return True
    return False


def load_checkpoint(checkpoint: OpenedCheckpoint, trained_state: TrainedState) -> State:
    """Put a verified checkpoint's tensors where they were taken from. Returns the content of its state.json.

    Raises:
        UserError: they do not fit, or are not what the networks and optimizers of a training can be.
    """
    state = checkpoint.state
    load_weights(checkpoint, trained_state.networks, trained=bool(trained_state.averages))
    load_weights(checkpoint, {name: averaged.module for name, averaged in trained_state.averages.items()})
    load_task(checkpoint, trained_state.task, trained_state.networks)
    for averaged in trained_state.averages.values():
        averaged.n_averaged.fill_(state.step)
    named = trained_state.networks.items()
    parameters = dict(pair for name, network in named for pair in network.named_parameters(prefix=name))
    tensors = checkpoint.tensors(OPTIMIZERS, lambda where: parameters.get(where.rpartition(".")[0]))
    if state.optimizers.keys() != trained_state.optimizers.keys():
        theirs, mine = (", ".join(own) for own in (state.optimizers, trained_state.optimizers))
        said = f"{checkpoint} has optimizers of {theirs}; the task has them of {mine}"
        raise UserError(said, "continue with the version of the task that wrote it")
    if unknown := [where for where in tensors if where.partition(".")[0] not in state.optimizers]:
        raise UserError(f"{checkpoint.folder / OPTIMIZERS}: {unknown[0]} is of no network", HINT)
    for name, optimizer in trained_state.optimizers.items():
        mine = {where: tensor for where, tensor in tensors.items() if where.startswith(f"{name}.")}
        restore(trained_state.networks, optimizer, name, mine, state.optimizers[name])
    return state


def load_task(
    checkpoint: OpenedCheckpoint, task: nn.Module, networks: Mapping[str, nn.Module], *, strict: bool = True
) -> None:
    """Put the state of a verified checkpoint that is of none of the `networks` into `task`; see `load_own_state`."""
    extra = checkpoint.state.extra_state
    if extra is None:
        if lacking := own_state(task, networks):
            parts = ", ".join(sorted({name.partition(".")[0] for name in lacking}))
            print(f"{checkpoint} has no state of {parts}: launchbay saved networks only then", flush=True)
        return
    state = {name: value for name, value in extra.items() if name.partition(".")[0] not in networks}
    for file in (TASK, FROZEN):
        if file in checkpoint.files:
            state |= checkpoint.tensors(file)
    load_own_state(task, networks, state, str(checkpoint), strict=strict)


def delete_old(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep` and the best, and those with files in them that are not ours.

    Raises:
        OSError: which are the best and the last cannot be read.
    """
    best, last = None, read_pointer(folder, "last")
    with suppress(FileNotFoundError, Unfit):  # there need not be a best one
        best = read_pointer(folder, "best")
    # What comes after it is damaged, and no reason to delete it.
    for checkpoint in [path for path in list_checkpoints(folder) if step_of(path) <= step_of(last)][:-keep]:
        if checkpoint != best and is_ours(checkpoint):
            doomed = checkpoint.rename(folder / f".tmp-{checkpoint.name}")  # no half-deleted checkpoint has a good name
            shutil.rmtree(doomed)


def is_ours(folder: Path) -> bool:
    """Return whether `folder` has nothing in it but what a checkpoint has."""
    return all(OURS.fullmatch(path.name) and path.is_file() and not path.is_symlink() for path in folder.iterdir())


def put_aside(checkpoint: Path) -> None:
    """Make room for a `checkpoint`, whose place a damaged one has. If that has files in it that are not ours, it is
    kept under another name, aloud.
    """
    name, ours = f"{checkpoint.name}-{secrets.token_hex(8)}", is_ours(checkpoint)
    aside = checkpoint.rename(checkpoint.with_name(f".tmp-{name}" if ours else f"other-{name}"))
    if ours:
        shutil.rmtree(aside)
    else:
        print(printable(f"{checkpoint} had files in it that are not of a checkpoint: it is {aside} now"), flush=True)
