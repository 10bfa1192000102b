"""State that is no trainable parameter, on several processes: BatchNorm's statistics are averaged, all else has to be
the same on all of them."""

from collections.abc import Iterator, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from launchbay.launch.checkpoint.task_state import digest, digests, own_state
from launchbay.launch.distributed.collectives import are_same, gather_lists, on_main_process, reduce
from launchbay.tasks.authors import raise_author_error
from launchbay.tasks.base import AnyTask

STATISTICS = ("running_mean", "running_var")
"""The buffers of BatchNorm and InstanceNorm that hold statistics of the samples that a process has seen."""


def statistics(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return the running statistics of the normalisation layers of `network`, by their names in its state_dict."""
    for place, layer in network.named_modules():
        if isinstance(layer, _NormBase):
            for name in STATISTICS:
                if (buffer := getattr(layer, name)) is not None:
                    yield f"{place}.{name}".removeprefix("."), buffer


def share_statistics(networks: Mapping[str, nn.Module], accelerator: Accelerator) -> None:
    """Give all processes the mean of their running statistics, each of which is of a process' own samples: without this
    each would evaluate another network, and only the first one's would be saved.
    """
    buffers = [buffer for network in networks.values() for _, buffer in statistics(network)]
    if not buffers:
        return
    mean = reduce(torch.cat([buffer.flatten() for buffer in buffers]), "mean", accelerator)
    for buffer, part in zip(buffers, mean.split([buffer.numel() for buffer in buffers]), strict=True):
        # As BatchNorm itself changes them: a backward pass that is to come does not notice, since it needs them not.
        buffer.data.copy_(part.view_as(buffer))


def check_shared_state(task: AnyTask, networks: Mapping[str, nn.Module], step: int, accelerator: Accelerator) -> None:
    """Check that the state of `task` that is saved, parameters of `networks` and statistics aside, is the same on all
    processes after `step`.

    Raises:
        AuthorError: on all of them, naming what is not.
    """
    if accelerator.num_processes == 1:
        return
    state = own_state(task, networks)
    for name, network in networks.items():
        averaged = {*dict(network.named_parameters()), *dict(statistics(network))}
        state |= {f"{name}.{key}": value for key, value in network.state_dict().items() if key not in averaged}
    mine = digests(state)
    if are_same(digest(mine)):
        return
    of_processes = gather_lists([mine])

    def compare() -> None:
        for rank, found in enumerate(of_processes):
            if names := [name for name, value in of_processes[0].items() if found.get(name) != value]:
                raise_author_error(
                    task,
                    "training_step",
                    f"leaves {', '.join(names[:3])} different on process {rank} than on process 0, after step {step}",
                    "make it from the whole batch, batch.gather(tensor), so that it is the same on all processes",
                )

    on_main_process(compare)
