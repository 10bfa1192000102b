"""Checkpoints as they are read, by whoever reads one: found, verified, and where damaged replaced by the one before,
aloud. What they hold and how they are written: launch/checkpoint/storage.py. Tensors and JSON; no pickle.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten

from torch import Tensor, nn

from launchbay import UserError, printable
from launchbay.models.reading import Unfit, check, open_regular, parse, read_bytes, read_json, refuse_link
from launchbay.models.saved import MANIFEST, MANIFEST_BYTES, STATE, STATE_BYTES, Manifest, State
from launchbay.models.tensors import check_finite, check_kinds, not_finite, read_tensors, shared_like

FORMAT = 1
PREFIX = "step-"
NAME = re.compile(r"step-(\d{8}|[1-9]\d{8,14})", re.ASCII)
"""Of a checkpoint's folder. What has another name is somebody else's."""
OPTIMIZERS = "optimizers.safetensors"
POINTER_BYTES = 100
HINT = "go back to an earlier checkpoint"
SAID = 500
"""Characters of an error of torch or of an author that are repeated."""


class DamagedCheckpoint(UserError):
    """A file of a checkpoint is missing, cut short or changed."""

    def __init__(self, message: str, hint: str = HINT):
        super().__init__(message, hint)


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
    saved = list_checkpoints(folder)
    if not saved:
        raise UserError(
            f"{folder} holds no checkpoint", "the run has not saved one yet: continue it, or name another run"
        )
    named = pointed_to(folder, pointer) or pointed_to(folder, "last")
    return first_intact([*([named] if named else []), *reversed(saved)], folder)


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest intact checkpoint, wherever `last` points: a run may have ended between the two."""
    return first_intact(list(reversed(list_checkpoints(folder))), folder)


def first_intact(candidates: list[Path], folder: Path) -> Path:
    for checkpoint in dict.fromkeys(candidates):
        try:
            verify(checkpoint)
            return checkpoint
        except DamagedCheckpoint as error:
            print(printable(f"damaged checkpoint, taking the one before: {error}"), flush=True)
    raise UserError(
        f"no checkpoint in {folder} is intact", "restore one from a copy, or start another --run; nothing was changed"
    )


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first.

    Raises:
        UserError: it, or one of them, is a link, or it cannot be read: that is not to be taken for an empty one.
    """
    refuse_link(folder)
    try:
        found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}", "look after that folder or its disk") from error
    refuse_link(*found)
    return sorted((path for path in found if path.is_dir()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step that the folder of a checkpoint is named after."""
    return int(checkpoint.name.removeprefix(PREFIX))


def pointed_to(folder: Path, pointer: str) -> Path | None:
    """Return the checkpoint in `folder` that `pointer` ("last" or "best") names; None if there is no such file, or,
    aloud, if it names none.
    """
    refuse_link(folder / pointer)
    try:
        return read_pointer(folder, pointer)
    except FileNotFoundError:
        return None
    except (Unfit, OSError) as error:
        print(printable(f"damaged, and not used: {folder / pointer}: {error}"), flush=True)
        return None


def read_pointer(folder: Path, pointer: str) -> Path:
    """Return the checkpoint in `folder` that the file `pointer` ("last" or "best") names.

    Raises:
        OSError: it cannot be read.
        Unfit: it names none.
    """
    with open_regular(folder / pointer) as file:
        text = file.read(POINTER_BYTES)
    name = text.decode(errors="replace").strip()
    if not NAME.fullmatch(name):
        raise Unfit("names no checkpoint")
    return folder / name


def verify(checkpoint: Path) -> State:
    """Return the content of the checkpoint's state.json, after every file was found as it was written.

    Raises:
        DamagedCheckpoint: one is not; it is named.
        UserError: another version of launchbay wrote it.
    """
    files = read_manifest(checkpoint).files
    for name, expected in files.items():
        try:
            found = fingerprint(checkpoint / name, expected.bytes)
        except Unfit as error:
            raise DamagedCheckpoint(f"{checkpoint}: {name} {error}") from error
        except OSError as error:
            raise DamagedCheckpoint(f"{checkpoint}: {name} cannot be read: {error.strerror}") from error
        if found != asdict(expected):
            raise DamagedCheckpoint(f"{checkpoint}: {name} is not what was written")
    state = read_state(checkpoint)
    needed = ["state.json", OPTIMIZERS, *map(file_of, state.optimizers)]
    if missing := [name for name in needed if name not in files]:
        raise DamagedCheckpoint(f"{checkpoint}: manifest.json does not name {missing[0]}")
    check_numbers(checkpoint, list(files), state)
    return state


