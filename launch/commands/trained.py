"""A run that was trained, opened for use: its task with the weights of a checkpoint."""

from pathlib import Path

from accelerate import Accelerator

from launchbay import UserError
from launchbay.launch.config.assembly import build_task
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.accelerator import create_accelerator, to_device
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints
from launchbay.tasks.base import AnyTask


def load_task(run: Path, pointer: str) -> tuple[AnyTask, AnyConfig, Accelerator]:
    """Return the task of `run` on its device in evaluation mode, with the weights of its "best" or
    "last" checkpoint.
    """
    file = config_file(run)
    name = read_task(file)
    if name is None:
        raise UserError(f"{file} names no task", "add the line `task: NAME` again, as the run had it")
    task_type, default = task_of(name)
    config, _ = read_options(file, default)
    accelerator = create_accelerator(config.train)  # before the network is built: it decides on float64
    task = build_task(task_type, config.options)
    checkpoints.load_weights(checkpoints.find_checkpoint(run / "checkpoints", pointer), task.networks())
    to_device(task, accelerator.device)
    return task.eval(), config, accelerator
