"""--shard: a process has some rows only of each parameter, its gradient, average and optimizer's state (FSDP2).

The weights of a block are brought together while it computes, and the gradients' mean is given back to those who keep
the rows. Source: torch.distributed.fsdp.fully_shard; https://arxiv.org/abs/2304.11277.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from launchbay import UserError
from launchbay.launch.checkpoint.optimizer_state import twin_of
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.accelerator import to_device
from launchbay.launch.distributed.collectives import broadcast
from launchbay.launch.engine.blocks import count_blocks, find_blocks
from launchbay.launch.engine.placement import Placement
from launchbay.models.tensors import is_shared_out, rows_of
from launchbay.tasks.base import AnyTask

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule


def place(
    task: AnyTask, averages: Mapping[str, AveragedModel], options: TrainOptions, accelerator: Accelerator
) -> tuple[Placement, list[str]]:
    """Bring `task` and `averages` of its networks to the device, shared out where the options say so. Return lines on
    that, too.

    Raises:
        UserError: a network cannot be shared out.
    """
    device = accelerator.device
    if not options.hardware.shard or accelerator.num_processes == 1:
        to_device(task, device)
        for averaged in averages.values():
            to_device(averaged.module, device)  # its count stays here: to look at it there would wait for a GPU
        return Placement(), ["--shard: there is one process, which has all rows"] if options.hardware.shard else []
    networks = task.networks()
    copies = {f"the average of {name}": averaged.module for name, averaged in averages.items()}
    placed = Sharded({**networks, **copies}, device)
    for name, child in task.named_children():
        if name not in networks:
            to_device(child, device)
    for tensor in [*task.parameters(recurse=False), *task.buffers(recurse=False)]:
        tensor.data = tensor.data.to(device)
    found = {name: placed.parts[id(network)][:-1] for name, network in networks.items()}
    return placed, [f"shared out among {accelerator.num_processes} processes: {count_blocks(found)}"]


class Sharded(Placement):
    """Networks of which each process has some rows: `networks`, which are on the CPU, are changed in place, and go to
    the `device` block by block, with the weights that they have on the main process.

    Raises:
        UserError: one cannot be shared out.
    """

    by_rows = True

    def __init__(self, networks: Mapping[str, nn.Module], device: torch.device):
        from torch.distributed.device_mesh import init_device_mesh  # 0.4 s

        super().__init__()
        self.device = device
        mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
        self.parts: dict[int, list[FSDPModule]] = {}
        self.whole_ones: dict[int, Tensor] = {}
        self.kept: list[FSDPModule] = []
        for name, network in networks.items():
            check_shareable(name, network)
            bring(network.buffers(), device)
            found = list["FSDPModule"]()
            for part in (*find_blocks(network).values(), network):
                found.append(share_out(part, mesh, device, is_block=part is not network))
                part.register_forward_hook(partial(self.keep_for_second_derivatives, found[-1]))
            self.parts[id(network)] = found
            self.whole_ones |= whole_parameters(network, found)

    def settings(self, optimizer: str) -> dict[str, object]:
        return {"fused": False} if optimizer == "sgd" else {}  # torch's fused kind does not know rows of parameters

    def begin(self, parameters: Mapping[str, Sequence[Tensor]], optimizers: Mapping[str, Optimizer]) -> None:
        super().begin(parameters, optimizers)
        for name, optimizer in optimizers.items():
            check_by_rows(optimizer, name)

    def wrapped(self, networks: Mapping[str, nn.Module], accelerator: Accelerator) -> dict[str, nn.Module]:
        """Return `networks`, which share out by themselves; what is left to accelerate is the precision."""
        for network in networks.values():
            accelerator.prepare_model(network, device_placement=False, evaluation_mode=True)
        return dict(networks)

    def leaves(self, network: str) -> Sequence[Tensor]:
        return [self.whole_ones[id(one)] for one in self.parameters[network]]

    def gradients(self, network: str) -> list[Tensor]:
        return [rows_of(gradient) for gradient in super().gradients(network)]

    def norm(self, network: str) -> Tensor:
        """Return the norm of the gradients of `network` on all processes together, whose squares add up."""
        total = super().norm(network).to(self.device).double().square()
        distributed.all_reduce(total)
        return total.sqrt().to(torch.get_default_dtype())

    def updated(self, network: str) -> None:
        super().updated(network)
        while self.kept:
            part = self.kept.pop()
            part.set_reshard_after_backward(True, recurse=False)
            part.reshard()

    def keep_for_second_derivatives(self, part: "FSDPModule", _: nn.Module, given: object, made: object) -> None:
        """Keep the weights of `part` together until the optimizer's step where a gradient is to be differentiated
        itself, for a penalty on it: torch asks for them without notice then.
        """

        def keep(_gradient: Tensor) -> None:
            if torch.is_grad_enabled() and part not in self.kept:
                self.kept.append(part)
                part.set_reshard_after_backward(False, recurse=False)

        for tensor in tensors_in(made):
            if tensor.requires_grad:
                tensor.register_hook(keep)

    @contextmanager
    def whole_networks(self, networks: Iterable[nn.Module]) -> Generator[None]:
        found = [(part, part is not network) for network in networks for part in self.parts[id(network)]]
        for part, _ in found:
            part.set_reshard_after_forward(False, recurse=False)
            part.set_reshard_after_backward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part, is_block in found:
                part.set_reshard_after_forward(is_block, recurse=False)
                part.set_reshard_after_backward(True, recurse=False)
                part.reshard()


def check_shareable(name: str, network: nn.Module) -> None:
    """Check that the parameters of the network of that `name` have rows that can be shared out.

    Raises:
        UserError: one has none, or they are of several types.
    """
    parameters = dict(network.named_parameters())
    if single := [key for key, one in parameters.items() if not one.ndim]:
        raise UserError(
            f"--shard: {name}.{single[0]} is a single number, of which no process can have a part",
            "make it a tensor of one number, nn.Parameter(torch.zeros(1)), or leave --shard out",
        )
    if len(types := {str(one.dtype).removeprefix("torch.") for one in parameters.values()}) > 1:
        said = f"--shard: {name!r} has parameters of several types ({', '.join(sorted(types))})"
        raise UserError(said, "give all of them one type, or leave --shard out")


def share_out(part: nn.Module, mesh: "DeviceMesh", device: torch.device, *, is_block: bool) -> "FSDPModule":
    """Leave this process its rows of the parameters of `part`, those of blocks in it aside, on `device` and as they are
    on the main process. Return `part`, as torch makes it share out.
    """
    from torch.distributed.fsdp import fully_shard

    bring((one for one in part.parameters() if not is_shared_out(one)), device)
    return fully_shard(part, mesh=mesh, reshard_after_forward=is_block)


def bring(tensors: Iterable[Tensor], device: torch.device) -> None:
    """Bring `tensors` to `device` as they are on the main process."""
    for tensor in tensors:
        tensor.data = tensor.data.to(device).contiguous()
        broadcast(tensor)


def whole_parameters(network: nn.Module, parts: Iterable["FSDPModule"]) -> dict[int, Tensor]:
    """Return the whole parameters of `network`, which are without memory until they are brought together, by the ids
    of those that are shared out.
    """
    shared, found = dict(network.named_parameters()), dict[int, Tensor]()
    for part in parts:
        part.unshard()
        found |= {id(shared[name]): one for name, one in network.named_parameters() if one is not shared[name]}
        part.reshard()
    return found


def tensors_in(made: object) -> Generator[Tensor]:
    """Yield the tensors in what a module has `made`."""
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Mapping):
        yield from tensors_in(list(made.values()))
    elif isinstance(made, list | tuple):
        for one in made:
            yield from tensors_in(one)


def check_by_rows(optimizer: Optimizer, name: str) -> None:
    """Check that the optimizer of network `name` can work on rows.

    Raises:
        UserError: it cannot, or keeps something that is neither a number nor has the rows of the parameter.
    """
    hint = "choose one that changes each number by itself, such as Adam or SGD, or leave --shard out"
    said = f"--shard: {type(optimizer).__name__} of {name!r}"
    # Some keep other things of a matrix than of a vector.
    of_each_kind = [
        (group, one) for group in optimizer.param_groups for one in {p.ndim: p for p in group["params"]}.values()
    ]
    for group, parameter in of_each_kind:
        twin = twin_of(optimizer, group, parameter, 1)
        try:
            type(optimizer).step(twin)
        except Exception as error:
            raise UserError(f"{said} cannot work on rows: {error}", hint) from error
        for key, value in twin.state_dict()["state"].get(0, {}).items():
            if is_shared_out(value) and value.placements != parameter.placements:
                raise UserError(f"{said} keeps {key!r}, which has other rows than the parameter", hint)
