"""What the processes of one run know of each other: how many there are, and what each tells the others."""

import os
import platform
import socket
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

ACCELERATE = ("accelerate", "accelerate-launch", "accelerate.commands.launch")
TORCHRUN = ("torchrun", "torch.distributed.run", "torch.distributed.launch")
"""Names of launchers, and of their modules."""
TIME_TO_CLOSE = 0.2
"""Seconds that the connections of a launcher which was killed may outlive it."""


def process_rank() -> int:
    """Return the number of this process among those of the run, as the launcher has told it."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """Return the number of processes of the run, as the launcher has told it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launch_command() -> list[str]:
    """Return the command line of the `accelerate launch` or `torchrun` that started this process; empty if nothing of
    the kind did.
    """
    import psutil

    try:
        command = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []
    return command if runs_one_of(command, ACCELERATE) or runs_one_of(command, TORCHRUN) else []


def runs_one_of(command: list[str], names: tuple[str, ...]) -> bool:
    """Return whether `command` runs one of the programs or modules `names`, by an interpreter or not."""
    return any(Path(word).name in names for word in command)


def threads_per_process() -> int:
    """Return this process' share of the cores: launchers set OMP_NUM_THREADS to 1 where nobody said otherwise, which
    would leave all but one idle."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def which_process() -> str:
    """Return what to add to a title where there are several."""
    return f" on process {process_rank()} of {process_count()}" if process_count() > 1 else ""


def is_first_to_fail() -> bool:
    """Return whether no other process of this job has shown a failure; usually the others only notice
    that one is gone.
    """
    if not knows_others():
        return process_rank() == 0  # before processes know each other they all make the same mistake
    try:
        return store().add(f"launchbay/failures/{attempt()}", 1) == 1
    except Exception:
        return process_rank() == 0  # the process that kept the store is gone


def knows_others() -> bool:
    """Return whether there are other processes, which can be told something."""
    torch = sys.modules.get("torch.distributed")
    return process_count() > 1 and getattr(torch, "is_initialized", bool)()  # it may be in the middle of its import


def introduce() -> None:
    """Tell the other processes which one this is, for when it is gone."""
    with suppress(Exception):  # whoever brought the processes together keeps no store where it says
        store().set(f"launchbay/process/{attempt()}/{process_rank()}", f"{os.getpid()} {platform.node()}")


def those_gone() -> list[str]:
    """Return which processes of this run, on this machine, have ended."""
    import psutil

    def has_ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    neighbours: dict[int, int] = {}
    with suppress(Exception):  # the process that kept the store is gone
        known = store()
        for rank in range(process_count()):
            name = f"launchbay/process/{attempt()}/{rank}"
            pid, _, host = known.get(name).decode().partition(" ") if known.check([name]) else ("", "", "")
            if host == platform.node():
                neighbours[rank] = int(pid)
    for _ in range(10):  # the kernel closes its connections before it has ended
        if found := [f"process {rank} (pid {pid})" for rank, pid in neighbours.items() if has_ended(pid)]:
            return found
        time.sleep(0.1)
    return []


def attempt() -> str:
    """Return which start of the run this is (`accelerate launch --max_restarts`)."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def store() -> "TCPStore":
    """Return the launcher's table of what its processes tell each other, by a connection of this caller's own.

    Raises:
        OSError: nobody keeps it any more.
    """
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    with socket.create_connection((address, int(port)), timeout=5) as probe:
        probe.settimeout(TIME_TO_CLOSE)
        with suppress(TimeoutError):  # it says nothing of itself
            probe.recv(1)
            raise ConnectionError("the launcher is ending")  # torch would wait for it, and write a page
    return TCPStore(address, int(port), process_count(), False, timedelta(seconds=5), wait_for_workers=False)
