"""Batch normalisation over all processes (--sync-batchnorm): statistics of the whole batch, on CPUs and GPUs alike."""

import torch
from torch import Tensor, distributed, nn

from launchbay.launch.distributed.collectives import sum_with_gradients


def synchronize_batchnorm(network: nn.Module) -> None:
    """Make each BatchNorm of `network` one over all processes. It stays the same module, with the same weights.

    torch's own SyncBatchNorm works on GPUs only.
    """
    for module in network.modules():
        if type(module) in SYNCHRONISED:
            module.__class__ = SYNCHRONISED[type(module)]


class Synchronised(nn.modules.batchnorm._BatchNorm):
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


SYNCHRONISED: dict[type, type] = {nn.BatchNorm1d: Synchronised1d, nn.BatchNorm2d: Synchronised2d}
