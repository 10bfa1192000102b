"""The validation set: exact figures (every sample counts once, on any number of processes), and samples to look at."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count

import torch
from accelerate import Accelerator
from torch import Tensor

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.loader import EvaluationOrder, fetch, samples
from launchbay.data.randomness import with_keys
from launchbay.data.transforms import at_once
from launchbay.devices import random_state_kept
from launchbay.exact import exact, exact_device
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed.collectives import gather, gather_on_main, on_main_process, raise_on_all, reduce
from launchbay.launch.distributed.signals import check, interruptible
from launchbay.launch.engine.batches import refuse_in_validation, to_batch
from launchbay.launch.engine.best import monitored
from launchbay.launch.record.figures import Figures
from launchbay.tasks.authors import raise_author_error
from launchbay.tasks.base import AnyTask, Batch, Moment, Task

Beat = Callable[[str, float | None], None]
"""Is told by the name of a task's method what a process does from now on, so that it is not taken for stuck; and how
much of that is done, from 0 to 1, if that is known."""


@dataclass(frozen=True)
class Evaluation:
    """What was found out on a validation set."""

    figures: Figures[float]
    """The same on every process."""
    collected: dict[str, Tensor]
    """What `task.evaluate` gives for each sample and `task.summarize` works on: size×D each, in the set's order, on the
    main process; nothing of each on the others."""
    each: Figures[Tensor]
    """The figures of each sample, float64 of the set's size each, in its order; none unless asked for."""


def evaluate_sets(
    task: AnyTask,
    sets: Mapping[str, ImageSet],
    accelerator: Accelerator,
    batch_size: int,
    options: TrainOptions,
    *,
    moment: Moment = Moment(),
    beat: Beat = lambda what, share: None,
    each: bool = False,
) -> tuple[Figures[float], dict[str, Evaluation]]:
    """Return the figures of all `sets`, each under the name of its set ("set5/psnr"; the only one may have an empty
    name), and what `evaluate` has found out on each.
    """
    own: dict[str, float] = {}
    baseline: dict[str, float] = {}
    found: dict[str, Evaluation] = {}
    for name, images in sets.items():
        given = task, images, accelerator, batch_size, options
        found[name] = evaluate(*given, moment=moment, beat=beat, each=each)
        own |= found[name].figures.of_set(name).own
        baseline |= found[name].figures.of_set(name).baseline
    return Figures(own, baseline), found


@torch.no_grad()
def rehearse(
    task: AnyTask, sets: Mapping[str, ImageSet], accelerator: Accelerator, options: TrainOptions, moment: Moment
) -> None:
    """Evaluate the first sample of each of `sets`: what the first validation would find out after hours of training.

    `task` is as in `evaluate`. No random number is drawn that another would have drawn.

    Raises:
        UserError: `task` cannot evaluate it, or `task.monitor` is not among the figures.
    """
    device, seed = accelerator.device, options.optimization.seed

    def ask() -> None:
        names: list[str] = []
        for name, images in sets.items():
            batch = to_batch(fetch(images, with_keys([0], seed, "val", [0])), device, moment, refuse_in_validation)
            try:
                figures, *_ = ask_for_all(task, [(batch, 1)], device, lambda what, share: None)
            except Exception as error:
                if name:
                    error.add_note(f"of the validation set {name}")
                raise
            names += [
                f"{name}/{figure}" if name else figure for figure in figures if not figure.startswith("baseline/")
            ]
        if options.saving.patience and not task.monitor:
            said = f"--patience {options.saving.patience}: task {type(task).__name__} names no figure to go by"
            raise UserError(said, "leave it out, or set `monitor` in the task")
        if type(task).summarize is Task.summarize and task.monitor:  # which may add figures
            monitored(task, names, sets)

    with random_state_kept(device):
        raise_on_all(ask, accelerator)


