"""The contract, part four: what must not matter. Repetition, precision, the batch, and that figures are asked for."""

from contextlib import nullcontext
from copy import deepcopy

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay.launch.check.bench import Bench, different, double, layers
from launchbay.launch.check.figures import TOGETHER
from launchbay.launch.check.results import Broken, NotApplicable, needs
from launchbay.launch.check.state import changed, shared_state
from launchbay.launch.check.steps import losses_keep_their_order, randomness_comes_from_the_batch
from launchbay.launch.check.watched import losses


@needs(randomness_comes_from_the_batch)
def a_step_repeats_bit_for_bit(bench: Bench) -> None:
    """The same steps from the same start end with the same bits.

    Look for the time, for counters outside of the task, for the order of a set, for what `hash` and `id` give.
    """
    again, before = bench.learner(), shared_state(bench.task_type)
    again.use(again.wrapped, training=True)
    for number in range(3):
        again.step(number + 1, [bench.whole_batch(number * bench.size)])
    if difference := different(again.task.state_dict(), bench.trained.task.state_dict()):
        where = bench.place("training_step", "loss")
        if kept := changed(before, shared_state(bench.task_type)):
            happened = f"`{kept[0]}` changes in training, but belongs to all tasks of this process: {difference}"
            raise Broken(happened, where, "keep it in the task, as a tensor given to register_buffer")
        raise Broken(f"after three steps {difference}", where)


@needs(randomness_comes_from_the_batch)
def evaluation_changes_nothing(bench: Bench) -> None:
    """Figures and pictures leave weights and buffers alone, and are the same when asked for again.

    Keep no running state in evaluate, summarize, preview and gallery, and no network in training mode.
    """
    task = bench.task().eval()
    before = deepcopy(task.state_dict())
    collected = bench.figures[1]
    with torch.no_grad():
        first, second = ({**task.evaluate(bench.whole_batch()), **task.preview(bench.batch(1))} for _ in range(2))
        drawn, again = (task.gallery(dict(collected)) for _ in range(2))
    where = bench.place("evaluate", "figures")
    if difference := different(task.state_dict(), before):
        raise Broken(f"afterwards {difference}", where)
    if difference := different({**first, **drawn}, {**second, **again}):
        raise Broken(f"the second time {difference}", where)


@needs(a_step_repeats_bit_for_bit)
def precisions_can_be_chosen(bench: Bench) -> None:
    """A step and an evaluation work with --precision bf16 and fp64.

    Make tensors like those at hand (`torch.zeros_like`, `dtype=image.dtype`); name no dtype.
    """
    for precision in ("bf16", "fp64"):
        with double() if precision == "fp64" else nullcontext():
            learner = bench.learner()
            if precision == "bf16":
                for network in learner.networks.values():
                    autocast(network)
            learner.use(learner.wrapped, training=True)
            try:
                learner.step(1, [bench.whole_batch()])
                with learner.evaluating(), torch.no_grad():
                    learner.task.evaluate(bench.batch(2, images=bench.evaluable))
            except Exception as error:
                error.add_note(f"with --precision {precision}")
                raise


def autocast(network: nn.Module) -> None:
    """Do with a network what accelerate does for bf16."""
    network.forward = convert_outputs_to_fp32(torch.autocast("cpu", torch.bfloat16)(network.forward))


@needs(randomness_comes_from_the_batch)
def a_batch_of_one_is_enough(bench: Bench) -> None:
    """A batch of one sample can be trained on, and evaluated; of as many as `batch.split` makes parts, if it is used.

    Look for squeeze() without a dimension, and for statistics over the batch.
    """
    task = bench.task().eval()
    with torch.no_grad():
        for name, values in task.evaluate(bench.batch(1, images=bench.evaluable)).items():
            if values.ndim not in (1, 2) or len(values) != 1:
                raise Broken(f"evaluate gives {name!r} as {tuple(values.shape)}", bench.place("evaluate", "figures"))
    task.train(not layers(task, _BatchNorm))  # which in training has no statistics of one value
    for name, terms, place in losses(task, bench.batch(bench.least)):
        if bad := [term for term, value in terms.items() if value.ndim or not value.isfinite()]:
            raise Broken(f"{name}/{bad[0]} is {terms[bad[0]].tolist()}", place)


@needs(a_batch_of_one_is_enough, losses_keep_their_order, precisions_can_be_chosen)
def losses_are_means_over_samples(bench: Bench) -> None:
    """The loss of a batch is the mean of the losses of its parts.

    Take means, not sums, and let no sample's loss depend on the others: --accumulate and several processes divide the
    batch. A loss that has to be of the whole batch asks for it with `batch.gather`.
    """
    with double():
        # In evaluation mode, BatchNorm and Dropout aside; a task for each, since it may count its steps.
        whole = losses(bench.task().eval(), bench.whole_batch())
        if bench.gathers:
            raise NotApplicable("a loss is of the whole batch (batch.gather)")
        half = bench.size // 2
        halves = [losses(bench.task().eval(), bench.batch(half, first)) for first in (0, half)]
    names = [[(loss.network, *loss.terms) for loss in step] for step in (whole, *halves)]
    if names[0] != names[1] or names[0] != names[2]:
        raise Broken(f"it yields {names}, for the batch and its halves", bench.place("training_step"))
    for loss, *parts in zip(whole, *halves, strict=True):
        for term, value in loss.terms.items():
            mean = torch.stack([part.terms[term] for part in parts]).mean()
            if not torch.allclose(value, mean, rtol=1e-6, atol=1e-9):
                happened = f"{loss.network}/{term} is {value:.6g}, and {mean:.6g} as the mean of two halves"
                raise Broken(happened, loss.place)


@needs(a_batch_of_one_is_enough, precisions_can_be_chosen)
def figures_do_not_depend_on_the_batch(bench: Bench) -> None:
    """A sample has the same figures whichever samples are evaluated with it.

    Draw noise from `batch`; take no statistics over the batch; leave no sample out.
    """
    with double(), torch.no_grad():
        task = bench.task().eval()
        together = task.evaluate(bench.batch(TOGETHER, images=bench.evaluable))
        alone = [task.evaluate(bench.batch(1, number, bench.evaluable)) for number in range(TOGETHER)]
        for name, values in together.items():
            one_by_one = torch.cat([figures.get(name, values[:0]) for figures in alone])
            if values.shape != one_by_one.shape:
                happened = f"{name!r} is {tuple(values.shape)} together, {tuple(one_by_one.shape)} one by one"
                raise Broken(happened, bench.place("evaluate"))
            if not torch.allclose(values.double(), one_by_one.double(), rtol=1e-6, atol=1e-9, equal_nan=True):
                place = (values.double() - one_by_one.double()).abs().argmax()
                pair = [figure.flatten()[place].item() for figure in (values, one_by_one)]
                happened = f"{name!r} of a sample is {pair[0]:.6g} among {TOGETHER} samples, {pair[1]:.6g} alone"
                raise Broken(happened, bench.place("evaluate", "figures"))
