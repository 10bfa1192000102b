"""Where a run of several processes begins: each waits until all have come, says for whom, but not for ever."""

import os
import platform
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from torch.distributed import DistError, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from launchbay import UserError
from launchbay.launch.errors import Elsewhere, Missing, panel
from launchbay.launch.others import named, process_count, process_rank, speaks

PATIENCE = 10
"""Times --stuck-after: how long a process waits for the others."""
SECONDS_BETWEEN_LOOKS = 0.1
TIME_OF_LAUNCHER = 20
"""Seconds that the store of a launcher may not answer. It was there before the launcher started this process."""
TIME_OF_STORE = timedelta(seconds=60)
"""That an answer of the store may take."""


@dataclass(frozen=True)
class Place:
    """Where the processes meet: at a store that process 0 keeps, or the launcher, and that the others come to."""

    address: str
    port: int

    def open(self) -> TCPStore | None:
        """Return the store; None if it is not there yet.

        Raises:
            UserError: this process should keep it, and cannot.
        """
        keeps = process_rank() == 0 and not has_launcher()
        if not keeps and not self.answers():
            return None
        try:
            return TCPStore(
                self.address,
                self.port,
                process_count(),
                keeps,
                TIME_OF_STORE,
                wait_for_workers=False,
                multi_tenant=True,  # torch opens the same one again
            )
        except DistError as error:
            if not keeps:
                return None
            said = f"process 0 cannot wait for the others at {self}: {str(error).splitlines()[0]}"
            raise UserError(said, "set MASTER_ADDR to the name of its machine, MASTER_PORT to a free port") from error

    def answers(self) -> bool:
        """Return whether somebody listens there."""
        try:
            socket.create_connection((self.address, self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def meet(limit: float) -> TCPStore:
    """Wait until all processes of the run have come; after `limit` seconds say which have not. A signal gets through
    meanwhile. Return the store that they share.

    Raises:
        Missing: some have not come in ten times that time, or their launcher is gone.
        UserError: the processes were not told how to find each other.
    """
    place = place_to_meet()
    begin, said = time.monotonic(), False
    store, missing = None, [0]
    while True:
        if store is None and (store := place.open()) is not None:
            store.set(key(process_rank()), platform.node())
        if store is not None and not (missing := missing_ranks(store)):
            return store
        waited = time.monotonic() - begin
        if store is None and has_launcher() and waited > TIME_OF_LAUNCHER:
            without_launcher(place)
        if waited > PATIENCE * limit:
            give_up(missing, place, waited)
        if waited > limit and not said:
            said = True
            say(missing, place, limit)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def place_to_meet() -> Place:
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    remedy = "start it with accelerate launch, or unset WORLD_SIZE to train in one process"
    if lacking:
        raise UserError(f"WORLD_SIZE is {process_count()}, but {' and '.join(lacking)} not set", remedy)
    if not 0 <= process_rank() < process_count():
        raise UserError(f"RANK is {process_rank()}, and WORLD_SIZE {process_count()}: ranks begin with 0", remedy)
    return Place(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))


def has_launcher() -> bool:
    """Return whether the launcher keeps the store, not process 0."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


def key(rank: int) -> str:
    return f"launchbay/here/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{rank}"


def missing_ranks(store: TCPStore) -> list[int]:
    """Return which processes have not come."""
    return [rank for rank in range(process_count()) if not store.check([key(rank)])]


def this_one() -> str:
    return f"process {process_rank()} of {process_count()} (pid {os.getpid()} on {platform.node()})"


def lines(missing: list[int], place: Place) -> list[str]:
    """Return who waits for whom, and where."""
    return [f"{this_one()} waits at {place} for {named(missing)}"]


def say(missing: list[int], place: Place, limit: float) -> None:
    if speaks():
        hint = "start them with the same MASTER_ADDR and MASTER_PORT, and see that this machine can be reached; "
        hint += f"without them this one ends after {PATIENCE * limit:g} s, ten times --stuck-after"
        panel("waiting for other processes", lines(missing, place), hint, "yellow")


def give_up(missing: list[int], place: Place, waited: float) -> NoReturn:
    if not speaks():
        raise Elsewhere
    (said,) = lines(missing, place)
    raise Missing(
        f"{said}: not there after {waited:.0f} s",
        "look at what became of them, and start all again; --stuck-after 5m waits for ten times that",
    )


def without_launcher(place: Place) -> NoReturn:
    if not speaks():
        raise Elsewhere
    said = f"the launcher that started {this_one()} does not answer at {place}: it has ended, or cannot be reached"
    raise Missing(said, "start all again")
