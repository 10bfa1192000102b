"""The training loop: takes the steps that a task yields, and stops now and then to evaluate, to show and to save.
Of the project's modules the only one, with train.py, that knows accelerate."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from launchbay import UserError
from launchbay.data.loader import TrainingOrder, training_samples
from launchbay.data.randomness import Index, key
from launchbay.launch import checkpoint
from launchbay.launch.config import Config, Shared
from launchbay.launch.evaluation import evaluate, to_batch
from launchbay.launch.pictures import grid
from launchbay.launch.schedule import factor
from launchbay.launch.tracking import Observer
from launchbay.tasks.base import Batch, Losses, Task

SHOWN = 6
"""Validation samples in a sample grid."""


@dataclass
class State:
    """What a run knows about itself, beside its weights; also the content of state.json and summary.json."""

    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)


class Engine:
    """One run of `task`. `observers` is empty on all processes but the main one.

    Raises:
        UserError: the task or its data cannot be trained as asked.
    """

    def __init__(
        self,
        task: Task[Any],
        config: Config[Any],
        accelerator: Accelerator,
        folder: Path,
        load: Callable[..., Any],
        observe: Callable[[int], list[Observer]],
    ):
        self.task, self.config, self.shared, self.accelerator, self.folder = task, config, config.shared, accelerator, folder
        self.training_set, self.validation_set = task.datasets(load)
        self.steps = self.shared.steps or ceil((self.shared.epochs or 1) * len(self.training_set) / self.shared.batch_size)
        self.eval_every = self.shared.eval_every or max(1, self.steps // 10)
        self.save_every = self.shared.save_every or self.eval_every
        self.state, self.seconds, self.samples_per_s = State(), 0.0, 0.0

        task.to(accelerator.device, memory_format=torch.channels_last)
        self.networks = task.networks()
        plain = task.optimizers(lambda parameters, **options: create_optimizer(self.shared, parameters, options))
        check(task, self.networks, plain, self.shared)
        self.base_lrs = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in plain.items()}
        self.parameters = {name: [p for g in optimizer.param_groups for p in g["params"]] for name, optimizer in plain.items()}
        self.plain_optimizers = dict(plain)
        self.optimizers = {name: accelerator.prepare(optimizer) for name, optimizer in plain.items()}
        if self.shared.compile:
            for network in self.networks.values():
                network.compile()
        # One wrapper per network: a wrapper around the task itself goes wrong silently with several losses.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # its successor is not in torch 2.11
        self.wrapped = {name: accelerator.prepare(network) for name, network in self.networks.items()}
        self.observers = observe(self.steps)

    def fit(self) -> dict[str, Any]:
        """Train from the first step to the last. Returns the content of summary.json."""
        status = "failed"
        try:
            self.tell("summary", self.summary("running"))
            self.use(self.wrapped, training=True)
            started, since, samples_since = time.monotonic(), time.monotonic(), 0
            for step, parts in enumerate(self.batches(), start=1):
                self.set_learning_rate(step)
                self.seed_networks(step)
                terms = self.step(parts)
                self.state.step = step
                samples_since += self.shared.batch_size
                self.tell("step", step)
                if step % self.shared.log_every == 0 or step in (1, self.steps):
                    values = self.average(terms)
                    self.samples_per_s = samples_since / (time.monotonic() - since)
                    self.log("train", values | {"lr": self.learning_rate(), "samples_per_s": round(self.samples_per_s, 2)})
                    since, samples_since = time.monotonic(), 0
                if self.due(step, self.eval_every) or self.due(step, self.save_every):
                    pause = time.monotonic()
                    improved = self.due(step, self.eval_every) and self.validate()
                    if improved or self.due(step, self.save_every):
                        self.save(improved)
                    since += time.monotonic() - pause
                self.seconds = time.monotonic() - started
            status = "done"
        finally:
            summary = self.summary(status)
            self.tell("summary", summary)
            self.tell("close")
        return summary

    def due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.steps

    def batches(self) -> Iterator[list[Batch]]:
        """The batch of each step, as the parts that are computed one after the other."""
        accelerator, shared = self.accelerator, self.shared
        order = TrainingOrder(
            len(self.training_set), shared.batch_size, shared.accumulate,
            accelerator.process_index, accelerator.num_processes, shared.seed, 0, self.steps,
        )  # fmt: skip
        samples = training_samples(self.training_set, order, shared.workers, accelerator.device)
        for _ in range(self.steps):
            yield [to_batch(next(samples), accelerator.device) for _ in range(shared.accumulate)]

    def step(self, parts: list[Batch]) -> dict[str, Tensor]:
        """Minimise each loss that the task yields, in turn. Returns each term, averaged over the parts of the batch."""
        logs: dict[str, Tensor] = {}
        for part in parts:
            losses = self.task.training_step(part)
            with closing(losses), self.accelerator.accumulate(*self.wrapped.values()):
                for name, terms in losses:
                    try:
                        logs[f"{name}/grad_norm"] = self.minimise(name, terms)
                    except Exception as error:
                        error.add_note(f"minimising {name!r}, yielded at {yield_line(self.task, losses)}")
                        raise
                    for term, value in terms.items():
                        before = logs.get(f"{name}/{term}", 0)
                        logs[f"{name}/{term}"] = before + value.detach() / len(parts)
        return logs

    def minimise(self, name: str, terms: Mapping[str, Tensor]) -> Tensor:
        """One backward pass and, with the last part of a batch, one optimizer step. Returns the norm of the gradients."""
        if not torch.is_grad_enabled():
            raise UserError("the task yielded inside torch.no_grad()", "leave that block before the yield")
        if name not in self.optimizers:
            raise UserError(f"the task yielded a loss for {name!r}, but its networks are {', '.join(self.optimizers)}")
        loss = torch.stack(tuple(terms.values())).sum()
        if not loss.requires_grad:
            raise UserError(f"this loss depends on no parameter of {name!r}", "is there a detach() or no_grad() too many?")
        self.check_finite(name, terms, loss)
        parameters, optimizer = self.parameters[name], self.optimizers[name]
        # A loss moves only the network it names: the generator's leaves no gradient in the discriminator.
        self.accelerator.backward(loss, inputs=parameters if len(self.optimizers) > 1 else None)
        if all(parameter.grad is None for parameter in parameters):
            raise UserError(f"this loss depends on no parameter of {name!r}", "yield it under the network's name that it trains")
        norm = torch.zeros((), device=loss.device)
        if self.accelerator.sync_gradients:
            limit = self.shared.clip_norm or float("inf")
            norm = self.accelerator.clip_grad_norm_(parameters, limit)
        optimizer.step()
        optimizer.zero_grad()
        assert norm is not None
        return norm

    def check_finite(self, name: str, terms: Mapping[str, Tensor], loss: Tensor) -> None:
        """Stop on all processes before a loss that is no number reaches the weights."""
        finite = torch.isfinite(loss.detach())
        if self.accelerator.num_processes > 1:
            finite = self.accelerator.reduce(finite.float(), "sum") == self.accelerator.num_processes  # pyright: ignore
        if not finite:
            values = ", ".join(f"{term} = {value.item():g}" for term, value in terms.items())
            raise UserError(
                f"the loss of {name!r} is not finite at step {self.state.step + 1}: {values}",
                "lower --lr or --clip-norm, or look for bad values in the data; the weights of the last checkpoint are good",
            )

    def validate(self) -> bool:
        """Evaluate, record, draw samples. Returns whether this is the best so far."""
        batch_size = max(1, self.shared.batch_size // (self.shared.accumulate * self.accelerator.num_processes))
        with self.bare():
            figures = evaluate(
                self.task, self.validation_set, self.accelerator, batch_size, self.shared.seed, self.shared.workers
            )
            if self.observers and (columns := self.preview()):
                self.tell("samples", self.state.step, grid(columns))
        self.log("val", figures)
        baseline = {name.removeprefix("baseline/"): v for name, v in figures.items() if name.startswith("baseline/")}
        self.state.baseline = baseline
        self.state.final = {name: value for name, value in figures.items() if not name.startswith("baseline/")}
        improved = self.is_best(self.state.final)
        if improved:
            self.state.best = {"step": self.state.step, **self.state.final}
        self.tell("summary", self.summary("running"))
        return improved

    def is_best(self, figures: Mapping[str, float]) -> bool:
        monitor = self.task.monitor
        name, sign = monitor.removeprefix("-"), -1 if monitor.startswith("-") else 1
        if name not in figures:
            if name and figures:
                raise UserError(
                    f"{type(self.task).__name__}.monitor is {monitor!r}, but evaluate gives {', '.join(figures)}"
                )
            return True  # nothing to compare: the newest is the best
        better = not self.state.best or sign * figures[name] > sign * self.state.best[name]
        return broadcast_object_list([better])[0]

    @torch.no_grad()
    def preview(self) -> dict[str, list[Tensor]]:
        """Some validation samples, evenly spread, one by one since their sizes may differ."""
        count = min(SHOWN, len(self.validation_set))
        columns: dict[str, list[Tensor]] = {}
        for number in range(count):
            index = number * len(self.validation_set) // count
            keyed = Index(index, key(self.shared.seed, "val", index))
            batch = to_batch((self.validation_set.__getitems__([keyed]), [keyed.key]), self.accelerator.device)
            for heading, pictures in self.task.preview(batch).items():
                columns.setdefault(heading, []).extend(pictures.cpu())
        return columns

    def save(self, best: bool) -> None:
        """Write a checkpoint on the main process. If it fails it fails everywhere."""
        state = {
            "task": self.config.task,
            "samples": self.state.step * self.shared.batch_size,
            "best": self.state.best,
            "world_size": self.accelerator.num_processes,
        }
        outcome: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                checkpoint.save(
                    self.folder / "checkpoints", self.state.step, self.networks, self.plain_optimizers, state,
                    best=best, keep=self.shared.keep,
                )  # fmt: skip
            except OSError as error:
                outcome = [f"cannot save the checkpoint of step {self.state.step}: {error}"]
        if message := broadcast_object_list(outcome)[0]:
            raise UserError(message, "make room or mend the folder; earlier checkpoints are whole")

    def summary(self, status: str) -> dict[str, Any]:
        state, shared = self.state, self.shared
        return {
            "task": self.config.task,
            "data": shared.val_data or shared.data,
            "status": status,
            "step": state.step,
            "steps": self.steps,
            "epoch": self.epoch(),
            "best": state.best,
            "final": state.final,
            "baseline": state.baseline,
            "baseline_name": self.task.baseline_name,
            "samples_per_s": round(self.samples_per_s, 2),
            "seconds": round(self.seconds, 2),
            "world_size": self.accelerator.num_processes,
            "device": str(self.accelerator.device),
        }

    def epoch(self) -> float:
        """Passes through the data so far."""
        return round(self.state.step * self.shared.batch_size / len(self.training_set), 4)

    def log(self, split: str, figures: Mapping[str, Any]) -> None:
        self.tell("line", {"step": self.state.step, "epoch": self.epoch(), "split": split, **figures})

    def average(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each term over the processes."""
        stacked = torch.stack([value.detach().double() for value in terms.values()])
        return dict(zip(terms, self.accelerator.reduce(stacked, "mean").tolist(), strict=True))  # pyright: ignore

    def tell(self, event: str, *arguments: Any) -> None:
        for observer in self.observers:
            getattr(observer, event)(*arguments)

    def use(self, networks: Mapping[str, torch.nn.Module], *, training: bool) -> None:
        for name, network in networks.items():
            setattr(self.task, name, network)
        self.task.train(training)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """The task with its networks as they are, without the wrappers, whose forward talks to other processes."""
        self.use(self.networks, training=False)
        try:
            yield
        finally:
            self.use(self.wrapped, training=True)

    def set_learning_rate(self, step: int) -> None:
        scale = factor(step, self.steps, self.shared.schedule, self.shared.warmup)
        for name, optimizer in self.plain_optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_lrs[name], strict=True):
                group["lr"] = base * scale

    def learning_rate(self) -> float:
        return next(iter(self.plain_optimizers.values())).param_groups[0]["lr"]

    def seed_networks(self, step: int) -> None:
        """Dropout and the like draw from the device's own generator: exact where a run goes on, another on each process."""
        seed = key(self.shared.seed, "networks", step, self.accelerator.process_index)
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def create_optimizer(shared: Shared, parameters: Iterable[Any], options: Mapping[str, Any]) -> Optimizer:
    settings: dict[str, Any] = {"lr": shared.lr, "weight_decay": shared.weight_decay, **options}
    match shared.optimizer:
        case "adam":
            return Adam(parameters, **settings)
        case "adamw":
            return AdamW(parameters, **settings)
        case "sgd":
            return SGD(parameters, **{"momentum": 0.9, **settings})


def check(task: Task[Any], networks: Mapping[str, Any], optimizers: Mapping[str, Optimizer], shared: Shared) -> None:
    """What can be known to be wrong before the first step."""
    name = type(task).__name__
    if not networks:
        raise UserError(f"{name} has no network", "set one as an attribute in __init__: self.model = ...")
    if set(optimizers) != set(networks):
        raise UserError(
            f"{name}.optimizers gives {', '.join(optimizers) or 'none'} for the networks {', '.join(networks)}",
            "give one optimizer per network, under the network's name",
        )
    if not inspect.isgeneratorfunction(type(task).training_step):
        raise UserError(f"{name}.training_step has to yield its losses, not return them", "yield 'model', {'l1': loss}")
    if shared.accumulate > 1 and len(optimizers) > 1:
        raise UserError(
            f"--accumulate {shared.accumulate} with {len(optimizers)} networks that learn in turn ({', '.join(optimizers)}): "
            "with parts of a batch they would no longer take turns",
            "use a smaller --batch-size, or more processes",
        )


def yield_line(task: Task[Any], losses: Losses) -> str:
    code = type(task).training_step.__code__
    return f"{code.co_filename}:{losses.gi_frame.f_lineno} in {type(task).__name__}.training_step"
