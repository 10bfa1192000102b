"""Where the time of a step goes (--profile N): a trace for Chrome, and a summary of one screen."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, schedule
from torch.profiler import profile as Profile

from launchbay import UserError
from launchbay.launch.files import replacing

T = TypeVar("T")
Label = Callable[[str], AbstractContextManager[object]]
"""What gives a name, in a profile, to the time spent within it."""
DATA, FORWARD, BACKWARD, OPTIMIZER = PHASES = ("data", "forward", "backward", "optimizer")
WARM_UP = 5
"""Steps before those that are profiled."""


def labelled(label: Label, phase: str, items: Iterable[T]) -> Iterator[T]:
    """Yield `items`; the time until each one comes gets the label `phase`."""
    iterator = iter(items)
    while True:
        with label(phase):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def profiler(steps: int | None, left: int, folder: Path, device: str) -> AbstractContextManager[Profile | None]:
    """Return a profiler of `steps` steps, after a few to warm up, that then says what it found; its `step()` ends a
    step. Without `steps` it is None.

    Raises:
        UserError: fewer steps than that are `left`.
    """
    if not steps:
        return nullcontext()
    if left < WARM_UP + steps:
        raise UserError(f"--profile {steps} needs {WARM_UP + steps} steps, there are {left}", "give more --steps")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it complains where there is no GPU
    of_gpu = getattr(ProfilerActivity, device.upper(), ProfilerActivity.CPU)
    activities = list({ProfilerActivity.CPU, of_gpu})
    return Profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=WARM_UP, active=steps, repeat=1),
        on_trace_ready=lambda done: summarize(done, folder),
    )


def summarize(done: Profile, folder: Path) -> None:
    file = folder / "profile.json"
    with replacing(file) as temporary:
        done.export_chrome_trace(str(temporary))
    events = [event for event in done.events() or () if event.name.startswith("ProfilerStep")]
    whole, steps = sum(event.cpu_time_total for event in events), len(events)
    spent = {row.key: row.cpu_time_total for row in done.key_averages() if row.key in PHASES}
    spent["rest"] = whole - sum(spent.values())
    console = Console()
    console.print(shares(f"{steps} steps", spent, whole, steps))
    inside = sorted(
        (row for row in done.key_averages() if row.key not in PHASES and not row.key.startswith("ProfilerStep")),
        key=lambda row: row.self_cpu_time_total,
        reverse=True,
    )
    console.print(
        shares("operations, by their own time", {row.key: row.self_cpu_time_total for row in inside[:10]}, whole, steps)
    )
    console.print(f"{file} opens in chrome://tracing or ui.perfetto.dev", highlight=False, soft_wrap=True)


def shares(heading: str, spent: dict[str, float], whole: float, steps: int) -> Table:
    """Return times in microseconds as ms a step and % of the `whole`."""
    table = Table(heading, "ms a step", "share")
    for name, time in spent.items():
        table.add_row(name, f"{time / steps / 1000:.2f}", f"{100 * time / max(whole, 1e-9):.0f} %")
    return table
