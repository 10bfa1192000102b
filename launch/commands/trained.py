"""A run that was trained, opened for use: its task with the weights of a checkpoint."""

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from launchbay import UserError
from launchbay.launch.checkpoint.storage import load_task
from launchbay.launch.config.assembly import build_task
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.config.run_options import with_options_of_use, with_values_of_use
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.accelerator import create_accelerator, to_device
from launchbay.launch.distributed.handed import Handed
from launchbay.launch.files import Json
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints
from launchbay.models.bounds import bounded_by
from launchbay.tasks.base import AnyTask, Moment


def build_trained(
    run: Path,
    pointer: str,
    task: str | None = None,
    given: Collection[str] = ("data", "val_data"),
    *,
    argv: Sequence[str] | Json = (),
    verb: str = "evaluate",
) -> tuple[AnyTask, AnyConfig, Accelerator, Path]:
    """Return the task of `run` as its options say, but for those that `argv` chooses anew for its use by `verb`, and
    the "best" or "last" checkpoint to `restore` it from. The folder may be a stranger's: it names what is installed,
    and the network is no larger than the checkpoint.

    Args:
        task: the task as the command line names it, which a run of one that is not installed needs.
        given: other options that name code and that the command line gives, or that are not used.
        argv: as on the command line, or by their names.

    Raises:
        UserError: this is no run, it names code that the command line does not, or its options do not build its task.
    """
    file = config_file(run)
    if task and ":" in task and Path.cwd().resolve().is_relative_to(run.resolve()):
        said = f"--task {task} is looked for in the current folder first, and that is the run's own"
        raise UserError(said, "start the command elsewhere: in the folder of the task's code, or above the run's")
    name = read_task(file, {*given, *(["task"] if task else [])}, shlex.join(["launchbay", *sys.argv[1:]]))
    if name is None:
        raise UserError(f"{file} names no task", "add the line `task: NAME` again, as the run had it")
    task_type, default = task_of(task or name)
    config, _ = read_options(file, default)
    if isinstance(argv, Mapping):
        config = with_values_of_use(config, argv, verb)
    else:
        config, changes = with_options_of_use(config, argv, verb)
        print(*changes, sep="\n", end="\n" * bool(changes), flush=True)
    checkpoint = checkpoints.find_checkpoint(run / "checkpoints", pointer)
    accelerator = create_accelerator(config.train)  # before the network is built: it decides on float64
    try:
        with bounded_by(checkpoint, str(file)):
            return build_task(task_type, config.options), config, accelerator, checkpoint
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever a task's own code makes of options that it was not trained with
        why = (str(error).splitlines() or ["no message"])[0]  # torch adds where in C++ it was
        said = f"task {name} cannot be built with the options in {file}: {type(error).__name__}: {why}"
        raise UserError(said, "put back its config.yaml as it was trained with, or the task as it was then") from error


def restore(task: AnyTask, checkpoint: Path, device: torch.device, *, strict: bool) -> Moment:
    """Bring `task` to the state of a verified checkpoint, to `device` and into evaluation mode. Return how far its
    training had come. Unless `strict`, what `task` has not is left out, aloud.
    """
    networks = task.networks()
    handed = Handed(checkpoint)
    checkpoints.load_weights(handed, networks)
    load_task(handed, task, networks, strict=strict)
    to_device(task, device)
    task.eval()
    state = handed.state
    return Moment(state.step, min(1.0, state.step / (state.steps or max(1, state.step))), state.progress.epoch)
