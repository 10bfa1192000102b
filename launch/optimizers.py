"""The optimizers that the shared options ask for, the course of their learning rates, and averages of the weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from launchbay import UserError
from launchbay.launch.config import Shared
from launchbay.launch.schedule import factor


def create(shared: Shared, parameters: Iterable[Any], options: Mapping[str, Any]) -> Optimizer:
    """`--optimizer` with `--lr` and `--weight-decay`, as torch's fused kind, which goes over the weights once (on CPUs
    three to five times as fast as the others); a task's own `options` win.
    """
    settings: dict[str, Any] = {"lr": shared.lr, "weight_decay": shared.weight_decay, "fused": True, **options}
    if shared.optimizer == "sgd":
        if "betas" in settings:
            raise UserError("this task sets the betas of Adam, which sgd does not have", "--optimizer adam or adamw")
        settings = {"momentum": 0.9, **settings}
    kind = {"adam": Adam, "adamw": AdamW, "sgd": SGD}[shared.optimizer]
    return without_dynamo(kind)(parameters, **settings)


def without_dynamo(kind: type[Optimizer]) -> type[Optimizer]:
    """`kind` without what torch wraps around it for compiling optimizers, which is not done here: the first call of a
    wrapper imports torch._dynamo, as long as importing torch itself takes.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)
    step = getattr(kind.step, "__wrapped__", None)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(step)} if step is not None else {})


def average(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights of `network`, and of its buffers, which belong to them."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


class LearningRates:
    """Each parameter group's own learning rate, as it was created, times one factor that depends on the step alone."""

    def __init__(self, optimizers: Iterable[Optimizer], shared: Shared, steps: int):
        # The groups are looked up anew each time: loading a state, which accelerate does too, replaces them.
        self.optimizers = list(optimizers)
        self.bases = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.shared, self.steps = shared, steps

    def set(self, step: int) -> None:
        scale = factor(step, self.steps, self.shared.schedule, self.shared.warmup)
        for optimizer, bases in zip(self.optimizers, self.bases, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = base * scale

    def first(self) -> float:
        """The one that is logged."""
        return self.optimizers[0].param_groups[0]["lr"]
