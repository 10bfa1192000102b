"""Processes, devices and precision: what accelerate was told, and whether that is what it does."""

import ctypes
import os
import shutil
import sys
from collections.abc import Collection
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import distributed

from launchbay import UserError, number_of
from launchbay.devices import NO_GPU, compute_alike, has_graphs
from launchbay.exact import exact_device
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.groups import BEFORE_ABORT, addresses, join_processes, meet_aside, watched_connections
from launchbay.launch.distributed.meeting import meet
from launchbay.launch.distributed.network import connect_machines
from launchbay.launch.distributed.settings import (
    OTHER_PRECISION,
    check_processes,
    check_settings,
    option,
    runs_on_cpu,
)
from launchbay.launch.others import introduce, launch_command, process_count, threads_per_process

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def create_accelerator(options: TrainOptions) -> Accelerator:
    """Return the accelerator for this run.

    Raises:
        UserError: more processes were asked for than were started, or the precision was said twice.
    """
    launcher, timeout = launch_command(), seconds_of(options.run.timeout)
    check_settings(options, launcher)
    torch.set_default_dtype(torch.float64 if options.hardware.precision == "fp64" else torch.float32)
    with watched_connections(timeout):
        if process_count() > 1 and not distributed.is_initialized():
            store = meet(seconds_of(options.run.stuck_after))  # kept open until accelerate has one
            connect_machines(store)
            if "TORCHELASTIC_RESTART_COUNT" in os.environ and runs_on_cpu(launcher):
                join_processes(store, timeout)
        accelerator = start_accelerate(options, runs_on_cpu(launcher), timeout)
        check_processes(launcher, accelerator.num_processes)
        if accelerator.num_processes > 1:
            meet_aside(timeout)
    compute_alike(accelerator.device)
    if accelerator.num_processes > 1:
        introduce(addresses())
    if accelerator.device.type == "cpu":
        tune_malloc(give_back=options.hardware.shard and accelerator.num_processes > 1)
        if launcher and not threads_were_said(launcher):
            torch.set_num_threads(threads_per_process())
    return accelerator


def start_accelerate(options: TrainOptions, on_cpu: bool, timeout: float) -> Accelerator:
    """Return an accelerator whose processes wait `timeout` seconds for each other.

    Raises:
        UserError: the device cannot compute in the precision that is asked for.
    """
    precision = options.hardware.precision
    try:
        return Accelerator(
            cpu=on_cpu,
            mixed_precision=precision if precision in ("bf16", "fp16") else None,
            gradient_accumulation_steps=options.optimization.accumulate,
            device_placement=False,  # `place` does it; accelerate would import torch.distributed.tensor first, 0.4 s
            # Two forward passes before one backward (real, then fake) must not rewrite buffers in between. Gradients
            # lie where they are exchanged, not a second time elsewhere.
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=timedelta(seconds=timeout if on_cpu else timeout + BEFORE_ABORT)),
            ],
        )
    except ValueError as error:
        if "mixed precision" not in str(error):
            raise
        raise UserError(f"this device cannot do that: {error}", OTHER_PRECISION) from error


def check_precision(options: TrainOptions, accelerator: Accelerator) -> None:
    """Raise a UserError if a training would compute in another precision than it says, or cannot be compiled."""
    device = accelerator.device.type
    if device == "cpu" and "fp16" in (options.hardware.precision, accelerator.mixed_precision):
        raise UserError("fp16 is for GPUs: on a CPU it would be computed in fp32", OTHER_PRECISION)
    if options.hardware.precision == "fp64" and exact_device(accelerator.device) != accelerator.device:
        hint = "leave it out; or compute on the CPU: accelerate launch --cpu"
        raise UserError(f"--precision fp64: this GPU ({device}) has no float64", hint)
    compiles, gpu = options.hardware.compile or options.hardware.cuda_graphs, device not in NO_GPU
    wanted = ("CC", "clang", "gcc") if gpu else ("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if compiles and sys.platform != "win32" and not has_compiler(*wanted):
        raise UserError(
            f"--compile and --cuda-graphs need a compiler of {'C' if gpu else 'C++'}, and there is none here",
            f"install {wanted[-1]}, or name another in the environment variable {wanted[0]}; or leave them out",
        )


def has_compiler(variable: str, *names: str) -> bool:
    """Return whether there is the one that the environment `variable` names, or else one of the `names`."""
    named = os.environ.get(variable)
    return any(shutil.which(name) for name in ([named.split()[0]] if named else names))


def tune_malloc(*, give_back: bool) -> None:
    """Have glibc keep what is freed, but for blocks of more than 32 MiB, its own highest limit. It would give what is
    free at the end of its heap back to the system, and get it anew in the next step, cleared page by page: a step takes
    up to 1.4 times as long. With `give_back` memory counts more than time: all blocks of more than 1 MiB are given
    back at once, such as the weights of a block that are together for a moment.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**20 if give_back else 2**25)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def threads_were_said(launcher: list[str]) -> bool:
    """Return whether a person has said how many threads there are to be: to accelerate, or in the environment that it
    was started in.
    """
    import psutil

    try:
        before = psutil.Process(os.getppid()).environ()
    except psutil.Error:
        before = {}
    return "OMP_NUM_THREADS" in before or option(launcher, "num_cpu_threads_per_process") is not None


def to_device(task: torch.nn.Module, device: torch.device) -> None:
    """Move `task` to `device`, with channels last: 1.1 to 1.3 times as fast on CPUs, and what GPUs like for bf16."""
    task.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def check_graphs(options: TrainOptions, accelerator: Accelerator, networks: int) -> None:
    """Replaying rewrites the gradients where they lie, unnoticed: those of an earlier part of the batch, of another
    loss, and those that are on their way to other processes."""
    reasons = {
        f"the device is {accelerator.device.type}": not has_graphs(accelerator.device),
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
            f"--accumulate {accumulate} with {number_of(len(networks), 'network')} ({', '.join(networks)}): "
            "with parts of a batch they would no longer learn in turn",
            "use a smaller --batch-size, or more processes",
        )


def check_batch(options: TrainOptions, processes: int) -> None:
    """Raise a UserError if a batch cannot be divided among so many `processes`."""
    size, accumulate = options.optimization.batch_size, options.optimization.accumulate
    parts = processes * accumulate
    if size % parts:
        ways = f"{parts} parts ({number_of(processes, 'process')}, --accumulate {accumulate})"
        below = size // parts * parts
        nearest = " or ".join(str(size) for size in (below, below + parts) if size)
        raise UserError(f"--batch-size {size} does not divide into {ways}", f"try --batch-size {nearest}")
