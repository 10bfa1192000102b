"""Saving of what is shared out among processes (--shard)."""

from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator
from torch import distributed

from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.shards import write_rows
from launchbay.launch.checkpoint.storage import CheckpointContent, TrainedState
from launchbay.launch.checkpoint.writer import Saver, refuse_bad
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.collectives import raise_on_all
from launchbay.launch.distributed.groups import leave, new_aside
from launchbay.launch.engine.step import Learner
from launchbay.launch.files import Json


class SharedSaver(Saver):
    """A writer of checkpoints to which each process writes its rows; the main process puts them together. All of them
    have to ask for it. They agree in the thread that writes, in a group of its own.
    """

    def __init__(
        self,
        folder: Path,
        trained_state: TrainedState,
        keep: int,
        initial: Mapping[str, str] | None,
        accelerator: Accelerator,
        *,
        timeout: float,
    ):
        super().__init__(folder, trained_state, keep, initial)
        self.accelerator, self.rank = accelerator, accelerator.process_index
        self.group = new_aside(timeout)

    def save(self, step: int, state: Json, *, best: bool) -> None:
        self.step, content = step, raise_on_all(lambda: self.copy(state), self.accelerator)
        self.pending = self.thread.submit(self.write, step, content, best=best)

    def close(self) -> None:
        super().close()
        leave(self.group)

    def copy(self, state: Json) -> CheckpointContent:
        if self.rank == 0:
            return super().copy(state)
        self.copy_networks()
        mine = {file: {name: self.tensors[file][name] for name in rows} for file, rows in self.rows.items()}
        return CheckpointContent(mine, "", {}, self.rows)

    def write(self, step: int, content: CheckpointContent, *, best: bool) -> None:
        of_all: list[tuple[dict[str, list[str]], str]] = [({}, "")] * distributed.get_world_size(self.group)
        distributed.all_gather_object(of_all, self.look_at(content), self.group)
        if failures := [failure for _, failure in of_all if failure]:
            raise OSError(failures[0])
        bad = next((found for found, _ in of_all if found), None)
        if self.rank == 0:
            self.write_all(step, content, bad, best=best)
        elif not bad:
            self.write_mine(content)

    def look_at(self, content: CheckpointContent) -> tuple[dict[str, list[str]], str]:
        """Return the numbers in `content` that are not finite, and why these cannot be found: all have to hear it."""
        try:
            return self.find_bad(content), ""
        except Exception as error:
            return {}, f"process {self.rank}: {str(error) or type(error).__name__}"

    def write_all(self, step: int, content: CheckpointContent, bad: dict[str, list[str]] | None, *, best: bool) -> None:
        """Write `content` and the rows of all processes, unless there are `bad` numbers.

        Raises:
            OSError: they could not be written.
            UserError: there are.
        """
        if bad:
            refuse_bad(step, bad)
        told: list[str] = []

        def collect(folder: Path) -> int:
            told.append(folder.name)
            distributed.broadcast_object_list([folder.name], 0, self.group)
            failures = [""] * distributed.get_world_size(self.group)
            distributed.all_gather_object(failures, "", self.group)
            for rank, failure in enumerate(failures):
                if failure:
                    raise OSError(f"process {rank} could not write its part: {failure}")
            return len(failures)

        try:
            storage.save(self.folder, step, content, best=best, keep=self.keep, collect=collect)
        finally:
            if not told:
                distributed.broadcast_object_list([""], 0, self.group)

    def write_mine(self, content: CheckpointContent) -> None:
        """Write the rows of this process to where the main process says."""
        told, failure = [""], ""
        distributed.broadcast_object_list(told, 0, self.group)
        if not told[0]:
            return
        try:
            write_rows(self.folder / told[0], self.rank, content.tensors)
        except Exception as error:
            failure = str(error) or type(error).__name__
        distributed.all_gather_object([""] * distributed.get_world_size(self.group), failure, self.group)


def saver_for(
    learner: Learner, folder: Path, options: TrainOptions, initial: Mapping[str, str] | None, accelerator: Accelerator
) -> Saver:
    """Return what writes the checkpoints of what `learner` learns to `folder`, shared out or not."""
    given = folder, learner.trained_state, options.saving.keep, initial
    if not learner.placed.by_rows:
        return Saver(*given)
    return SharedSaver(*given, accelerator, timeout=seconds_of(options.run.timeout))
