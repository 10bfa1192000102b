"""Optimizers as the options ask for, the schedule of their learning rates, and averages of the weights."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from itertools import chain
from math import cos, pi
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import ParamsT
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

from launchbay import UserError
from launchbay.launch.config.options import OptimizationOptions
from launchbay.models.tensors import rows_of
from launchbay.tasks.base import AnyTask, Task
from launchbay.yaml12 import Loader

PLAIN: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
"""Optimizers of PyTorch, by what `--optimizer` calls them."""


def create(options: OptimizationOptions, parameters: ParamsT, own: Mapping[str, object]) -> Optimizer:
    """Return `--optimizer` with `--lr` and `--weight-decay`; what a task sets as its `own` wins, and what
    `--optimizer-options` set wins over that.

    A group's "lr_scale" multiplies its learning rate. It is torch's fused kind, which goes over the weights once: on
    CPUs three to five times as fast as the others.
    """
    given = settings_of(options.optimizer_options)
    settings: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay, **own, **given}
    if options.optimizer == "sgd":
        settings = {"momentum": 0.9, **settings}
    if options.optimizer in PLAIN:
        kind, settings = without_dynamo(PLAIN[options.optimizer]), {"fused": True, **settings}
    else:
        kind = kind_of_timm(options.optimizer)
    try:
        optimizer = kind(parameters, **settings)
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError) as error:
        with_given = f" with {' '.join(options.optimizer_options)}" if given else ""
        set_by_task = f", as this task sets {' and '.join(own)}" if own else ""
        raise UserError(
            f"--optimizer {options.optimizer} cannot be built{with_given}{set_by_task}: {str(error).splitlines()[0]}",
            "--optimizer adam, adamw and sgd are PyTorch's; other names are timm's",
        ) from error
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    return optimizer


def settings_of(given: Sequence[str]) -> dict[str, object]:
    """Return settings by name from lines such as "momentum=0.8", values in YAML.

    Raises:
        UserError: a line is none, or sets what has an option of its own.
    """
    settings: dict[str, object] = {}
    for line in given:
        name, equals, value = line.partition("=")
        if not equals or not name.isidentifier() or name in settings:
            said = f"--optimizer-options {line}: {'set twice' if equals and name in settings else 'not NAME=VALUE'}"
            raise UserError(said, "such as --optimizer-options momentum=0.8 nesterov=true")
        if name in ("lr", "weight_decay"):
            option = "--" + name.replace("_", "-")
            raise UserError(f"--optimizer-options {line}: that is {option}", f"write {option} {value}")
        try:
            settings[name] = (loader := Loader(value, name)).value_of(loader.get_single_node())
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise UserError(f"--optimizer-options {line}: no value of YAML", 'such as "betas=[0.9, 0.99]"') from error
    return settings


def kind_of_timm(name: str) -> Callable[..., Optimizer]:
    """Return the class of timm's optimizer `name`, with what timm sets for it.

    Raises:
        UserError: timm has none of that name.
    """
    from timm.optim import get_optimizer_class, list_optimizers  # pyright: ignore[reportPrivateImportUsage]

    try:
        return get_optimizer_class(name, bind_defaults=True)
    except ValueError as error:
        known = [*PLAIN, *map(str, list_optimizers())]
        near = " or ".join(get_close_matches(name, known, cutoff=0.5))
        raise UserError(
            f"there is no optimizer {name!r}, neither adam, adamw, sgd nor one of timm",
            f"did you mean {near}?" if near else "python -c 'import timm; print(timm.optim.list_optimizers())'",
        ) from error


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
    """Return an exponential moving average of the weights of `network`, and of its buffers, which belong to them.
    Buffers of integers and truth values, such as counters, are taken over: rounded, they would stay what they were; so
    are infinite values, as masks of attention have them: there is no number between two of these.
    """
    move = get_ema_multi_avg_fn(decay)
    floating = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    is_finite = all(buffer.isfinite().all() for buffer in floating)

    def follow(averages: PARAM_LIST, values: PARAM_LIST, steps: Tensor | int) -> None:
        averages, values = [rows_of(one) for one in averages], [rows_of(one) for one in values]
        if not averages[0].is_floating_point():  # all of them have one type
            for mine, value in zip(averages, values, strict=True):
                mine.copy_(value)
            return
        move(averages, values, steps)
        if not is_finite:
            for mine, value in zip(averages, values, strict=True):
                mine.copy_(torch.where(mine.isnan(), value, mine))

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)


def update_average(averaged: AveragedModel, network: nn.Module) -> None:
    """Move `averaged` towards `network`. What PyTorch calls extra state is taken over too."""
    if averaged.n_averaged == 0:
        averaged.update_parameters(network)  # takes them over
    else:
        move_average(averaged, network)
    for mine, theirs in zip(averaged.module.modules(), network.modules(), strict=True):
        if type(theirs).get_extra_state is not nn.Module.get_extra_state:
            mine.set_extra_state(deepcopy(theirs.get_extra_state()))


@torch.no_grad()
def move_average(averaged: AveragedModel, network: nn.Module) -> None:
    """Do what `update_parameters` does but for copying its count to a GPU, which lets the host wait there in each step.
    The average here does not depend on that.
    """
    assert averaged.multi_avg_fn is not None
    kinds: defaultdict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]]
    kinds = defaultdict(lambda: ([], []))
    values, own = (chain(module.parameters(), module.buffers()) for module in (network, averaged.module))
    for mine, theirs in zip(own, values, strict=True):
        for tensors, tensor in zip(kinds[mine.device, mine.dtype], (mine, theirs), strict=True):
            tensors.append(tensor.detach())
    for averages, values_now in kinds.values():
        averaged.multi_avg_fn(averages, values_now, 0)
    averaged.n_averaged += 1


class LearningRates:
    """Each parameter group's own learning rate, as it was created, times a factor that depends on the step alone: what
    `task.learning_rate` makes of --schedule and --warmup.
    """

    def __init__(self, task: AnyTask, optimizers: Mapping[str, Optimizer], options: OptimizationOptions, steps: int):
        # The groups are looked up anew each time: loading a state, which accelerate does too, replaces them.
        self.task, self.optimizers, self.options, self.steps = task, dict(optimizers), options, steps
        self.bases = {name: [group["lr"] for group in own.param_groups] for name, own in optimizers.items()}

    def set(self, step: int) -> None:
        """Set the rates for `step`, from 1."""
        scheduled = factor(step, self.steps, self.options.schedule, self.options.warmup)
        for name, optimizer in self.optimizers.items():
            scale = self.task.learning_rate(name, (step - 1) / self.steps, scheduled)
            for group, base in zip(optimizer.param_groups, self.bases[name], strict=True):
                group["lr"] = base * scale

    def logged(self) -> dict[str, float]:
        """Return the largest rate of the network, "lr"; of several, that of each, "NAME/lr"."""
        rates = {name: max(group["lr"] for group in own.param_groups) for name, own in self.optimizers.items()}
        if len(rates) > 1:
            return {f"{name}/lr": rate for name, rate in rates.items()}
        return {"lr": next(iter(rates.values()))}


def has_own_course(task: AnyTask) -> bool:
    """Return whether `task` decides itself on the course of its learning rates."""
    return type(task).learning_rate is not Task.learning_rate


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
