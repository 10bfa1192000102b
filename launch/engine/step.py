"""The networks of a task with their optimizers, and one step of learning on one batch."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from math import isfinite

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.nn.utils import clip_grads_with_norm_
from torch.profiler import record_function

from launchbay import UserError
from launchbay.data import key
from launchbay.devices import seed_device
from launchbay.launch.checkpoint import storage
from launchbay.launch.checkpoint.optimizer_state import check_savable
from launchbay.launch.checkpoint.task_state import own_state
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.accelerator import check_accumulate, check_graphs
from launchbay.launch.distributed.collectives import all_reduce_async
from launchbay.launch.engine import optimizers
from launchbay.launch.engine.accumulate import explaining_batchnorm, of_part
from launchbay.launch.engine.finite import NotFinite, bad_samples, check_norms, raise_not_finite
from launchbay.launch.engine.freeze import Freeze, set_mode
from launchbay.launch.engine.profiling import BACKWARD, FORWARD, OPTIMIZER, Label, labelled
from launchbay.launch.engine.recompute import recompute_blocks
from launchbay.launch.engine.sharding import place
from launchbay.launch.engine.shared_state import share_statistics
from launchbay.launch.engine.sync_batchnorm import synchronize_batchnorm
from launchbay.models.checkpoints import OpenedCheckpoint
from launchbay.models.saved import State
from launchbay.tasks.authors import check_trainable
from launchbay.tasks.base import AnyTask, Batch
from launchbay.tasks.losses import check_gradients, check_loss, check_yielded, yield_place
from launchbay.tasks.places import PlaceNote

CLEARLY_LESS = 0.999
"""Gradients of a norm that is less than so much of --clip-norm are not scaled, however that is rounded."""


class Means:
    """The means of what a step logs: of all values that come under one name."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()

    def add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] += 1

    def values(self) -> dict[str, Tensor]:
        return {name: value / count if (count := self.counts[name]) > 1 else value for name, value in self.sums.items()}

    def steps(self) -> dict[str, Tensor]:
        """Return how many optimizer steps each network took of those that took several, as "NETWORK/steps"."""
        several = {name: count for name, count in self.counts.items() if name.endswith("/grad_norm") and count > 1}
        return {
            name.replace("grad_norm", "steps"): torch.full_like(self.sums[name], count)
            for name, count in several.items()
        }


