"""Loader workers: how they begin and end, and how what they read, or what they trip over, reaches the trainer."""

import ctypes
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from launchbay.data.samples import Values

T = TypeVar("T")
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Signals that a terminal or a scheduler sends to all processes at once."""
SECONDS_TO_END = 2
"""For all workers together, once they are not needed any more."""


class InWorker(Exception):
    """The cause of an error that came about in a worker: the `frames` of the place, innermost last."""

    def __init__(self, frames: traceback.StackSummary):
        super().__init__("in a loader worker:\n" + "".join(frames.format()))
        self.frames = frames


@dataclass(frozen=True)
class Failure:
    """An error that travels. Raised in the worker, it would reach the trainer as the text of a traceback."""

    error: Exception
    frames: traceback.StackSummary

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        found = traceback.extract_tb(error.__traceback__)
        frames = traceback.StackSummary.from_list([(f.filename, f.lineno or 0, f.name, f.line) for f in found])
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # its __init__ takes something else than what it says
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, frames)

    def throw(self) -> None:
        raise self.error from InWorker(self.frames)


@dataclass(frozen=True)
class Piped:
    """A tensor for which there was no room in shared memory."""

    content: bytes
    dtype: torch.dtype
    shape: torch.Size

    def tensor(self) -> Tensor:
        say_once(
            "shared memory (/dev/shm) is full: batches of loader workers come through pipes, which is slower; give it "
            "more (docker run --shm-size 2g), or fewer --workers"
        )
        if not self.content:
            return torch.empty(self.shape, dtype=self.dtype)
        return torch.frombuffer(bytearray(self.content), dtype=self.dtype).reshape(self.shape)


def shared(values: Values) -> Values:
    """Return `values` as a worker hands them over: tensors in shared memory. Left to torch, which does that in another
    thread, a tensor for which there is no room would never arrive."""
    return {name: share(value) if isinstance(value, Tensor) else value for name, value in values.items()}


def share(tensor: Tensor) -> Tensor | Piped:
    try:
        return tensor.share_memory_()
    except RuntimeError:
        content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return Piped(content, tensor.dtype, tensor.shape)


def received(values: Values) -> Values:
    """Return what a worker has handed over as `shared`."""
    return {name: value.tensor() if isinstance(value, Piped) else value for name, value in values.items()}


@cache
def say_once(text: str) -> None:
    print(text, flush=True)


@contextmanager
def batches_of(dataset: Dataset[T], workers: int, **how: Any) -> Generator[Generator[T]]:
    """Give the batches that `workers` loader workers take from `dataset`, within the block; at its end none of them is
    left. Where none can be started, this process does their work. `how` is what a DataLoader takes besides.
    """
    before = set(active_children())
    batches = start(DataLoader(dataset, num_workers=workers, worker_init_fn=prepare, **how), before)
    if batches is None:
        batches = iter(DataLoader(dataset, **how))
    started = set(active_children()) - before
    try:
        yield (batch for batch in batches)
    finally:
        if started:
            # Torch waits five seconds for each that is stuck, and then asks it by a signal to which it is deaf.
            late = threading.Timer(SECONDS_TO_END, kill, [started])
            late.start()
            with unwatched_children():
                batches._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]
            late.cancel()


def start(loader: DataLoader[T], before: set[BaseProcess]) -> Iterator[T] | None:
    """Return the batches of `loader`; None, and say so, if its workers cannot be started: each needs a process, memory,
    and a little of /dev/shm, in which the batches of others may lie. `before` are the children before them."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # what torch has half made complains when it goes
    try:
        return iter(loader)
    except OSError as error:
        said = f"the {loader.num_workers} loader workers cannot be started: {error}"
    finally:
        sys.unraisablehook = hook
    kill(set(active_children()) - before)
    say_once(f"{said}; this process does their work. Fewer --workers need less of /dev/shm and of memory")
    return None


def kill(workers: set[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


@contextmanager
def unwatched_children() -> Generator[None]:
    """Keep torch, within the block, from raising an error when a worker is killed."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):  # Windows
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)


def is_worker() -> bool:
    """Return whether this process is one."""
    return get_worker_info() is not None


def prepare(worker: int) -> None:
    """Ignore signals that are for the trainer, which still needs its batches; and end with it, wherever this one is.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    for name in NAMES:
        if name in signal.Signals.__members__:
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    sys.excepthook = quiet
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error of a worker's thread, unless it is that the trainer, to which it hands memory over, is gone."""
    if not issubclass(kind, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)
