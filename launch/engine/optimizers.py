"""Optimizers as the options ask for, the schedule of their learning rates, and averages of the weights."""

from collections.abc import Iterable, Mapping
from math import cos, pi
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import ParamsT
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from launchbay import UserError
from launchbay.launch.config.options import OptimizationOptions


def create(options: OptimizationOptions, parameters: ParamsT, own: Mapping[str, object]) -> Optimizer:
    """Return `--optimizer` with `--lr` and `--weight-decay`; what a task sets as its `own` wins.

    It is torch's fused kind, which goes over the weights once: on CPUs three to five times as fast as the others.
    """
    settings: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay, "fused": True, **own}
    if options.optimizer == "sgd":
        if "betas" in settings:
            raise UserError("this task sets the betas of Adam, which sgd does not have", "--optimizer adam or adamw")
        settings = {"momentum": 0.9, **settings}
    kind = {"adam": Adam, "adamw": AdamW, "sgd": SGD}[options.optimizer]
    return without_dynamo(kind)(parameters, **settings)


def without_dynamo(kind: type[Optimizer]) -> type[Optimizer]:
    """Return `kind` without what torch wraps around it for compiling optimizers, which is not done here: the first call
    of a wrapper imports torch._dynamo, as long as importing torch itself takes.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)
    step = getattr(kind.step, "__wrapped__", None)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(step)} if step is not None else {})


def average(network: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of the weights of `network`, and of its buffers, which belong to them."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


class LearningRates:
    """Each parameter group's own learning rate, as it was created, times one factor that depends on the step alone."""

    def __init__(self, optimizers: Iterable[Optimizer], options: OptimizationOptions, steps: int):
        # The groups are looked up anew each time: loading a state, which accelerate does too, replaces them.
        self.optimizers = list(optimizers)
        self.bases = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.options, self.steps = options, steps

    def set(self, step: int) -> None:
        scale = factor(step, self.steps, self.options.schedule, self.options.warmup)
        for optimizer, bases in zip(self.optimizers, self.bases, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = base * scale

    def first(self) -> float:
        """Return the learning rate that is logged."""
        return self.optimizers[0].param_groups[0]["lr"]


def factor(step: int, steps: int, schedule: str, warmup: int) -> float:
    """Return what the base learning rate is multiplied with for optimizer step `step` (1..`steps`).

    Linear warm-up over `warmup` steps, then "constant", "cosine" or "linear", the latter two ending near 0.
    """
    if step <= warmup:
        return step / warmup
    progress = (step - 1 - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return 0.5 * (1 + cos(pi * progress))
    raise ValueError(schedule)
