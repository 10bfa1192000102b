"""`launchbay doctor --machines HOST HOST...`: whether they reach each other from here, and the command for each."""

import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from launchbay import UserError, number_of
from launchbay.launch.commands.doctor import CONFIGS
from launchbay.launch.distributed.network import (
    NO_NAME,
    REFUSED,
    address_towards,
    interface_of,
    interfaces,
    is_loopback,
    trouble_at,
)
from launchbay.launch.errors import DONE, USER_MISTAKE

PORT = 29500
SECONDS_TO_ANSWER = 3


def examine_machines(hosts: Sequence[str], console: Console) -> int:
    """Try the way from here to each of the machines `hosts`, and print the command that starts one run on all of them:
    the first one is where they meet. Return the exit code: 2 if one cannot be reached.

    Raises:
        UserError: there are not at least two different ones.
    """
    if len(set(hosts)) < max(2, len(hosts)):
        raise UserError(f"--machines {' '.join(hosts)}", "name at least two machines, each once, the first one first")
    from launchbay import devices

    own = [address for found in interfaces().values() for address in found]
    found = {host: addresses_of(host) for host in hosts}
    first, port = hosts[0], free_port() if is_here(found[hosts[0]], own) else PORT
    table, well = Table(box=None, show_header=False, pad_edge=False), True
    for host, addresses in found.items():
        trouble, said = examine(host, addresses, own, port)
        said += f"; port {port} is free" * (host == first and is_here(addresses, own))
        well &= not trouble
        table.add_row(f"[bold]{host}[/bold]", ", ".join(addresses) or "no address", said)
    console.print(table)
    if is_here(found[first], own) and all(map(is_loopback, found[first])):
        first = next((address for address in own if ":" not in address), first)
        console.print(f"note: {hosts[0]} is a loopback here; the others are given {first}", highlight=False)
    console.print(where_runs_go(Path("runs")), highlight=False, soft_wrap=True)
    gpus = len(devices.gpus())
    each, device = (gpus, "one for each GPU, as many as here") if gpus else (1, "one on each machine")
    console.print(f"\n[bold]commands[/bold], for {number_of(each * len(hosts), 'process')}: {device}", highlight=False)
    for rank, host in enumerate(hosts):
        line = command(rank, len(hosts), each, first, port, gpus=gpus > 0)
        console.print(f"  on {host}:\n    {line}", highlight=False, soft_wrap=True, markup=False)
    return DONE if well else USER_MISTAKE


def addresses_of(host: str) -> list[str]:
    """Return the addresses that the name `host` has here; none if it is not known."""
    try:
        found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(place[0]) for *_, place in found))
    except NO_NAME:
        return []


def is_here(addresses: list[str], own: list[str]) -> bool:
    return any(address in own or is_loopback(address) for address in addresses)


def examine(host: str, addresses: list[str], own: list[str], port: int) -> tuple[bool, str]:
    """Return whether the machine `host` cannot be used, and what to say of it."""
    if not addresses:
        return True, f"no machine is known here by the name {host}"
    if is_here(addresses, own):
        outside = [address for address in addresses if not is_loopback(address)] or own
        name = interface_of(outside[0]) if outside else ""
        return not name, f"this machine, {f'by {name}' if name else 'which has no network'}"
    name = interface_of(address_towards(host))
    trouble = trouble_at(host, port, SECONDS_TO_ANSWER)
    if trouble in ("", REFUSED):
        return False, f"answers, by {name}" + f"; something listens at port {port} already" * (not trouble)
    return True, trouble


def free_port() -> int:
    """Return the usual port where machines meet, or else one that is free here."""
    for port in (PORT, 0):
        try:
            with socket.create_server(("", port)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    return PORT


def where_runs_go(folder: Path) -> str:
    """Say on which disk the run folders would be, which all machines have to see."""
    import psutil

    whole = folder.resolve()
    there = next(parent for parent in (whole, *whole.parents) if parent.exists())
    disks = [disk for disk in psutil.disk_partitions(all=True) if whole.is_relative_to(disk.mountpoint)]
    disk = max(disks, key=lambda disk: len(disk.mountpoint), default=None)
    kind = f" ({disk.fstype}, {disk.mountpoint} from {disk.device})" if disk else ""
    refused = "" if os.access(there, os.W_OK) else f" {there} cannot be written to."
    return f"run folders  {whole}{kind}:{refused} every machine has to see it there, or --output-dir names another one"


def command(rank: int, machines: int, each: int, first: str, port: int, *, gpus: bool) -> str:
    """Return the command for the machine `rank`, with `each` processes: in a checkout with its configurations."""
    task = ["--task", "superres", "--run", "NAME", "--output-dir", "runs"]
    if CONFIGS.is_dir():
        file = f"{CONFIGS}/{'multi_gpu' if gpus else 'multi_cpu'}.yaml"
        start = ["accelerate", "launch", "--config_file", file, "--num_machines", machines, "--machine_rank", rank]
        start += ["--num_processes", each * machines, "--main_process_ip", first, "--main_process_port", port]
        return shlex.join(map(str, [*start, "launch/run.py", *task]))
    start = ["torchrun", "--nnodes", machines, "--node_rank", rank, "--nproc_per_node", each]
    start += ["--master_addr", first, "--master_port", port, "-m", "--", "launchbay.launch.run"]
    return shlex.join(map(str, [*start, *task]))