def check_numbers(checkpoint: Path, files: Sequence[str], state: State) -> None:
    """Check that what a training goes on with is numbers: launchbay once saved others, too.

    Raises:
        DamagedCheckpoint: a tensor has nan or infinite values, and is none of those that had when the run began.
    """
    for name in files:
        of_task = name in ("task.safetensors", "task.frozen.safetensors")
        if not name.endswith(".safetensors") or (of_task and state.not_finite is None):  # what began so was not noted
            continue
        try:
            tensors = read_tensors(checkpoint / name)
        except UserError as error:
            raise DamagedCheckpoint(error.message) from error
        if bad := not_finite(tensors, (state.not_finite or {}).get(name, ())):
            raise DamagedCheckpoint(f"{checkpoint}: {name}: {bad[0]} has nan or infinite values")


def read_manifest(checkpoint: Path) -> Manifest:
    """Return the content of a checkpoint's manifest.json.

    Raises:
        DamagedCheckpoint: it is not what was written.
    """
    try:
        manifest = read_json(checkpoint / "manifest.json", MANIFEST, MANIFEST_BYTES)
    except Unfit as error:
        raise DamagedCheckpoint(f"{checkpoint}: manifest.json {error}") from error
    if manifest.seal != seal({name: asdict(file) for name, file in manifest.files.items()}):
        raise DamagedCheckpoint(f"{checkpoint}: manifest.json: its seal does not match")
    return manifest


def read_state(checkpoint: Path) -> State:
    """Return the content of a verified checkpoint's state.json.

    Raises:
        DamagedCheckpoint: it is not what a state.json is.
        UserError: another version of launchbay wrote it.
    """
    try:
        content = parse(read_bytes(checkpoint / "state.json", STATE_BYTES))
        found = content.get("format") if isinstance(content, dict) else None
        if isinstance(found, int) and found != FORMAT:
            raise UserError(
                f"{checkpoint} has format {found}, this launchbay reads {FORMAT}", "use the version that wrote it"
            )
        return check(content, STATE)
    except Unfit as error:
        raise DamagedCheckpoint(f"{checkpoint}: state.json {error}") from error


class OpenedCheckpoint:
    """A verified checkpoint in its `folder`, as it is read: `state`, the names of its `files`, tensors."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.state, self.files = self.content()

    def __str__(self) -> str:
        return str(self.folder)

    def content(self) -> tuple[State, list[str]]:
        return read_state(self.folder), list(read_manifest(self.folder).files)

    def tensors(self, file: str, like: Callable[[str], object] = lambda _: None) -> dict[str, Tensor]:
        """Return the tensors of one of its files, each shared out as is what it is `like`, by its name."""
        return {name: shared_like(value, like(name)) for name, value in read_tensors(self.folder / file).items()}


def load_weights(checkpoint: OpenedCheckpoint, networks: Mapping[str, nn.Module], *, trained: bool = False) -> None:
    """Put the weights of a verified checkpoint into `networks`.

    Raises:
        UserError: they do not fit.
    """
    extra, files = checkpoint.state.extra_state or {}, checkpoint.files
    for name, network in networks.items():
        remedy = "use the version of the task that wrote it"
        file = file_of(name, trained=trained)
        if file not in files:
            raise UserError(f"{checkpoint} has no {file}", remedy)
        where = str(checkpoint.folder / file)
        wanted = {key: value for key, value in network.state_dict().items() if isinstance(value, Tensor)}
        tensors = checkpoint.tensors(file, wanted.get)
        check_kinds(tensors, wanted, where, remedy)
        check_finite(tensors, where, HINT, wanted)
        own = {key.removeprefix(f"{name}."): value for key, value in extra.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(tensors | own)
        except Exception as error:  # also what an author's set_extra_state makes of what it does not know
            raise UserError(f"{checkpoint} does not fit network {name!r}: {cut(error)}", remedy) from error


def cut(error: Exception) -> str:
    """Return what torch, or an author, says of weights that do not fit: one that names all tensors would fill pages."""
    return shorten(str(error), SAID, placeholder=" …")


def fingerprint(path: Path, expected: int | None = None) -> dict[str, int | str]:
    """Return size and SHA-256 of the file `path`.

    Raises:
        OSError: it cannot be read.
        Unfit: it is no regular file, or, before it is read, not of the `expected` size.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if expected is not None and size != expected:
            raise Unfit(f"is not what was written ({size} bytes)")
        return {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def seal(files: Mapping[str, object]) -> str:
    """Return a digest of the list of files in a manifest."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
