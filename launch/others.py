"""What the processes of one run know of each other: how many there are, and what each tells the others."""

import os
import platform
import socket
import sys
import time
from collections.abc import Iterable
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
    return number("RANK", 0)


def process_count() -> int:
    """Return the number of processes of the run, as the launcher has told it."""
    return number("WORLD_SIZE", 1)


def number(name: str, default: int) -> int:
    """Return the number that the environment has under `name`; anything else is refused at the start (ranks.py)."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


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
    return max(1, cores // max(1, number("LOCAL_WORLD_SIZE", 1)))


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
        return speaks()  # the process that kept the store is gone, or out of reach: nobody else is heard here


def speaks() -> bool:
    """Return whether this process speaks for those of its machine. Where each sees one GPU only, LOCAL_RANK is 0 for
    all, and `join_tasks` says which one it is.
    """
    return os.environ.get("LAUNCHBAY_LOCAL_PROCESS", os.environ.get("LOCAL_RANK", "0")) == "0"


def is_started_again() -> bool:
    """Return whether the launcher starts all processes again once this one has failed."""
    left = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) - int(attempt())
    return "TORCHELASTIC_RUN_ID" in os.environ and left > 0


def knows_others() -> bool:
    """Return whether there are other processes, which can be told something."""
    torch = sys.modules.get("torch.distributed")
    return process_count() > 1 and getattr(torch, "is_initialized", bool)()  # it may be in the middle of its import


def introduce(addresses: Iterable[str]) -> None:
    """Tell the other processes which one this is, and at which `addresses`, for when it is gone. What is told is by
    machine and by address: whoever asks then reads no more than it needs.
    """
    with suppress(Exception):  # whoever brought the processes together keeps no store where it says
        known, rank = store(), process_rank()
        tell(known, of_machine(platform.node()), rank, str(os.getpid()))
        for address in addresses:
            tell(known, at_address(address), rank, platform.node())


def of_machine(host: str) -> str:
    return f"launchbay/processes/{attempt()}/{host}"


def at_address(address: str) -> str:
    return f"launchbay/at/{attempt()}/{address}"


def tell(known: "TCPStore", name: str, rank: int, said: str) -> None:
    """Append what process `rank` says, one line, under `name`."""
    known.append(name, f"{rank} {said}\n")  # pyright: ignore (which torch's types lack)


def told(known: "TCPStore", name: str) -> dict[int, str]:
    """Return what processes have said last under `name`, by their ranks."""
    lines = known.get(name).decode().splitlines() if known.check([name]) else []
    return {int(rank): said for rank, _, said in (line.partition(" ") for line in lines)}


def killed() -> str:
    """Return which processes of this run, on this machine, have ended; empty if none has."""
    import psutil

    def has_ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    neighbours: dict[int, str] = {}
    with suppress(Exception):  # the process that kept the store is gone
        neighbours = told(store(), of_machine(platform.node()))
    for _ in range(10):  # the kernel closes its connections before it has ended
        if found := {rank: pid for rank, pid in neighbours.items() if has_ended(int(pid))}:
            return f"{named(found)} (pid {', '.join(found.values())})"
        time.sleep(0.1)
    return ""


def at(address: str) -> str:
    """Return which processes of this run, and on which machine, are at an `address`; empty if that is not known."""
    found: dict[int, str] = {}
    with suppress(Exception):  # the process that kept the store is gone
        found = told(store(), at_address(address))
    return f"{named(found)} on {next(iter(found.values()))}" if found else ""


def named(ranks: Iterable[int]) -> str:
    """Return the processes of these `ranks` in words."""
    ordered = sorted(ranks)
    few = ", ".join(map(str, ordered[:8])) + ", ..." * (len(ordered) > 8)
    return f"process{'es' * (len(ordered) > 1)} {few}"


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
