"""Where networks are: whole on each process, in a wrapper that shares gradients. What else may be: sharding.py."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from accelerate import Accelerator
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class Placement:
    """Networks that each process has whole."""

    by_rows = False

    def __init__(self) -> None:
        self.parameters: Mapping[str, Sequence[Tensor]] = {}

    def settings(self, optimizer: str) -> dict[str, object]:
        """Return what the `optimizer` of that name has to be told."""
        return {}

    def begin(self, parameters: Mapping[str, Sequence[Tensor]], optimizers: Mapping[str, Optimizer]) -> None:
        """Take note of the `parameters` that are trained, by network."""
        self.parameters = parameters

    def wrapped(self, networks: Mapping[str, nn.Module], accelerator: Accelerator) -> dict[str, nn.Module]:
        """Return `networks` as they are trained: one wrapper each, as one around the task itself goes wrong silently
        with several losses.
        """
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # its successor is too new
        # Said of tensors with sides of 1 too, whose strides there mean nothing.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return {name: accelerator.prepare(network) for name, network in networks.items()}

    def leaves(self, network: str) -> Sequence[Tensor]:
        """Return the tensors that gradients are computed for."""
        return self.parameters[network]

    def gradients(self, network: str) -> list[Tensor]:
        """Return the gradients that this process has."""
        return [one.grad for one in self.parameters[network] if one.grad is not None]

    def norm(self, network: str) -> Tensor:
        """Return the norm of the gradients of `network`."""
        return get_total_norm(self.gradients(network))

    def updated(self, network: str) -> None:
        """Note that the optimizer of `network` has changed its parameters. Fused ones do not note it: a loss computed
        before would go unnoticed, with wrong gradients.
        """
        increment_version(self.leaves(network))

    def whole_networks(self, networks: Iterable[nn.Module]) -> AbstractContextManager[None]:
        """Within it each process has all weights of `networks`, and their forward waits for no other process."""
        return nullcontext()
