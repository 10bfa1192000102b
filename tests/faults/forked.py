"""Runs in processes of their own that need not start Python and import torch: each is forked from one that has.

Their file calls may be held (system_calls.py), they may be killed, and there may be several for one run.
"""

import atexit
import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from signal import SIGKILL
from typing import Any, NoReturn

import system_calls

TESTS = Path(__file__).parents[1]
PRELOADED = ("toys", "launchbay.launch.engine.session", "launchbay.launch.cli", "matplotlib.figure", "wandb")


class Forked:
    """A command in the current folder, with what it prints in the file `output`: a run, or what `launchbay` does."""

    def __init__(
        self,
        argv: Sequence[object],
        output: str = "output.txt",
        environment: Mapping[str, str] = {},
        *,
        held: bool = False,
    ):
        self.output = Path(output).absolute()
        self.listener = -1
        request = {
            "argv": [str(word) for word in argv],
            "folder": str(Path.cwd()),
            "output": str(self.output),
            "environment": {**os.environ, **environment},
        }
        if not held:
            self.pid: int = ask(request)
            return
        with socket.socket(socket.AF_UNIX) as waiting:
            name = f"\0launchbay-faults-{os.getpid()}-{time.monotonic_ns()}"
            waiting.bind(name)
            waiting.listen()
            self.pid = ask({**request, "listener": name[1:]})
            with waiting.accept()[0] as other:
                self.listener = socket.recv_fds(other, 1, 1)[1][0]

    def hold(self, decide: Callable[[system_calls.Call], int]) -> None:
        """Ask `decide` about each of its file calls until it, and all that it has started, are gone."""
        try:
            system_calls.hold(self.listener, decide)
        finally:
            os.close(self.listener)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 300) -> int:
        """Its exit code, or the number of the signal that killed it, below 0."""
        end = time.monotonic() + seconds
        while (code := ask({"wait": self.pid})) is None:
            if time.monotonic() > end:
                os.killpg(self.pid, SIGKILL)
                raise AssertionError(f"it does not end: {self.output.read_text()}")
            time.sleep(0.01)
        return code

    def said(self) -> str:
        return self.output.read_text(errors="replace")


def fork_processes(
    count: int, argv: Sequence[object], environment: Mapping[str, str] = {}, folders: Sequence[str] = ()
) -> list[Forked]:
    """Fork as many for one run, without a launcher: in the current folder, or each in one of its own, as elsewhere."""
    if count == 1:
        return [Forked(argv, environment=environment)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    common["ACCELERATE_USE_CPU"] = "1"
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    processes = []
    for rank, folder in zip(ranks, folders or ["."] * count, strict=True):
        with contextlib.chdir(folder):
            local = {"LOCAL_RANK": "0"} if folders else {}
            processes.append(Forked(argv, f"output-{rank['RANK']}.txt", common | rank | local))
    return processes


@cache
def server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Ends when this process does, which holds the other end."""
    mine, other = socket.socketpair()
    with other:
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        process = subprocess.Popen([sys.executable, __file__], stdin=other.fileno(), env=environment)
    atexit.register(lambda: mine.close() or process.wait())
    return mine, process


def ask(request: dict[str, Any]) -> Any:
    connection, _ = server()
    connection.sendall(json.dumps(request).encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        answer += connection.recv(4096)
    return json.loads(answer)


def serve() -> int:
    """Start what is asked for, and say how it ended. Return, in each process that is forked, its exit code."""
    import unpickled

    unpickled.install()

    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # what is here already is not looked at, and so not copied, in each process that is forked
    with socket.socket(fileno=0) as asked, asked.makefile() as requests:
        for text in requests:
            request = json.loads(text)
            if "wait" in request:
                pid, status = os.waitpid(request["wait"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
            elif not (answer := os.fork()):
                break
            asked.sendall(json.dumps(answer).encode() + b"\n")
        else:
            return 0
    return obey(request)


def end(code: int) -> NoReturn:
    """What an interpreter does at its end, but for taking all of its modules apart, which takes a second here."""
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def obey(request: dict[str, Any]) -> int:
    from launchbay.launch import cli
    from launchbay.launch.train import main

    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    os.open(os.devnull, os.O_RDONLY)  # takes the place of what was asked by
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    if "listener" in request:
        listener = system_calls.listen()
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(f"\0{request['listener']}")
            socket.send_fds(other, [b"it"], [listener])
        os.close(listener)
    if request["argv"][0].startswith("-"):
        return main(request["argv"])
    sys.argv = ["launchbay", *request["argv"]]
    return cli.main()


if __name__ == "__main__":
    try:
        code = serve()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    end(code)
