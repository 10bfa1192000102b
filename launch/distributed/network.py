"""The network between machines: by which interface their processes talk, and whether each machine reaches the next."""

import ipaddress
import json
import os
import platform
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from launchbay import UserError
from launchbay.launch.errors import tell_all
from launchbay.launch.others import attempt, process_rank, speaks

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

INTERFACE = "GLOO_SOCKET_IFNAME"
LOOPBACK = "127.0.0.1"
REFUSED = "nothing listens there"
"""What is said of a machine that can be reached, and does not wait for anybody."""
NO_NAME = (socket.gaierror, UnicodeError)
"""What Python raises for a name that no machine has here, or none can have."""
SECONDS_TO_REACH = 10
"""That a machine may take to answer another one."""
MOST_SAID = 8
"""Ways between machines of which a message tells what is wrong."""


class Machine(NamedTuple):
    """A machine of the run, as the first of its processes has found it."""

    rank: int
    """Of that process."""
    name: str
    address: str
    """Of the interface by which it reaches process 0: on the machine of that, mostly a loopback."""

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


def here() -> str:
    """Return the key under which the store has the machines, once all processes have come: of this job and step, where
    another job of SLURM may have taken the same port before process 0 of this one could.
    """
    job = ".".join(os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return f"launchbay/here/{job}/{attempt()}"


def connect_machines(store: "Store") -> None:
    """Choose the interface for gloo, and try whether each machine reaches the next one.

    gloo would take the address that the name of this machine has, which on many systems is a loopback: then the other
    machines find nobody, and wait. It reads the variable when a process group is made. (NCCL looks for itself.)

    Raises:
        UserError: there is no such interface, or a machine cannot be reached.
    """
    machines = [Machine(*each) for each in json.loads(store.get(here()))]
    check_interface()
    if len(machines) == 1:
        return
    address = own_address(os.environ["MASTER_ADDR"], machines)
    if INTERFACE not in os.environ and not is_loopback(address) and (name := interface_of(address)):
        os.environ[INTERFACE] = name
    verdict = f"{here()}/ways"
    if speaks() and not store.check([verdict]):  # a second training of the same processes need not try again
        try_way(store, machines, address, verdict)
    if said := store.get(verdict).decode():
        raise UserError(
            said,
            "a firewall between the machines has to let their processes through, at all ports from 1024 on; or name "
            f"the interface of a network that they share: {INTERFACE}={'|'.join(interfaces())}",
        )


def own_address(first: str, machines: list[Machine]) -> str:
    """Return the address at which others reach this machine: that of the interface by which it reaches process 0, whose
    address is `first`; on the machine of that itself, another one."""
    address = address_towards(first)
    others = [machine.address for machine in machines if not is_loopback(machine.address)]
    return address_towards(others[0]) if is_loopback(address) and others else address


def try_way(store: "Store", machines: list[Machine], address: str, verdict: str) -> None:
    """Let the machine before this one in the list come by, and try to reach the next one. The first one collects what
    they say: what the store holds grows as the machines, not as their square."""
    place = [machine.rank for machine in machines].index(process_rank())
    following = (place + 1) % len(machines)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as door:
        store.set(f"{verdict}/door/{place}", json.dumps([address, door.getsockname()[1]]))
        host, port = json.loads(store.get(f"{verdict}/door/{following}"))
        trouble = trouble_at(host, port, SECONDS_TO_REACH)
        said = f"{machines[following].name} ({host}) cannot be reached from {platform.node()} ({address}): {trouble}"
        store.set(f"{verdict}/way/{place}", said if trouble else "")
        if place == 0:
            all_said = [store.get(f"{verdict}/way/{number}").decode() for number in range(len(machines))]
            troubles = list(dict.fromkeys(filter(None, all_said)))
            rest = [f"and {len(troubles) - MOST_SAID} more"] if len(troubles) > MOST_SAID else []
            store.set(verdict, "; ".join([*troubles[:MOST_SAID], *rest]))
        store.get(verdict)


def trouble_at(host: str, port: int, seconds: float) -> str:
    """Return what is wrong with the way to a `port` of `host`, in words; empty if somebody listens there."""
    if is_of_one_link(host):
        several = " or ".join(f"{host}%{name}" for name in interfaces())
        return f"such an address is known in one network only: name the interface that leads there, {several}"
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except NO_NAME:
        return f"no machine is known here by the name {host}"
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return f"no answer within {seconds:g} s: it is off, in another network, or behind a firewall"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def address_towards(host: str) -> str:
    """Return this machine's address at the interface by which it reaches `host`; a loopback if it knows no way."""
    with suppress(OSError, *NO_NAME):
        for family, kind, protocol, _, place in socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(place)  # sends nothing
                return str(probe.getsockname()[0])
    return LOOPBACK


def is_of_one_link(host: str) -> bool:
    """Return whether `host` is an address of IPv6 that any network may have, without the interface which tells."""
    with suppress(ValueError):
        address = ipaddress.IPv6Address(host)
        return address.is_link_local and address.scope_id is None
    return False


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def interfaces() -> dict[str, list[str]]:
    """Return the addresses of each interface that leads to other machines."""
    import psutil

    families = (socket.AF_INET, socket.AF_INET6)
    found = {
        name: [entry.address.partition("%")[0] for entry in entries if entry.family in families]
        for name, entries in psutil.net_if_addrs().items()
    }
    return {name: own for name, own in found.items() if own and not all(map(is_loopback, own))}


def interface_of(address: str) -> str:
    """Return the name of the interface that has `address`; empty if none has."""
    return next((name for name, own in interfaces().items() if address.partition("%")[0] in own), "")


def check_interface() -> None:
    """Raise an error, on the machine in question, if there is no such interface as the environment names for gloo."""
    import psutil

    named, there = os.environ.get(INTERFACE, ""), psutil.net_if_addrs()
    if lacking := [name for name in named.split(",") if name and name not in there]:
        tell_all(
            f"{INTERFACE}={named}: {platform.node()} has no interface {lacking[0]}",
            f"it has {', '.join(there)}; without the variable the one that reaches process 0 is taken",
        )
