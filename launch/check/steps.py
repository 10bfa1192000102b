"""The contract, part three: what a training step yields, what that moves, and what it may depend on."""

import itertools

import torch
from torch import nn

from launchbay.launch.check.bench import Bench
from launchbay.launch.check.figures import pictures_are_well_formed
from launchbay.launch.check.lines import place_of_drawing
from launchbay.launch.check.options import it_can_be_built, samples_repeat_and_travel
from launchbay.launch.check.results import Broken, NotApplicable, needs
from launchbay.launch.check.watched import losses
from launchbay.launch.checkpoint.task_state import own_state

PATIENCE = 100
"""Steps in which the loss of one batch has to fall."""


@needs(it_can_be_built)
def steps_can_be_taken(bench: Bench) -> None:
    """Three training steps yield finite, scalar losses, each under the name of a network that it depends on.

    `yield "model", {"l1": loss}`, outside of torch.no_grad(), each loss a mean over the batch.
    """
    if not bench.trained.seen:
        raise Broken("training_step yields nothing", bench.place("training_step"))


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
            raise Broken(happened, bench.place("training_step", "loss"))


@needs(steps_can_be_taken)
def a_loss_moves_only_its_network(bench: Bench) -> None:
    """A loss moves the parameters of the networks that it is yielded for, and no others.

    Give each optimizer its own network's parameters, and let no two networks share some.
    """
    for loss in bench.trained.seen:
        if others := sorted(name for name in loss.moved if name.partition(".")[0] not in loss.network.split("+")):
            raise Broken(f"the loss of {loss.network!r} moves {', '.join(others[:3])}", bench.place("optimizers"))


@needs(steps_can_be_taken)
def each_parameter_learns(bench: Bench) -> None:
    """Every parameter of a network is reached by a loss and held by its optimizer, or is frozen.

    Leave out what is not used, or freeze it with requires_grad_(False); several processes would wait for its gradient.
    """
    learner = bench.trained
    held = {id(parameter) for parameters in learner.parameters.values() for parameter in parameters}
    free = {name: parameter for name, parameter in learner.task.named_parameters() if parameter.requires_grad}
    if missed := [name for name in free if name not in learner.reached]:
        raise Broken(f"no loss reaches {', '.join(missed[:3])}", bench.place("training_step", "loss"))
    if missed := [name for name, parameter in free.items() if id(parameter) not in held]:
        raise Broken(f"no optimizer has {', '.join(missed[:3])}", bench.place("optimizers"))


@needs(samples_repeat_and_travel, steps_can_be_taken, pictures_are_well_formed)
def randomness_comes_from_the_batch(bench: Bench) -> None:
    """Nothing is drawn from the process's generators of torch, numpy and Python, but by layers such as Dropout.

    Draw from `batch.rand` and `batch.randn`, or from `launchbay.data.generator("some name")` where it is to be the same
    each time.
    """
    task = bench.task().eval()  # in evaluation mode Dropout draws nothing
    collected = bench.figures[1]

    @torch.no_grad()
    def look() -> None:
        task.evaluate(bench.whole_batch())
        task.preview(bench.batch(1))
        task.summarize(dict(collected))
        task.gallery(dict(collected))

    for name, call in {"training_step": lambda: losses(task, bench.whole_batch()), "evaluation": look}.items():
        if place := place_of_drawing(call, bench.task_type):
            raise Broken(f"{name} draws from one of them, or seeds it", place)


@needs(randomness_comes_from_the_batch)
def the_loss_falls(bench: Bench) -> None:
    """The loss falls when one batch is shown again and again.

    Is the gradient cut off (by rounding, argmax, detach), or the learning rate out of proportion?
    """
    learner = bench.learner(PATIENCE)
    if len(learner.networks) > 1:
        raise NotApplicable("the losses of several networks play against each other")
    learner.use(learner.wrapped, training=True)
    for number in range(PATIENCE):
        learner.step(number + 1, [bench.whole_batch()])
        if learner.seen[-1].loss < learner.seen[0].loss - 0.005 * abs(learner.seen[0].loss):
            return
    if moving := {name.partition(".")[0] for name in own_state(learner.task, learner.networks)}:
        raise NotApplicable(f"it is measured against what moves too: {', '.join(sorted(moving))}")
    first, last = learner.seen[0].loss, learner.seen[-1].loss
    happened = f"it was {first:.4g} at first and is {last:.4g} after {PATIENCE} steps"
    raise Broken(happened, bench.place("training_step", "loss"))


class Wrapped(nn.Module):
    """A wrapper as several processes have it around a network: it can be called, and that is all."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.module = network

    def forward(self, *arguments: object, **named: object) -> object:
        return self.module(*arguments, **named)


@needs(randomness_comes_from_the_batch)
def networks_are_only_called(bench: Bench) -> None:
    """A training step uses a network as `self.name(...)` only, with none of its methods, layers or attributes.

    Move what is needed into the network's forward: on several processes there is a wrapper that has nothing else.
    """
    task = bench.task()
    for name, network in task.networks().items():
        setattr(task, name, Wrapped(network))
    losses(task, bench.whole_batch())
