"""The training loop: takes the steps that a task yields, and stops now and then to evaluate, to show and to save."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from launchbay import UserError
from launchbay.data import ImageSet, Load, key
from launchbay.data.loader import TrainingOrder, samples
from launchbay.launch import checkpoint, guards, optimizers
from launchbay.launch.config import Config
from launchbay.launch.evaluation import BASELINE, evaluate, is_best, preview, to_batch
from launchbay.launch.hardware import decide, place
from launchbay.launch.pictures import grid, to_image
from launchbay.launch.tracking import Observer
from launchbay.tasks.base import Batch, Task


@dataclass
class State:
    """How far a run has come."""

    step: int = 0
    epoch: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    samples_per_s: float = 0.0
    seconds: float = 0.0


class Engine:
    """One run of `task` with the data sets that `load` opens.

    Raises:
        UserError: the task or its data cannot be trained as asked.
    """

    def __init__(self, task: Task[Any], config: Config[Any], accelerator: Accelerator, load: Load):
        self.task, self.config, self.shared, self.accelerator = task, config, config.shared, accelerator
        self.data = "data of its own"
        self.training_set, self.validation_set = task.datasets(self.notice(load))
        self.steps = self.shared.steps or ceil(
            (self.shared.epochs or 1) * len(self.training_set) / self.shared.batch_size
        )
        self.eval_every = self.shared.eval_every or ceil(self.steps / 10)
        self.save_every = self.shared.save_every or self.eval_every
        self.state = State()

        place(task, accelerator.device)
        self.networks = task.networks()
        self.averages = {
            name: optimizers.average(net, self.shared.ema) for name, net in self.networks.items() if self.shared.ema
        }
        self.plain = task.optimizers(lambda parameters, **options: optimizers.create(self.shared, parameters, options))
        guards.check_task(task, self.networks, self.plain, self.shared)
        self.learning_rates = optimizers.LearningRates(self.plain.values(), self.shared, self.steps)
        self.parameters = {name: [p for g in o.param_groups for p in g["params"]] for name, o in self.plain.items()}
        self.optimizers = {name: accelerator.prepare(optimizer) for name, optimizer in self.plain.items()}
        if self.shared.compile:
            for network in self.networks.values():
                network.compile()
        # One wrapper per network: a wrapper around the task itself goes wrong silently with several losses.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # its successor is not in torch 2.11
        self.wrapped = {name: accelerator.prepare(network) for name, network in self.networks.items()}

    def notice(self, load: Load) -> Load:
        """`load`, and a note that the task uses it."""

        def noticed(split: str, **how: Any) -> ImageSet:
            self.data = self.shared.validation_data()
            return load(split, **how)

        return noticed

    def fit(self, folder: Path, observers: Sequence[Observer]) -> None:
        """Train from the first step to the last. `observers` is empty on all processes but the main one."""
        self.folder, self.observers = folder, observers
        status = "failed"
        try:
            self.tell("summary", self.summary("running"))
            self.use(self.wrapped, training=True)
            with closing(self.batches()) as batches:
                self.run(batches)
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self.tell("summary", self.summary(status))
            self.tell("close")

    def run(self, batches: Iterator[list[Batch]]) -> None:
        state, shared = self.state, self.shared
        started = since = time.monotonic()
        counted = 0
        for step, parts in enumerate(batches, start=1):
            self.learning_rates.set(step)
            self.seed_networks(step)
            terms = self.step(parts)
            for name, averaged in self.averages.items():
                averaged.update_parameters(self.networks[name])
            state.step, state.epoch = step, round(step * shared.batch_size / len(self.training_set), 4)
            counted += shared.batch_size
            self.tell("step", step)
            if step % shared.log_every == 0 or step in (1, self.steps):
                values = self.average(terms)  # waits for the device, so that the clock is right
                state.samples_per_s = round(counted / (time.monotonic() - since), 2)
                lr, since, counted = self.learning_rates.first(), time.monotonic(), 0
                self.log("train", {**values, "lr": lr, "samples_per_s": state.samples_per_s})
            pause = time.monotonic()
            improved = self.due(self.eval_every) and self.validate()
            if improved or self.due(self.save_every):
                self.save(improved)
            since += time.monotonic() - pause
            state.seconds = round(time.monotonic() - started, 2)

    def due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.steps

    def batches(self) -> Generator[list[Batch]]:
        """The batch of each step, as the parts that are computed one after the other."""
        shared, device = self.shared, self.accelerator.device
        order = TrainingOrder(
            size=len(self.training_set),
            batch_size=shared.batch_size,
            steps=range(self.steps),
            seed=shared.seed,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            accumulate=shared.accumulate,
        )
        loaded = samples(self.training_set, order, workers=shared.workers, device=device)
        with closing(loaded):  # ends its workers, also where training breaks off
            for _ in order.steps:
                yield [to_batch(next(loaded), device) for _ in range(shared.accumulate)]

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
                        error.add_note(f"minimising {name!r}, yielded at {guards.yield_line(self.task, losses)}")
                        raise
                    for term, value in terms.items():
                        before = logs.get(f"{name}/{term}", 0)
                        logs[f"{name}/{term}"] = before + value.detach() / len(parts)
        return logs

    def minimise(self, name: str, terms: Mapping[str, Tensor]) -> Tensor:
        """One backward pass and, with the last part of a batch, one optimizer step. Returns the gradients' norm."""
        loss = torch.stack(tuple(terms.values())).sum(dim=0)
        guards.check_loss(name, loss, self.networks)
        guards.check_finite(name, terms, loss, self.state.step + 1, self.accelerator)
        parameters, optimizer = self.parameters[name], self.optimizers[name]
        # A loss moves only the network it names: the generator's leaves no gradient in the discriminator.
        self.accelerator.backward(loss, inputs=parameters if len(self.optimizers) > 1 else None)
        guards.check_gradients(name, parameters)
        norm = torch.zeros((), device=loss.device)
        if self.accelerator.sync_gradients:
            norm = self.accelerator.clip_grad_norm_(parameters, self.shared.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        assert norm is not None
        return norm

    def validate(self) -> bool:
        """Evaluate, record, draw samples. Returns whether the network is the best so far."""
        share = max(1, self.shared.batch_size // (self.shared.accumulate * self.accelerator.num_processes))
        with self.evaluating():
            figures, collected = evaluate(self.task, self.validation_set, self.accelerator, share, self.shared)
            if self.observers:
                self.show(collected)
        self.log("val", figures)
        baseline = {name: value for name, value in figures.items() if name.startswith(BASELINE)}
        self.state.baseline = {name.removeprefix(BASELINE): value for name, value in baseline.items()}
        self.state.final = {name: value for name, value in figures.items() if name not in baseline}
        improved = decide(lambda: is_best(self.task, self.state.step, self.state.final, self.state.best))
        if improved:
            self.state.best = {"step": self.state.step, **self.state.final}
        self.tell("summary", self.summary("running"))
        return improved

    def show(self, collected: Mapping[str, Tensor]) -> None:
        columns = preview(self.task, self.validation_set, self.accelerator, self.shared)
        with torch.no_grad():
            pictures = {name: to_image(picture) for name, picture in self.task.gallery(dict(collected)).items()}
        if pictures := ({"samples": grid(columns)} if columns else {}) | pictures:
            self.tell("samples", self.state.step, pictures)

    def save(self, best: bool) -> None:
        """Write a checkpoint on the main process. If that fails, it fails everywhere."""
        samples = self.state.step * self.shared.batch_size
        state = {"samples": samples, "best": self.state.best, "config": self.config.plain()}

        def write() -> None:
            try:
                where = self.folder / "checkpoints"
                averages = {name: averaged.module for name, averaged in self.averages.items()}
                checkpoint.save(
                    where,
                    self.state.step,
                    self.networks,
                    self.plain,
                    state,
                    averages=averages,
                    best=best,
                    keep=self.shared.keep,
                )
            except OSError as error:
                raise UserError(
                    f"cannot save the checkpoint of step {self.state.step}: {error}",
                    "make room; earlier checkpoints are whole",
                ) from error

        decide(write)

    def summary(self, status: str) -> dict[str, Any]:
        return {
            "task": self.config.task,
            "data": self.data,
            "status": status,
            "steps": self.steps,
            **asdict(self.state),
            "baseline_name": self.task.baseline_name,
            "world_size": self.accelerator.num_processes,
            "device": str(self.accelerator.device),
            "versions": versions(),
        }

    def log(self, split: str, figures: Mapping[str, Any]) -> None:
        self.tell("line", {"step": self.state.step, "epoch": self.state.epoch, "split": split, **figures})

    def average(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean of each term over the processes."""
        stacked = torch.stack([value.detach().double() for value in terms.values()])
        return dict(zip(terms, self.accelerator.reduce(stacked, "mean").tolist(), strict=True))  # pyright: ignore

    def tell(self, event: str, *arguments: Any) -> None:
        try:
            for observer in self.observers:
                getattr(observer, event)(*arguments)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.folder}: {error}", "make room; checkpoints already saved are whole"
            ) from error

    def use(self, networks: Mapping[str, nn.Module], *, training: bool) -> None:
        for name, network in networks.items():
            setattr(self.task, name, network)
        self.task.train(training)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The task with its networks (their averages, with --ema) without the wrappers, whose forward talks to other
        processes."""
        averages = {name: averaged.module for name, averaged in self.averages.items()}
        self.use(averages or self.networks, training=False)
        try:
            yield
        finally:
            self.use(self.wrapped, training=True)

    def seed_networks(self, step: int) -> None:
        """Dropout and the like draw from the device's own generator: it depends on the step and on the process."""
        seed = key(self.shared.seed, "networks", step, self.accelerator.process_index)
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def versions() -> dict[str, str]:
    names = ("launchbay", "torch", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
