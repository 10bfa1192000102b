"""Where a run of several processes begins: each waits until all have come, says for whom, but not for ever."""

import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from torch.distributed import DistError, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from launchbay import UserError
from launchbay.launch.distributed.network import Machine, address_towards, here, trouble_at
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

    def open(self) -> TCPStore | str:
        """Return the store; if it is not there yet, what is wrong with the way to it.

        Raises:
            UserError: this process should keep it, and cannot.
        """
        keeps = process_rank() == 0 and not has_launcher()
        if not keeps and (trouble := trouble_at(self.address, self.port, 1)):
            return trouble
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
            said = str(error).splitlines()[0]
            if not keeps:
                return said
            hint = "set MASTER_ADDR to the name of its machine, MASTER_PORT to a free port"
            raise UserError(f"process 0 cannot wait for the others at {self}: {said}", hint) from error

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def meet(limit: float) -> TCPStore:
    """Wait until all processes of the run have come; after `limit` seconds say which have not, and what is wrong with
    the way to them. A signal gets through meanwhile. Return the store that they share.

    Raises:
        Missing: some have not come in ten times that time, or their launcher is gone.
        UserError: the processes were not told how to find each other.
    """
    place = place_to_meet()
    begin, said = time.monotonic(), False
    found: TCPStore | str = ""
    while True:
        if isinstance(found, str) and not isinstance(found := place.open(), str):
            introduce_machine(found, place)
        if not isinstance(found, str) and all_are_here(found):
            return found
        waited = time.monotonic() - begin
        if isinstance(found, str) and has_launcher() and waited > TIME_OF_LAUNCHER:
            without_launcher(place)
        if waited > PATIENCE * limit:
            give_up(found, place, waited)
        if waited > limit and not said:
            said = True
            say(found, place, limit)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def introduce_machine(store: Store, place: Place) -> None:
    """Say in `store` that this process is here; the first one of a machine also tells what that is."""
    machine = Machine(process_rank(), platform.node(), address_towards(place.address))
    store.set(key(process_rank()), json.dumps(machine if speaks() else None))


def all_are_here(store: Store) -> bool:
    """Return whether all processes have come. Process 0 alone looks at all of them, in one question, and tells the
    others, with the machines: what the store is asked does not grow with the square of the processes.
    """
    if process_rank() == 0 and not store.check([here()]):
        keys = [key(rank) for rank in range(process_count())]
        if not store.check(keys):
            return False
        store.set(here(), json.dumps([each for value in store.multi_get(keys) if (each := json.loads(value))]))
    return store.check([here()])


def place_to_meet() -> Place:
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if lacking:
        raise UserError(
            f"WORLD_SIZE is {process_count()}, but {' and '.join(lacking)} not set",
            "start it with accelerate launch, or unset WORLD_SIZE to train in one process",
        )
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"MASTER_PORT is {port!r}", "set it to the number of a free port, such as 29500")
    return Place(address, int(port))


def has_launcher() -> bool:
    """Return whether the launcher keeps the store, not process 0."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


def key(rank: int) -> str:
    return f"{here()}/{rank}"


def missing_ranks(store: TCPStore) -> list[int]:
    """Return which processes have not come."""
    return [rank for rank in range(process_count()) if not store.check([key(rank)])]


def this_one() -> str:
    return f"process {process_rank()} of {process_count()} (pid {os.getpid()} on {platform.node()})"


def line(found: TCPStore | str, place: Place) -> str:
    """Return who waits for whom, and where: at the store `found`, or what is wrong with the way to it."""
    missing, trouble = ([0], f": {found}") if isinstance(found, str) else (missing_ranks(found), "")
    return f"{this_one()} waits at {place} for {named(missing)}{trouble}"


def say(found: TCPStore | str, place: Place, limit: float) -> None:
    if speaks():
        hint = "start them with the same MASTER_ADDR and MASTER_PORT, and see that this machine can be reached; "
        hint += f"without them this one ends after {PATIENCE * limit:g} s, ten times --stuck-after"
        panel("waiting for other processes", [line(found, place)], hint, "yellow")


def give_up(found: TCPStore | str, place: Place, waited: float) -> NoReturn:
    if not speaks():
        raise Elsewhere
    raise Missing(
        f"{line(found, place)}: not there after {waited:.0f} s",
        "look at what became of them, and start all again; --stuck-after 5m waits for ten times that",
    )


def without_launcher(place: Place) -> NoReturn:
    if not speaks():
        raise Elsewhere
    said = f"the launcher that started {this_one()} does not answer at {place}: it has ended, or cannot be reached"
    raise Missing(said, "start all again")