@torch.no_grad()
def evaluate(
    task: AnyTask,
    images: ImageSet,
    accelerator: Accelerator,
    batch_size: int,
    options: TrainOptions,
    *,
    moment: Moment = Moment(),
    beat: Beat = lambda what, share: None,
    each: bool = False,
) -> Evaluation:
    """Return the figures of `images`; with `each`, also those of each sample.

    A figure is the mean of what `task.evaluate` gives for each sample, or what `task.summarize` makes of the collected
    tensors, which are in the order of `images`.

    `task` is in evaluation mode, its networks unwrapped. `batch_size` is per process. Sums are per sample, in float64.
    `moment` is how far the training has come. `beat` is called after each batch and before what may take long, with
    what that is.
    """
    device = accelerator.device
    order = EvaluationOrder(
        size=len(images),
        batch_size=at_once(images, batch_size),
        seed=options.optimization.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    loaded = samples(images, order, workers=options.data.workers, device=device)
    given = device, moment, refuse_in_validation
    batches = ((to_batch(some, *given), counts) for some, counts in zip(loaded, order.counts(), strict=True))
    told = counted(beat, sum(1 for _ in order.positions()))
    with closing(loaded):  # ends its workers, also where it breaks off
        sums, rest, values = raise_on_all(lambda: ask_for_all(task, batches, device, told, each=each), accelerator)
    means = means_of(sums, len(images), accelerator)
    collected = {name: collect_on_main(rows, len(images), accelerator) for name, rows in rest.items()}
    of_each = collect_columns(values, len(images), accelerator)
    beat("summarize", None)
    figures = on_main_process(lambda: with_summary(task, means, collected))
    return Evaluation(Figures.from_named(figures), collected, Figures.from_named(of_each))


def counted(beat: Beat, parts: int) -> Beat:
    """Return a `beat` that knows how much is done, after each of so many `parts`."""
    numbers = count(1)
    return lambda what, _: beat(what, next(numbers) / parts)


Rows = dict[str, list[Tensor]]
"""N×D of each batch, by name."""


@interruptible()
def ask_for_all(
    task: AnyTask, batches: Iterable[tuple[Batch, int]], device: torch.device, beat: Beat, *, each: bool = False
) -> tuple[dict[str, Tensor], Rows, Rows]:
    """Return what `task.evaluate` says of batches, each with how many of its samples, the first ones, count: sums of
    numbers; the N×D of each; and, if `each` is wanted, the numbers of each as N×1.

    Raises:
        AuthorError: it has another shape, or is not the same for each batch.
    """
    home = exact_device(device)
    sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=home))
    rest: defaultdict[str, list[Tensor]] = defaultdict(list)
    kept: defaultdict[str, list[Tensor]] = defaultdict(list)
    first: dict[str, tuple[int, ...]] | None = None
    for batch, counts in batches:
        check()
        figures = task.evaluate(batch)
        shapes = {name: tuple(values.shape) for name, values in figures.items()}
        first = shapes if first is None else first
        if shapes != first:
            raise_author_error(
                task, "evaluate", f"gives {first} for one batch and {shapes} for another", "give the same for each"
            )
        for name, values in figures.items():
            if values.shape[:1] != (len(batch),) or values.ndim > 2:
                raise_author_error(
                    task,
                    "evaluate",
                    f"gives {name!r} as {shapes[name]} for {len(batch)} samples",
                    "give one value per sample, which the engine averages, or N×D for summarize",
                )
            if values.ndim == 1:
                sums[name] += exact(values).to(home)[:counts].sum()
                if each:
                    kept[name].append(exact(values).to(home)[:, None])
            else:
                rest[name].append(values)
        beat("evaluate", None)
    return sums, rest, kept


def with_summary(task: AnyTask, means: Mapping[str, float], collected: Mapping[str, Tensor]) -> dict[str, float]:
    """Return `means`, and what `task.summarize` says of `collected`.

    Raises:
        AuthorError: some of it goes by the same name.
    """
    with interruptible():
        whole = {name: float(value) for name, value in task.summarize(dict(collected)).items()}
    if twice := means.keys() & whole.keys():
        raise_author_error(
            task, "summarize", f"gives {min(twice)!r}, as evaluate does", "give one of them another name"
        )
    return {**means, **whole}


def means_of(sums: Mapping[str, Tensor], size: int, accelerator: Accelerator) -> dict[str, float]:
    """Return the means over a set of that `size` from the `sums` of each process."""
    if not sums:
        return {}
    total = reduce(torch.stack([*sums.values()]), "sum", accelerator)
    return dict(zip(sums, (total / size).tolist(), strict=True))


def collect_columns(values: Mapping[str, list[Tensor]], size: int, accelerator: Accelerator) -> dict[str, Tensor]:
    """Return `collect_rows` of the N×1 of each name, exchanged together, as one row of numbers each."""
    together = [torch.cat(rows, dim=1) for rows in zip(*values.values(), strict=True)]
    columns = collect_rows(together, size, accelerator).unbind(dim=1) if together else ()
    return dict(zip(values, columns, strict=True))


def collect_rows(batches: list[Tensor], size: int, accelerator: Accelerator) -> Tensor:
    """size×D from the N×D of each batch of each process, in the order of the data set, on the CPU."""
    everyone = gather(torch.stack(batches)[None], accelerator)  # processes × batches × N × D
    return in_order(everyone.cpu(), size)


def collect_on_main(batches: list[Tensor], size: int, accelerator: Accelerator) -> Tensor:
    """`collect_rows` for the main process alone, which summarizes: the others get nothing, and have nothing to keep."""
    everyone = gather_on_main(torch.stack(batches), accelerator)
    return in_order(everyone, size)


def in_order(everyone: Tensor, size: int) -> Tensor:
    """size×D from processes × batches × N × D."""
    return everyone.transpose(0, 1).flatten(0, 2)[:size]


@torch.no_grad()
def figures_of_each(task: AnyTask, images: ImageSet, accelerator: Accelerator, options: TrainOptions) -> list[str]:
    """Return the names of the figures that `task` gives for each sample of `images`, by asking it for the first."""
    indices = with_keys([0], options.optimization.seed, "val", [0])
    batch = to_batch(fetch(images, indices), accelerator.device, Moment(), refuse_in_validation)
    with random_state_kept(accelerator.device):
        return [name for name, values in task.evaluate(batch).items() if values.ndim == 1]


def extremes(values: Tensor, count: int, *, lower_is_better: bool) -> tuple[list[int], list[int]]:
    """Return the places of the `count` worst of `values`, the worst first, and of the best, the best first. What is not
    a number is worse than all others; of equal ones the first comes first.
    """
    worth = (-values if lower_is_better else values).nan_to_num(nan=-torch.inf)
    worst, best = worth.argsort(stable=True), worth.argsort(descending=True, stable=True)
    return worst[:count].tolist(), best[:count].tolist()
