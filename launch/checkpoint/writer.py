"""Saving while training goes on: a copy of what is saved, and the thread that writes it to disk."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from launchbay import UserError
from launchbay.devices import to_host
from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.optimizer_state import describe
from launchbay.launch.checkpoint.storage import FROZEN, OPTIMIZERS, TASK, CheckpointContent, TrainedState
from launchbay.launch.checkpoint.task_state import digest, digests, own_state, tensors_of
from launchbay.launch.files import Json
from launchbay.models.checkpoints import file_of
from launchbay.models.tensors import is_shared_out, not_finite, rows_of


class Saver:
    """A writer of checkpoints of `trained_state` to `folder`, one at a time, that keeps `keep` of them. Training waits
    only for the copy that is written. `initial` are digests of the task's own state at the start of the run,
    unless that is now.
    """

    def __init__(self, folder: Path, trained_state: TrainedState, keep: int, initial: Mapping[str, str] | None = None):
        self.folder, self.trained_state, self.keep = folder, trained_state, keep
        self.tensors: dict[str, dict[str, Tensor]] = {}
        self.rows: dict[str, dict[str, int]] = {}
        own = tensors_of(own_state(trained_state.task, trained_state.networks))
        self.initial = digests(own) if initial is None else initial
        self.endless = find_endless(trained_state, own)  # which may be infinite or nan: masks, say, that began so
        self.thread = ThreadPoolExecutor(1, "saver")
        self.pending: Future[None] | None = None
        self.step = 0

    def save(self, step: int, state: Json, *, best: bool) -> None:
        """Take a copy and begin to write it, after the checkpoint before this one is on disk.

        Raises:
            OSError: that one could not be written.
            UserError: it was not finite, or this one cannot be saved.
        """
        self.finish()
        self.step, content = step, self.copy(state)
        self.pending = self.thread.submit(self.write, step, content, best=best)

    def write(self, step: int, content: CheckpointContent, *, best: bool) -> None:
        """Write `content`, if all of it is finite.

        Raises:
            OSError: it could not be written.
            UserError: it is not; nothing was written.
        """
        if bad := self.find_bad(content):
            refuse_bad(step, bad)
        storage.save(self.folder, step, content, best=best, keep=self.keep)

    def find_bad(self, content: CheckpointContent) -> dict[str, list[str]]:
        """Return the names of tensors of `content` that have numbers which are not finite, by file."""
        found = {file: not_finite(own, self.endless.get(file, ())) for file, own in content.tensors.items()}
        return {file: names for file, names in found.items() if names}

    def failed(self) -> bool:
        """Return whether the checkpoint that was begun last could not be written; does not wait for it."""
        return self.pending is not None and self.pending.done() and self.pending.exception() is not None

    def finish(self) -> None:
        """Wait until all that was begun is on disk.

        Raises:
            OSError: it could not be written.
            UserError: it was not finite.
        """
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Let go of the thread that writes, after what it has begun."""
        self.thread.shutdown()

    def copy(self, state: Json) -> CheckpointContent:
        """Return what a checkpoint of this moment holds, in memory of its own.

        Raises:
            UserError: some of it cannot be saved as tensors and JSON.
        """
        optimizers = self.copy_networks()
        frozen = self.copy_task(tensors_of(own_state(self.trained_state.task, self.trained_state.networks)))
        extra = self.trained_state.extra_state()
        beside = {"optimizers": optimizers, "extra_state": extra, "initial": dict(self.initial)}
        beside["not_finite"] = self.endless
        return CheckpointContent(self.tensors, frozen, {**state, **beside}, self.rows)

    def copy_networks(self) -> Json:
        """Copy the tensors of networks, averages and optimizers. Return the rest of the optimizers' state."""
        networks, averages = self.trained_state.networks, self.trained_state.averages
        saved = {file_of(name): averages[name].module if name in averages else networks[name] for name in networks}
        saved |= {file_of(name, trained=True): networks[name] for name in averages}
        for file, network in saved.items():
            self.keep_copy(file, tensors_of(network.state_dict()))
        tensors = {}
        optimizers = {
            name: describe(networks, own, name, tensors) for name, own in self.trained_state.optimizers.items()
        }
        self.keep_copy(OPTIMIZERS, tensors)
        return optimizers

    def copy_task(self, own: Mapping[str, Tensor]) -> str:
        """Copy the task's own tensors to two files: what has changed since the start of the run, and what has not.
        Returns a digest of the latter.

        Raises:
            UserError: there is some that was not there at the start.
        """
        if new := sorted(own.keys() - self.initial.keys()):
            raise UserError(
                f"{new[0]} is not in the task's state when it is built, but is now: no run could go on with it",
                "register each buffer in __init__, with a value that is not None: torch.empty(0, ...) may grow",
            )
        copies = to_host(own, {**self.tensors.pop(TASK, {}), **self.tensors.pop(FROZEN, {})})
        now = digests(copies)
        frozen = {name: now[name] for name in own if self.initial.get(name) == now[name]}
        parts = {
            TASK: {name: tensor for name, tensor in copies.items() if name not in frozen},
            FROZEN: {name: copies[name] for name in frozen},
        }
        self.tensors |= {file: tensors for file, tensors in parts.items() if tensors}
        return digest(frozen)

    def keep_copy(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """In the memory of the last copy: new memory would take seven times as long. Of what is shared out it is the
        rows that this process has.
        """
        rows = {name: rows_of(tensor) for name, tensor in tensors.items()}
        self.tensors[file] = to_host(rows, self.tensors.get(file))
        if shared := {name: len(tensor) for name, tensor in tensors.items() if is_shared_out(tensor)}:
            self.rows[file] = shared


def refuse_bad(step: int, bad: Mapping[str, list[str]]) -> NoReturn:
    """Raise a UserError for tensors of `step`, by file, that have numbers which are not finite."""
    file, names = next(iter(bad.items()))
    raise UserError(
        f"step {step} is not saved: {', '.join(names[:3])} of {file} would be nan or infinite",
        "lower --lr, or bound gradients by --clip-norm; checkpoints already saved are intact",
    )


def find_endless(trained_state: TrainedState, own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names of the buffers of networks, and of the task's `own` state, that are not finite now, by file."""
    of_task = not_finite(own)
    found = {TASK: of_task, FROZEN: of_task}
    for name, network in trained_state.networks.items():
        bad = not_finite(dict(network.named_buffers()))
        found |= {file_of(name): bad, file_of(name, trained=True): bad}
    return {file: names for file, names in found.items() if names}
