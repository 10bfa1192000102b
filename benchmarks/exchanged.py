"""What one process of many exchanges with the others, counted in one process: torch's fake process group takes part in
every collective, and sends nothing. Used by scaling.py and the tests.
"""

import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, distributed
from torch.distributed import GradBucket  # pyright: ignore[reportPrivateImportUsage]
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from launchbay.launch.distributed import accelerator, groups
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.engine import loop, session
from launchbay.launch.engine.loop import Engine
from launchbay.launch.engine.step import Learner
from launchbay.launch.train import run


@dataclass(frozen=True)
class Message:
    """A collective that the process took part in."""

    phase: str
    """start, step, log, validation, save, resume"""
    kind: str
    """The name of the collective; "bucket" is one of gradients."""
    bytes: int
    """What the process has of it when it is over: of a gather, what all have sent."""
    step: int
    """The training step that was begun last, from 1."""


class Exchange(TorchDispatchMode):
    """Within it, each message is noted under the `phase` that the run is in."""

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.step, self.messages = "start", 0, list[Message]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            sizes = [value.nbytes for value in tree_leaves(args[0]) if isinstance(value, Tensor)]
            self.note(func._opname.strip("_"), sum(sizes))
        return func(*args, **(kwargs or {}))

    def note(self, kind: str, size: int) -> None:
        self.messages.append(Message(self.phase, kind, size, self.step))

    def of(self, phase: str, step: int | None = None) -> list[tuple[str, int]]:
        """Kind and bytes of the messages of a `phase`, of all steps or of one."""
        chosen = [one for one in self.messages if one.phase == phase and step in (None, one.step)]
        return [(one.kind, one.bytes) for one in chosen]

    def within(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, in which the run is in `phase`."""

        def named(*args: Any, **kwargs: Any) -> Any:
            before, self.phase = self.phase, phase
            self.step += function.__qualname__ == "Learner.step"
            try:
                return function(*args, **kwargs)
            finally:
                self.phase = before

        return named

    def wrapping(self, create: Callable[..., None]) -> Callable[..., None]:
        """`create`, the making of a Learner, whose buckets of gradients are noted too."""

        def send(_: None, bucket: GradBucket) -> Future[Tensor]:
            self.note("bucket", bucket.buffer().nbytes)
            done = Future[Tensor]()
            done.set_result(bucket.buffer())
            return done

        def created(learner: Learner, *args: Any, **kwargs: Any) -> None:
            create(learner, *args, **kwargs)
            for wrapper in learner.wrapped.values():
                assert isinstance(wrapper, DistributedDataParallel)
                wrapper.register_comm_hook(None, send)

        return created


@contextmanager
def first_of(world: int) -> Generator[Exchange]:
    """Within it, a run in this process takes itself for the first of `world`."""
    exchange = Exchange()
    told = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": min(8, world)}
    with socket.socket() as nobody:  # who listens there answers nothing
        nobody.bind(("127.0.0.1", 0))
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": nobody.getsockname()[1], "ACCELERATE_USE_CPU": "true"}
        distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
        aside = distributed.new_group(backend="fake")
        assert isinstance(aside, distributed.ProcessGroup)
        try:
            with ExitStack() as stack:
                stack.enter_context(patch.dict(os.environ, {name: str(value) for name, value in told.items()}))
                stack.enter_context(patch.object(accelerator, "meet_aside", lambda _: groups.ASIDE.append(aside)))
                stack.enter_context(patch.object(Learner, "__init__", exchange.wrapping(Learner.__init__)))
                for phase, place, name in PHASES:
                    stack.enter_context(patch.object(place, name, exchange.within(phase, getattr(place, name))))
                yield stack.enter_context(exchange)
        finally:
            groups.leave_aside()
            distributed.destroy_process_group()


PHASES = (
    ("resume", session, "acquire_run"),
    ("resume", Engine, "restore"),
    ("step", Learner, "step"),
    ("step", Stop, "asked"),
    ("log", loop, "mean_terms"),
    ("check", loop, "check_shared_state"),
    ("validation", Engine, "validate"),
    ("save", Engine, "save"),
)
"""What a run is in while a function runs."""


def train(argv: Sequence[str]) -> None:
    """Train as `argv` says, in this process."""
    before = torch.get_num_threads()
    with Stop() as stop:
        run(list(argv), stop)
    torch.set_num_threads(before)
