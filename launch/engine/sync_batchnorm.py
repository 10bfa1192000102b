"""Batch normalisation over all processes (--sync-batchnorm): statistics of the whole batch, on CPUs and GPUs alike."""

from functools import cache
from typing import cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay import UserError
from launchbay.launch.distributed.collectives import sum_with_gradients


def synchronize_batchnorm(name: str, network: nn.Module) -> None:
    """Make each BatchNorm of `network`, the one of that `name`, one over all processes. It stays the same module, with
    the same weights.

    torch's own SyncBatchNorm works on GPUs only.

    Raises:
        UserError: one is of a class that may do more than torch's, and would not be synchronised.
    """
    for place, module in network.named_modules(prefix=name):
        if not isinstance(module, _BatchNorm) or isinstance(module, Synchronised | nn.SyncBatchNorm):
            continue
        own = SYNCHRONISED.get(type(module)) or of_timm().get(type(module))
        if own is None:
            raise UserError(
                f"--sync-batchnorm: {place} is a {type(module).__name__}, which nobody here knows how to synchronise",
                "use nn.BatchNorm1d, 2d or 3d there, or leave --sync-batchnorm out",
            )
        module.__class__ = own


class Synchronised(_BatchNorm):
    """Statistics over all processes in training; what BatchNorm does otherwise."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self.normalise(input if input.dtype == torch.float64 else input.float()).to(input.dtype)

    def normalise(self, input: Tensor) -> Tensor:
        over = [dimension for dimension in range(input.ndim) if dimension != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = input.numel() // input.shape[1] * distributed.get_world_size()  # all have as many samples
        mean = sum_with_gradients(input.sum(over)) / count
        centred = input - mean.view(shape)
        variance = sum_with_gradients(centred.square().sum(over)) / count
        self.remember(mean.detach(), variance.detach() * count / max(1, count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        return torch.addcmul(self.bias.view(shape), normal, self.weight.view(shape)) if self.affine else normal

    @torch.no_grad()
    def remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        part = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), part)
        self.running_var.lerp_(variance.to(self.running_var.dtype), part)


class Synchronised1d(Synchronised, nn.BatchNorm1d):
    pass


class Synchronised2d(Synchronised, nn.BatchNorm2d):
    pass


class Synchronised3d(Synchronised, nn.BatchNorm3d):
    pass


SYNCHRONISED: dict[type, type] = {
    nn.BatchNorm1d: Synchronised1d,
    nn.BatchNorm2d: Synchronised2d,
    nn.BatchNorm3d: Synchronised3d,
}


@cache
def of_timm() -> dict[type, type]:
    """Return the same of timm's layer, which goes on with Dropout and an activation."""
    from timm.layers.norm_act import BatchNormAct2d  # a second, if the network is not timm's

    class SynchronisedAct2d(Synchronised, BatchNormAct2d):
        def forward(self, input: Tensor) -> Tensor:
            normal, activate = super().forward(input), cast(nn.Module, self.act)
            return (
                activate(cast(nn.Module, self.drop)(normal)) if self.training else normal
            )  # where timm's own has both

    return {BatchNormAct2d: SynchronisedAct2d}
