"""Fresh processes that find something out about a task: how they are asked, and how they answer.

A question is a module of this package, run with module:Class, a folder and a rank. The folder has the options and gets
an answer from each process.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from launchbay.launch.config.option_file import read_options, to_yaml
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.config.setup import default_config
from launchbay.launch.files import Json
from launchbay.tasks.base import AnyTask


class NotImportable(Exception):
    """No other process can import the task."""


def ask(module: str, count: int, kind: type[AnyTask], config: AnyConfig) -> list[Json]:
    """Return the answers of `count` processes that run `module` of this package; {"died": why} of one that gives none.
    They import the module of the task `kind`, but not the script that runs here.

    Raises:
        NotImportable: the task is of that script, or of inside a function.
    """
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise NotImportable(
            f"another process cannot import {kind.__name__} from a script or a function; move it to a module"
        )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        running: list[subprocess.Popen[bytes]] = []
        for rank in range(count):
            log = stack.enter_context((folder / f"{rank}.log").open("wb"))
            command = [sys.executable, "-m", f"launchbay.launch.check.{module}", config.task, name, str(rank)]
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            stack.callback(running[-1].kill)
        for process in running:
            process.wait()
        return [read_answer(folder, rank) for rank in range(count)]


def read_answer(folder: Path, rank: int) -> Json:
    file, log = folder / f"{rank}.json", (folder / f"{rank}.log").read_text(encoding="utf-8", errors="replace")
    return json.loads(file.read_bytes()) if file.exists() else {"died": (log.strip().splitlines() or ["no word"])[-1]}


@dataclass(frozen=True)
class Asked:
    """One of these processes, as it sees itself."""

    name: str
    """Task, as module:Class."""
    folder: Path
    """Folder of the options and the answers."""
    rank: int
    """Number of this process, from 0 on."""

    def task_type(self) -> type[AnyTask]:
        module, _, qualified = self.name.partition(":")
        return attrgetter(qualified)(importlib.import_module(module))

    def config(self) -> AnyConfig:
        return read_options(self.folder / "config.yaml", default_config(self.name, self.task_type()))[0]

    def answer(self, found: Json) -> None:
        (self.folder / f"{self.rank}.json").write_text(json.dumps(found), encoding="utf-8")


def asked() -> Asked:
    """Return what this process is asked."""
    name, folder, rank = sys.argv[1:]
    return Asked(name, Path(folder), int(rank))