class Learner:
    """The networks of `task`, on the device and wrapped for several processes, each with its optimizer and, with --ema,
    its average. `steps` is the length of the training.

    Raises:
        UserError: the task cannot be trained as asked.
    """

    def __init__(self, task: AnyTask, options: TrainOptions, accelerator: Accelerator, steps: int):
        self.task, self.options, self.accelerator = task, options, accelerator
        self.label: Label = record_function if options.hardware.profile else nullcontext  # they take some 0.2 ms a step
        self.networks = task.networks()
        self.averages = {
            name: optimizers.average(net, options.optimization.ema)
            for name, net in self.networks.items()
            if options.optimization.ema
        }
        self.placed, self.told = place(task, self.averages, options, accelerator)
        if options.hardware.recompute:
            self.told.append(recompute_blocks(self.networks))
        self.freeze = Freeze(self.networks, options.start, steps)
        settings = self.placed.settings(options.optimization.optimizer)
        self.plain = task.optimizers(
            lambda parameters, **own: optimizers.create(options.optimization, parameters, settings | own)
        )
        check_trainable(task, self.networks, self.plain)
        check_accumulate(options, self.networks)
        check_graphs(options, accelerator, len(self.networks))
        self.learning_rates = optimizers.LearningRates(task, self.plain, options.optimization, steps)
        self.parameters = {
            name: [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            for name, optimizer in self.plain.items()
        }
        self.placed.begin(self.parameters, self.plain)
        self.trained_state = storage.TrainedState(task, self.networks, self.averages, self.plain)
        self.unchecked = True  # no step has been taken that shows whether --accumulate is possible
        self.trained_state.extra_state()  # what no checkpoint can hold is to be said before a step is lost
        for name, optimizer in self.plain.items():
            check_savable(optimizer, name)
        # A teacher follows networks between yields: what it then sees of them has to be the same on all processes.
        self.follows = accelerator.num_processes > 1 and bool(own_state(task, self.networks))
        self.optimizers = dict(self.plain)
        if accelerator.scaler is not None:  # otherwise accelerate's would only take time
            self.optimizers = {name: accelerator.prepare(optimizer) for name, optimizer in self.plain.items()}
        self.wrapped = self.wrap()

    def wrap(self) -> dict[str, nn.Module]:
        """Return the networks as they are trained: synchronised, compiled and wrapped as the options say."""
        options = self.options
        for name, network in self.networks.items():
            if options.optimization.sync_batchnorm and self.accelerator.num_processes > 1:
                synchronize_batchnorm(name, network)
            if options.hardware.compile or options.hardware.cuda_graphs:
                network.compile(mode="reduce-overhead" if options.hardware.cuda_graphs else "default")
        return self.placed.wrapped(self.networks, self.accelerator)

    def step(self, number: int, micro_batches: list[Batch]) -> dict[str, Tensor]:
        """Take step `number`, from 1: minimise each loss that the task yields, in turn. Return each term, averaged over
        the micro-batches.
        """
        self.learning_rates.set(number)
        self.seed_networks(number)
        self.freeze.set_modes(number, self.task)
        logs = Means()
        with explaining_batchnorm(self.options.optimization, self.accelerator.num_processes):
            for batch in micro_batches:
                self.learn(number, batch, logs)
        self.unchecked = False
        if missing := [name for name in self.networks if f"{name}/grad_norm" not in logs.sums]:
            raise UserError(
                f"{type(self.task).__name__}.training_step has yielded no loss for {' and '.join(missing)} "
                f"at step {number}",
                f"yield {missing[0]!r}, {{'l1': loss}}, once per optimizer step; a network that is not to learn: "
                "requires_grad_(False)",
            )
        if self.accelerator.num_processes > 1:
            share_statistics(self.networks, self.accelerator)
        for name, averaged in self.averages.items():
            optimizers.update_average(averaged, self.networks[name])
        return logs.values() | logs.steps()

    def learn(self, number: int, batch: Batch, logs: Means) -> None:
        """Minimise the losses of `batch`, all or a part of that of step `number`, and add them to `logs`."""
        losses = self.task.training_step(batch)
        whole = self.options.optimization.accumulate == 1
        taken = losses if whole else of_part(self.task, self.networks, losses, with_state=self.unchecked)
        with closing(losses), self.accelerator.accumulate(*self.wrapped.values()):
            for yielded in labelled(self.label, FORWARD, taken):
                name, terms = check_yielded(self.task, losses, yielded)
                try:
                    norms = self.minimise(number, name, terms)
                except Exception as error:
                    error.add_note(PlaceNote(f"minimising {name!r}, yielded at", yield_place(self.task, losses)))
                    raise
                for network, norm in norms.items():
                    logs.add(f"{network}/grad_norm", norm)
                for term, value in terms.items():
                    logs.add(f"{name}/{term}", value.detach())
                if len(terms) > 1 and "total" not in terms:
                    logs.add(f"{name}/total", torch.stack(tuple(terms.values())).detach().sum(dim=0))
                if self.follows:
                    share_statistics(self.networks, self.accelerator)

    def minimise(self, number: int, name: str, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take one backward pass and, with the last part of a batch, one optimizer step over the networks that `name`
        names: one, or several joined by "+". Return the norm of each one's gradients, where it has taken a step.
        """
        networks = check_loss(name, terms, self.networks)
        loss = torch.stack(tuple(terms.values())).sum(dim=0)
        of_all = all_reduce_async(loss, ReduceOp.SUM, self.accelerator)
        parameters = [leaf for network in networks for leaf in self.placed.leaves(network)]
        # A loss moves only the networks it names: the generator's leaves no gradient in the discriminator.
        with self.label(BACKWARD):
            self.accelerator.backward(loss, inputs=parameters if len(networks) < len(self.optimizers) else None)
        with self.label(OPTIMIZER):
            for network in networks:
                check_gradients(network, self.parameters[network])
            norms = self.norms(number, networks, loss.device) if self.accelerator.sync_gradients else {}
            if not isfinite(of_all()):  # before it reaches the weights
                raise_not_finite(name, terms, number, self.accelerator)
            known = check_norms(name, terms, norms, number, self.accelerator)
            for network, norm in norms.items():
                self.update(network, norm, known[network])
            return norms

    def norms(self, number: int, networks: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """Return the norm of the gradients that each of `networks` takes step `number` with, on `device`."""
        self.freeze.drop_gradients(number)
        norms = {}
        for network in networks:
            self.accelerator.unscale_gradients(self.optimizers[network])
            norms[network] = self.placed.norm(network).to(device)
        return norms

    def update(self, network: str, norm: Tensor, known: float) -> None:
        """Take an optimizer step of `network`, whose gradients have the `norm`, which is `known` here too."""
        parameters, optimizer = self.parameters[network], self.optimizers[network]
        most = self.options.optimization.clip_norm
        if most and not known < CLEARLY_LESS * most:  # others would be multiplied by 1: read and written for nothing
            clip_grads_with_norm_(parameters, most, norm)
        optimizer.step()
        self.placed.updated(network)
        optimizer.zero_grad()

    def bad_samples(self, error: NotFinite, micro_batches: list[Batch]) -> list[int]:
        """Return the keys of those samples that have by themselves what `error` says, with the weights as they are."""
        parameters = [leaf for network in error.name.split("+") for leaf in self.placed.leaves(network)]
        with self.evaluating(self.networks):  # not the averages: the loss was that of the weights
            return bad_samples(self.task, error, parameters, micro_batches)

    def restore(self, checkpoint: OpenedCheckpoint, batch: list[Batch] | None) -> State:
        """Take weights, averages and optimizer states from a verified checkpoint; the rest of it is returned.

        From its second step on DDP adds gradients up in another order, and with three processes or more this rounds
        differently: with `batch`, a step on it is taken before, for that effect alone.
        """
        if batch is not None and not self.placed.by_rows:
            self.use(self.wrapped, training=True)
            self.step(1, batch)
        state = storage.load_checkpoint(checkpoint, self.trained_state)
        if self.accelerator.scaler is not None and state.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler.state_dict())
        return state

    def use(self, networks: Mapping[str, nn.Module], *, training: bool) -> None:
        for name, network in networks.items():
            setattr(self.task, name, network)
        set_mode(self.task, training)

    @contextmanager
    def evaluating(self, networks: Mapping[str, nn.Module] | None = None) -> Generator[None]:
        """Give the task, within the block, its networks (their averages, with --ema; or the `networks` given) whole and
        without the wrappers, whose forward talks to other processes.
        """
        averages = {name: averaged.module for name, averaged in self.averages.items()}
        given = networks or averages or self.networks
        self.use(given, training=False)
        # Each size of picture would be recorded as a graph of its own.
        stance = torch.compiler.set_stance("force_eager") if self.options.hardware.cuda_graphs else nullcontext()
        try:
            with stance, self.placed.whole_networks(given.values()):
                yield
        finally:
            self.use(self.wrapped, training=True)

    def seed_networks(self, step: int) -> None:
        """Dropout and the like draw from the device's own generator: it depends on the step and on the process."""
        seed = key(self.options.optimization.seed, "networks", step, self.accelerator.process_index)
        seed_device(self.accelerator.device, seed)
