"""Processes, devices and precision: what accelerate was told, and whether that is what it does."""

import ctypes
import os
import sys
import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from launchbay import UserError
from launchbay.launch.config.options import TrainOptions, seconds_of
from launchbay.launch.distributed.signals import end_with_parent
from launchbay.launch.errors import introduce, panel, process_count, process_rank, which_process
from launchbay.launch.files import Json

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
SEVERAL_ON_CPU = "accelerate launch --config_file accelerate_configs/multi_cpu.yaml launch/run.py ..."


def create_accelerator(options: TrainOptions) -> Accelerator:
    """Return the accelerator for this run.

    Raises:
        UserError: more processes were asked for than were started, or the precision was said twice.
    """
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if told != "no" and options.hardware.precision not in (None, told):
        raise UserError(
            f"accelerate was told {told}, --precision says {options.hardware.precision}",
            "give it in one of the two places",
        )
    torch.set_default_dtype(torch.float64 if options.hardware.precision == "fp64" else torch.float32)
    launcher = launch_command()
    if launcher:
        end_with_parent()
    with say_whom_it_waits_for(seconds_of(options.run.stuck_after)):
        if "TORCHELASTIC_RESTART_COUNT" in os.environ and runs_on_cpu(launcher) and not distributed.is_initialized():
            join_processes()
        accelerator = Accelerator(
            cpu=runs_on_cpu(launcher),
            mixed_precision=options.hardware.precision if options.hardware.precision in ("bf16", "fp16") else None,
            gradient_accumulation_steps=options.optimization.accumulate,
            device_placement=False,  # `place` does it; accelerate would import torch.distributed.tensor, for 0.4 s
            # Two forward passes before one backward (real, then fake) must not rewrite buffers in between.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    check_processes(launcher, accelerator.num_processes)
    if accelerator.num_processes > 1:
        introduce()
    if accelerator.device.type == "cpu":
        tune_malloc()
        if launcher:
            torch.set_num_threads(threads_per_process())
    return accelerator


@contextmanager
def say_whom_it_waits_for(seconds: float) -> Generator[None]:
    """Say so if the other processes have not come after so many seconds within the block. Torch gives up after half an
    hour.
    """
    world, where = process_count(), ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    said = f"this is process {process_rank()}, and the other {world - 1} of WORLD_SIZE={world} are to come to {where}"
    hint = "start them too, or is WORLD_SIZE of another command still set? Ctrl-C ends this one"
    title = f"waiting for other processes for {seconds:g} s"
    timer = threading.Timer(seconds, panel, [title + which_process(), [said], hint, "yellow"])
    timer.daemon = True
    if world > 1:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tune_malloc() -> None:
    """Have glibc keep what is freed, but for blocks of more than 32 MiB, its own highest limit. It would give what is
    free at the end of its heap back to the system, and get it anew in the next step, cleared page by page: a step takes
    up to 1.4 times as long.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**25)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def join_processes() -> None:
    """Bring the processes together before accelerate does, under a name that holds for this attempt alone: after a
    restart (`accelerate launch --max_restarts`) they would otherwise, in every other try, find addresses of
    processes that are gone.
    """
    rank, world, attempt = process_rank(), process_count(), os.environ["TORCHELASTIC_RESTART_COUNT"]
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, world, is_master=False, timeout=timedelta(seconds=60))  # pyright: ignore[reportPrivateImportUsage]
    of_attempt = distributed.PrefixStore(f"launchbay/attempt-{attempt}", store)  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=of_attempt, rank=rank, world_size=world)


def launch_command() -> list[str]:
    """Return the command line of the `accelerate launch` that started this process; empty if nothing of
    the kind did.
    """
    import psutil

    try:
        command = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []
    names = ("accelerate", "accelerate-launch", "accelerate.commands.launch")
    return command if any(Path(word).name in names for word in command) else []


def config_in_force(launcher: list[str]) -> Path | None:
    """accelerate's configuration file: the one its command line names, otherwise the one in its cache, if any."""
    from accelerate.commands.config.config_args import default_config_file

    named = option(launcher, "config_file")
    file = Path(named or default_config_file)
    return file if file.is_file() else None


def option(launcher: list[str], name: str) -> str | None:
    """Return the value of accelerate's option `name` on its command line."""
    for place, word in enumerate(launcher):
        flag, _, value = word.partition("=")
        if flag.lstrip("-").replace("-", "_") == name:
            return value or launcher[place + 1]
    return None


def settings(launcher: list[str]) -> Json:
    file = config_in_force(launcher) if launcher else None
    return yaml.safe_load(file.read_text()) or {} if file else {}


def runs_on_cpu(launcher: list[str]) -> bool:
    """Return whether this is to run on the CPU. With several processes accelerate has to be told: `use_cpu: true` in
    its configuration does not reach them, and without a GPU each would take itself for the only one.
    """
    asked = settings(launcher).get("use_cpu") is True or "--cpu" in launcher
    return asked or (process_count() > 1 and not torch.accelerator.is_available())


def check_processes(launcher: list[str], seen: int) -> None:
    """Raise a UserError if fewer processes run than were asked for: `accelerate launch --cpu --num_processes 2` starts
    one and does not say so.
    """
    asked = int(option(launcher, "num_processes") or settings(launcher).get("num_processes", 1))
    started = process_count()
    if max(asked, started) > seen == 1:
        raise UserError(
            f"{max(asked, started)} processes were asked for, but accelerate started one",
            f"on the CPU: {SEVERAL_ON_CPU}   on GPUs: add --multi_gpu",
        )


def threads_per_process() -> int:
    """CPU threads for this process. `accelerate launch` sets OMP_NUM_THREADS to 1 where nobody said otherwise, which
    would leave all cores but one idle."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def to_device(task: torch.nn.Module, device: torch.device) -> None:
    """Move `task` to `device`, with channels last: 1.1 to 1.3 times as fast on CPUs, and what GPUs like for bf16."""
    task.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def check_graphs(options: TrainOptions, accelerator: Accelerator, networks: int) -> None:
    """Replaying rewrites the gradients where they lie, unnoticed: those of an earlier part of the batch, of another
    loss, and those that are on their way to other processes."""
    reasons = {
        f"the device is {accelerator.device.type}": accelerator.device.type != "cuda",
        f"there are {accelerator.num_processes} processes": accelerator.num_processes > 1,
        f"the task has {networks} networks": networks > 1,
        f"--accumulate is {options.optimization.accumulate}": options.optimization.accumulate > 1,
    }
    if options.hardware.cuda_graphs and any(reasons.values()):
        found = ", ".join(reason for reason, holds in reasons.items() if holds)
        raise UserError(
            f"--cuda-graphs is for one process on an NVIDIA GPU, one network and whole batches: {found}",
            "leave it out, or use --compile",
        )


def check_accumulate(options: TrainOptions, networks: Collection[str]) -> None:
    """Raise a UserError if a task of several networks is to compute its batches in parts."""
    if (accumulate := options.optimization.accumulate) > 1 and len(networks) > 1:
        raise UserError(
            f"--accumulate {accumulate} with {len(networks)} networks ({', '.join(networks)}): "
            "with parts of a batch they would no longer learn in turn",
            "use a smaller --batch-size, or more processes",
        )


def check_batch(options: TrainOptions, processes: int) -> None:
    size, accumulate = options.optimization.batch_size, options.optimization.accumulate
    parts = processes * accumulate
    if size % parts:
        ways = f"{parts} parts ({processes} process{'es' * (processes > 1)}, --accumulate {accumulate})"
        below = size // parts * parts
        nearest = " or ".join(str(size) for size in (below, below + parts) if size)
        raise UserError(f"--batch-size {size} does not divide into {ways}", f"try --batch-size {nearest}")
