"""A run that was trained, opened for use: its task with the weights of a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from launchbay import UserError
from launchbay.launch.checkpoint.storage import load_task
from launchbay.launch.config.assembly import build_task
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.config.run_options import with_evaluation_options
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.accelerator import create_accelerator, to_device
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints
from launchbay.tasks.base import AnyTask, Moment


def build_trained(run: Path, pointer: str, argv: Sequence[str] = ()) -> tuple[AnyTask, AnyConfig, Accelerator, Path]:
    """Return the task of `run` as its options say, but for those that `argv` chooses anew for an evaluation, and the
    "best" or "last" checkpoint to `restore` it from.
    """
    file = config_file(run)
    name = read_task(file)
    if name is None:
        raise UserError(f"{file} names no task", "add the line `task: NAME` again, as the run had it")
    task_type, default = task_of(name)
    config, _ = read_options(file, default)
    config, changes = with_evaluation_options(config, argv)
    print(*changes, sep="\n", end="\n" * bool(changes), flush=True)
    checkpoint = checkpoints.find_checkpoint(run / "checkpoints", pointer)
    accelerator = create_accelerator(config.train)  # before the network is built: it decides on float64
    return build_task(task_type, config.options), config, accelerator, checkpoint


def restore(task: AnyTask, checkpoint: Path, device: torch.device, *, strict: bool) -> Moment:
    """Bring `task` to the state of a verified checkpoint, to `device` and into evaluation mode. Return how far its
    training had come. Unless `strict`, what `task` has not is left out, aloud.
    """
    networks = task.networks()
    checkpoints.load_weights(checkpoint, networks)
    load_task(checkpoint, task, networks, strict=strict)
    to_device(task, device)
    task.eval()
    state = checkpoints.read_state(checkpoint)
    return Moment(state["step"], state["step"] / state.get("steps", state["step"]), state["progress"]["epoch"])
