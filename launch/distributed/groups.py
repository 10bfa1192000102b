"""The groups in which the processes of a run talk, and their time-outs: one for the training, and one aside of it."""

import os
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import cast

from torch import distributed
from torch.distributed import PrefixStore, ProcessGroup, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from launchbay.launch.others import attempt, process_count, process_rank

SLOWER = 12
"""Times --timeout: how long a process may work alone while others wait for what comes of it."""
BEFORE_ABORT = 60
"""Seconds, beside --timeout, after which NCCL and its like abort the whole process without a word: the watchdog has
ended it by then, with one.
"""
MEETINGS = count()
"""Of this process with the others."""
ASIDE: list[ProcessGroup] = []
"""The group for what is decided, if this is one of several processes."""
LONGEST_IDLE = 32_767
"""Seconds: what Linux takes."""
DESCRIPTORS = Path("/proc/self/fd")


def join_processes(store: TCPStore, timeout: float) -> None:
    """Bring the processes together before accelerate does, under a name that holds for this attempt alone: after a
    restart (`accelerate launch --max_restarts`) they would otherwise, in every other try, find addresses of
    processes that are gone; so too in a second training of the same processes.
    """
    of_attempt = PrefixStore(f"launchbay/attempt-{attempt()}-{next(MEETINGS)}", store)
    time_out, rank, processes = timedelta(seconds=timeout), process_rank(), process_count()
    distributed.init_process_group("gloo", timeout=time_out, store=of_attempt, rank=rank, world_size=processes)


def aborts() -> bool:
    """Return whether waiting too long for others ends this process, where gloo raises an error."""
    return process_count() > 1 and distributed.is_initialized() and distributed.get_backend() != "gloo"


def meet_aside(timeout: float) -> None:
    """Make the group in which the processes decide, by gloo on whatever device: there they may wait for one that draws
    pictures, computes an FID or saves, for `SLOWER` times the `timeout` of a step.
    """
    leave_aside()
    ASIDE.append(new_aside(timeout))


def new_aside(timeout: float) -> ProcessGroup:
    """Return a group of all processes by gloo, for what may take `SLOWER` times the `timeout` of a step."""
    with watched_connections(timeout):
        group = distributed.new_group(timeout=timedelta(seconds=SLOWER * timeout), backend="gloo")
    return cast(ProcessGroup, group)  # this process is one of it


def leave_aside() -> None:
    """Give up the group in which the processes of an earlier training decided."""
    while ASIDE:
        leave(ASIDE.pop())


def leave(group: ProcessGroup) -> None:
    """Give up a `group`, with its connections."""
    with suppress(ValueError, AssertionError):  # it has ended with all others
        distributed.destroy_process_group(group)


def aside() -> ProcessGroup | None:
    """Return the group in which the processes decide; None for that of the training."""
    return ASIDE[0] if ASIDE else None


@contextmanager
def watched_connections(timeout: float) -> Generator[None]:
    """Let each connection that is made in the block fail once its other end is out of reach for `timeout` seconds, also
    while nobody waits for it. It is the two kernels that ask each other: a process that is slow, or stopped, is not
    out of reach. On Linux only; elsewhere there are the time-outs of the groups.

    Source: tcp(7), TCP_USER_TIMEOUT, TCP_KEEPIDLE.
    """
    before = connections()
    yield
    for descriptor, _ in connections() - before:
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:  # it may be closed by now
            one.getpeername()  # not one that listens
            watch(one, timeout)


def watch(connection: socket.socket, timeout: float) -> None:
    """Let a TCP `connection` fail after `timeout` seconds without an answer of the other kernel."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    settings = {
        socket.TCP_USER_TIMEOUT: min(1000 * timeout, 2**31 - 1),
        socket.TCP_KEEPIDLE: min(timeout / 4, LONGEST_IDLE),
        socket.TCP_KEEPINTVL: min(timeout / 8, LONGEST_IDLE),
    }
    for setting, value in settings.items():
        connection.setsockopt(socket.IPPROTO_TCP, setting, max(1, round(value)))


def connections() -> set[tuple[int, str]]:
    """Return the sockets that are open, by descriptor and the kernel's name."""
    found = set()
    for path in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with suppress(OSError):
            if stat.S_ISSOCK(path.stat().st_mode):
                found.add((int(path.name), str(path.readlink())))
    return found


def addresses() -> list[str]:
    """Return the addresses of this machine at which this process is connected to others."""
    found = set()
    for descriptor, _ in connections():
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.getpeername():
                found.add(one.getsockname()[0])
    return sorted(address for address in found if not address.startswith("127.") and address != "::1")
