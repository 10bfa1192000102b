"""Arithmetic in float64. A module of its own, since models, data, tasks and the engine all count in it."""

import torch
from torch import Tensor


def exact(tensor: Tensor) -> Tensor:
    """Return `tensor` in float64: on its device, or on the CPU where the device has no float64."""
    return tensor.to(exact_device(tensor.device)).double()


def exact_device(device: torch.device) -> torch.device:
    """Return where float64 of tensors on `device` is computed. Apple's GPUs (mps) have none."""
    return torch.device("cpu") if device.type == "mps" else device
