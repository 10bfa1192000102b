"""The contract, part two: what a training step yields, what that moves, and what it may depend on."""

import itertools
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay.tasks.bench import BATCH, Bench, Broken, NotApplicable, different, double, layers, losses, needs
from launchbay.tasks.contract_options import it_can_be_built
from launchbay.tasks.lines import drawing

PATIENCE = 60
"""Steps in which the loss of one batch has to fall."""


@needs(it_can_be_built)
def steps_can_be_taken(bench: Bench) -> None:
    """Three training steps yield finite, scalar losses, each under the name of a network that it depends on.

    `yield "model", {"l1": loss}`, outside of torch.no_grad(), each loss a mean over the batch.
    """
    assert bench.trained.seen


@needs(steps_can_be_taken)
def losses_keep_their_order(bench: Bench) -> None:
    """Each step yields the same terms for the same networks in the same order.

    Processes would wait for each other for ever. Multiply a term by zero where it is not wanted.
    """
    steps = itertools.groupby(bench.trained.seen, key=lambda loss: loss.step)
    yielded = [[f"{loss.network}/{'+'.join(loss.terms)}" for loss in group] for _, group in steps]
    for number, other in enumerate(yielded[1:], 2):
        if other != yielded[0]:
            happened = f"step 1 yields {', '.join(yielded[0])}; step {number} {', '.join(other)}"
            raise Broken(happened, bench.line("training_step"))


@needs(steps_can_be_taken)
def a_loss_moves_only_its_network(bench: Bench) -> None:
    """A loss moves the parameters of the network that it is yielded for, and no others.

    Give each optimizer its own network's parameters, and let no two networks share some.
    """
    for loss in bench.trained.seen:
        if others := sorted(name for name in loss.moved if not name.startswith(f"{loss.network}.")):
            raise Broken(f"the loss of {loss.network!r} moves {', '.join(others[:3])}", bench.line("optimizers"))


@needs(steps_can_be_taken)
def each_parameter_learns(bench: Bench) -> None:
    """Every parameter of a network is reached by a loss and held by its optimizer, or is frozen.

    Leave out what is not used, or freeze it with requires_grad_(False); several processes would wait for its gradient.
    """
    learner = bench.trained
    held = {id(parameter) for parameters in learner.parameters.values() for parameter in parameters}
    free = {name: parameter for name, parameter in learner.task.named_parameters() if parameter.requires_grad}
    if missed := [name for name in free if name not in learner.reached]:
        raise Broken(f"no loss reaches {', '.join(missed[:3])}", bench.line("training_step"))
    if missed := [name for name, parameter in free.items() if id(parameter) not in held]:
        raise Broken(f"no optimizer has {', '.join(missed[:3])}", bench.line("optimizers"))


@needs(steps_can_be_taken)
def randomness_comes_from_the_batch(bench: Bench) -> None:
    """Nothing is drawn from the process's generators of torch, numpy and Python, but by layers such as Dropout.

    Draw from `batch.rand` and `batch.randn`, or from `launchbay.data.generator("some name")` where it is to be the same
    each time.
    """
    task = bench.task().eval()  # in evaluation mode Dropout draws nothing
    collected = bench.figures[1]

    @torch.no_grad()
    def look() -> None:
        task.evaluate(bench.batch())
        task.preview(bench.batch(1))
        task.summarize(dict(collected))
        task.gallery(dict(collected))

    for name, call in {"training_step": lambda: losses(task, bench.batch()), "evaluation": look}.items():
        if where := drawing(call, bench.task_type):
            raise Broken(f"{name} draws from one of them, or seeds it", where)


@needs(randomness_comes_from_the_batch)
def a_step_repeats_bit_for_bit(bench: Bench) -> None:
    """The same steps from the same start end with the same bits.

    Look for the time, for counters outside of the task, for the order of a set, for what `hash` and `id` give.
    """
    again = bench.learner()
    again.use(again.wrapped, training=True)
    for number in range(3):
        again.step(number + 1, [bench.batch(first=number * BATCH)])
    if changed := different(again.task.state_dict(), bench.trained.task.state_dict()):
        raise Broken(f"after three steps {changed}", bench.line("training_step"))


@needs(a_step_repeats_bit_for_bit)
def the_loss_falls(bench: Bench) -> None:
    """The loss falls when one batch is shown again and again.

    Is the gradient cut off (by rounding, argmax, detach), or the learning rate out of proportion?
    """
    learner = bench.learner()
    if len(learner.networks) > 1:
        raise NotApplicable("the losses of several networks play against each other")
    learner.use(learner.wrapped, training=True)
    learner.learning_rates.set = lambda step: None
    for number in range(PATIENCE):
        learner.step(number + 1, [bench.batch()])
        first, last = learner.seen[0].loss, learner.seen[-1].loss
        if last < first - 0.02 * abs(first):
            return
    raise Broken(f"it was {first:.4g} at first and is {last:.4g} after {PATIENCE} steps", bench.line("training_step"))


class Wrapped(nn.Module):
    """What several processes put around a network: it can be called, and that is all."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.module = network

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.module(*arguments, **named)


@needs(a_step_repeats_bit_for_bit)
def networks_are_only_called(bench: Bench) -> None:
    """A training step uses a network as `self.name(...)` only, with none of its methods, layers or attributes.

    Move what is needed into the network's forward: on several processes there is a wrapper that has nothing else.
    """
    task = bench.task()
    for name, network in task.networks().items():
        setattr(task, name, Wrapped(network))
    losses(task, bench.batch())


@needs(a_step_repeats_bit_for_bit)
def a_batch_of_one_is_enough(bench: Bench) -> None:
    """A batch of one sample can be trained on, and evaluated.

    Look for squeeze() without a dimension, and for statistics over the batch.
    """
    task = bench.task().eval()
    with torch.no_grad():
        for name, values in task.evaluate(bench.batch(1, images=bench.evaluable)).items():
            if values.ndim not in (1, 2) or len(values) != 1:
                raise Broken(f"evaluate gives {name!r} as {tuple(values.shape)}", bench.line("evaluate"))
    task.train(not layers(task, _BatchNorm))  # which in training has no statistics of one value
    for name, terms, line in losses(task, bench.batch(1)):
        if bad := [term for term, value in terms.items() if value.ndim or not value.isfinite()]:
            raise Broken(f"{name}/{bad[0]} is {terms[bad[0]].tolist()}", line)


@needs(a_batch_of_one_is_enough)
def losses_are_means_over_samples(bench: Bench) -> None:
    """The loss of a batch is the mean of the losses of its parts.

    Take means, not sums, and let no sample's loss depend on the others: --accumulate and several processes divide the
    batch.
    """
    with double():
        task = bench.task().eval()  # BatchNorm and Dropout aside
        whole = losses(task, bench.batch())
        parts = [losses(task, bench.batch(BATCH // 2, first)) for first in (0, BATCH // 2)]
        for number, (name, terms, line) in enumerate(whole):
            for term, value in terms.items():
                of_parts = torch.stack([part[number].terms[term] for part in parts]).mean()
                if not torch.allclose(value, of_parts, rtol=1e-6, atol=1e-9):
                    happened = f"{name}/{term} is {value:.6g}, and {of_parts:.6g} as the mean of two halves"
                    raise Broken(happened, line)
