"""Two machines in one: each with a network, a host name, processes and, if asked for, a folder of its own.

They are network namespaces that a pair of virtual interfaces joins. This needs root, `ip` and `unshare`.
"""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from conftest import ROOT

ADDRESS = "10.77.0.1", "10.77.0.2"
PORT = 29500
"""Where the processes meet; nobody else is on these machines."""


def reason_without() -> str:
    """Why there can be none here; empty if there can."""
    if sys.platform != "linux" or os.geteuid():
        return "making machines needs Linux and root"
    if missing := [name for name in ("ip", "unshare", "mount") if not shutil.which(name)]:
        return f"making machines needs {missing[0]}"
    name = f"lb{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    return f"no network namespace can be made: {made.stderr.strip()}" if made.returncode else ""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Machines:
    """Within it, there are two, "left" and "right", and a cable."""

    names = "left", "right"

    def __enter__(self) -> Self:
        unique = secrets.token_hex(3)
        self.spaces = [f"lb{unique}{number}" for number in (0, 1)]
        self.started: list[subprocess.Popen[str]] = []
        for space in self.spaces:
            ip("netns", "add", space)
        ip("link", "add", "cable", "netns", self.spaces[0], "type", "veth", "peer", "cable", "netns", self.spaces[1])
        for space, address in zip(self.spaces, ADDRESS, strict=True):
            ip("-n", space, "address", "add", f"{address}/24", "dev", "cable")
            for interface in ("lo", "cable"):
                ip("-n", space, "link", "set", interface, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            process.kill()  # with it all that it has started: see unshare
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False)

    def start(self, machine: int, *argv: object, own: Path | None = None) -> subprocess.Popen[str]:
        """Start a command on a `machine`, 0 or 1, in the current folder. If it has a folder `own`, it sees that one as
        the folder "runs" here, whatever the other one sees.
        """
        enter = ("ip", "netns", "exec", self.spaces[machine], "unshare", "--uts", "--mount", "--pid", "--fork")
        hosts = Path(f"hosts-{machine}").absolute()  # as on Debian: the name of a machine is not its address
        known = zip(self.names, (*ADDRESS[:machine], "127.0.1.1", *ADDRESS[machine + 1 :]), strict=True)
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in known))
        mounts = f"mount --bind {hosts} /etc/hosts; {f'mount --bind {own} runs; ' if own else ''}"
        script = f'hostname {self.names[machine]}; {mounts}exec "$@"'
        words = [*enter, "--kill-child", "--mount-proc", "sh", "-c", script, "sh", *map(str, argv)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        return process

    def launch(self, argv: Sequence[object], own: Sequence[Path | None] = (None, None)) -> list[subprocess.Popen[str]]:
        """Start `accelerate launch` of launch/run.py with `argv` on each machine, one process on each."""
        file = ROOT / "accelerate_configs/multi_cpu.yaml"
        start = (sys.executable, "-m", "accelerate.commands.launch", "--config_file", file, "--num_machines", 2)
        start = (*start, "--num_processes", 2, "--main_process_ip", ADDRESS[0], "--main_process_port", PORT)
        return [
            self.start(rank, *start, "--machine_rank", rank, ROOT / "launch/run.py", *argv, own=own[rank])
            for rank in (0, 1)
        ]

    def elastic(self, argv: Sequence[object]) -> list[subprocess.Popen[str]]:
        """Start `torchrun` of launch/run.py on each machine, one process on each, which goes on with one of them."""
        start = (sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--max_restarts", 3)
        start = (*start, "--rdzv_backend", "c10d", "--rdzv_endpoint", f"{ADDRESS[0]}:{PORT}", "--rdzv_id", "it")
        own = [
            ("--local_addr", ADDRESS[place], "--rdzv_conf", f"last_call_timeout=5,is_host={place == 0}")
            for place in (0, 1)
        ]
        return [self.start(place, *start, *own[place], "--", ROOT / "launch/run.py", *argv) for place in (0, 1)]

    def unplug(self) -> None:
        """Pull the cable: nothing comes through, and nobody says so."""
        ip("-n", self.spaces[1], "link", "set", "cable", "down")

    def plug(self) -> None:
        ip("-n", self.spaces[1], "link", "set", "cable", "up")


def ended(process: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """Wait for a command of `Machines`. Returns its exit code and what it said, without frames."""
    said = process.communicate(timeout=seconds)[0]
    return process.returncode, " ".join(said.replace("│", " ").split())


def wait_for_lines(run: Path, count: int, seconds: float = 60) -> None:
    """Wait until the record of a run has so many lines."""
    end = time.monotonic() + seconds
    while not (run / "metrics.jsonl").is_file() or len((run / "metrics.jsonl").read_text().splitlines()) < count:
        assert time.monotonic() < end, f"{run} has no {count} lines"
        time.sleep(0.05)
