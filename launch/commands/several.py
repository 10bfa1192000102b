"""`--processes N` of commands that use a run: this process and N - 1 others, which share the work and its devices."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread

import torch
from rich.console import Console

from launchbay import UserError
from launchbay.launch.distributed.signals import end_with_parent
from launchbay.launch.errors import DONE
from launchbay.launch.others import process_count, process_rank, threads_per_process

SECONDS_TO_END = 10


def in_processes(count: int, argv: Sequence[str], console: Console, work: Callable[[], int]) -> int:
    """Do `work` here, with `count` - 1 other processes that are given the same command line `argv`; what they print is
    shown here. Return the exit code, which is that of the others where only they have failed.

    Raises:
        UserError: there are not as many GPUs.
    """
    if process_rank():
        end_with_parent()
    if count == 1 or process_count() > 1:
        return work()
    gpus = torch.accelerator.device_count()
    if gpus and count > gpus:
        raise UserError(f"--processes {count}, and there are {gpus} GPUs", f"give --processes {gpus} at most")
    with told_of_each_other(count) as port, started(count, argv, port) as others:
        readers = [Thread(target=relay, args=(other, console), daemon=True) for other in others]
        for reader in readers:
            reader.start()
        code = work()
        for other, reader in zip(others, readers, strict=True):
            other.wait(SECONDS_TO_END)
            reader.join(SECONDS_TO_END)
        return code or max((other.returncode for other in others), default=DONE)


@contextmanager
def told_of_each_other(count: int) -> Generator[int]:
    """Have this process be the first of `count`. Yields the port by which the others reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    before, threads = {name: os.environ.get(name) for name in (*names, "OMP_NUM_THREADS")}, torch.get_num_threads()
    os.environ |= environment(0, count, port)
    share = min(threads, threads_per_process())
    torch.set_num_threads(share)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))  # accelerate asks for it, and would say so
    try:
        yield port
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return what process `rank` of `count` is told of the others, as launchers do."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    return {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}


@contextmanager
def started(count: int, argv: Sequence[str], port: int) -> Generator[list[subprocess.Popen[str]]]:
    """Start the others; they end with this block, and with this process."""
    begin = "import sys; from launchbay.launch.cli import main; sys.exit(main())"
    command = (sys.executable, "-c", begin, *argv)
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    others = [
        subprocess.Popen(
            command,
            env={**os.environ, **threads, **environment(rank, count, port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        for rank in range(1, count)
    ]
    try:
        yield others
    finally:
        for other in others:
            with suppress(OSError):
                other.send_signal(signal.SIGTERM)
            other.wait(SECONDS_TO_END)
            if other.stdout is not None:
                other.stdout.close()


def relay(other: subprocess.Popen[str], console: Console) -> None:
    """Show what another process prints."""
    assert other.stdout is not None
    with suppress(ValueError):  # closed
        for line in other.stdout:
            console.print(line.rstrip("\n"), highlight=False, markup=False, soft_wrap=True)
