"""launchbay as a guest in somebody else's process, such as a notebook's: it leaves all as it found it."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from launchbay.devices import device_in_use, random_state_kept
from launchbay.launch.distributed.groups import leave_aside

STATES = (PartialState, AcceleratorState, GradientState)
"""What accelerate keeps for the life of a process: a second training would be held to the options of the first."""


@contextmanager
def as_guest() -> Generator[None]:
    """Within it accelerate begins anew; after it that, the process group, the generators of random numbers, the default
    kind of float and the number of threads are as they were before.
    """
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    alike = torch.backends.cudnn.deterministic
    kept = [dict(state._shared_state) for state in STATES]
    had_group = torch.distributed.is_initialized()
    for state in STATES:
        state._shared_state.clear()
    try:
        with random_state_kept(device_in_use()):
            yield
    finally:
        for state, before in zip(STATES, kept, strict=True):
            state._shared_state.clear()
            state._shared_state.update(before)
        leave_aside()
        if torch.distributed.is_initialized() and not had_group:
            torch.distributed.destroy_process_group()
        torch.set_default_dtype(dtype)
        torch.backends.cudnn.deterministic = alike
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
