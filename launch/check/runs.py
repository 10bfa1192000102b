"""The contract, part five: whole runs. Compiled, saved and gone on with, on two processes."""

import multiprocessing
import os
import tempfile
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay.launch.check.bench import (
    STEPS,
    Bench,
    Broken,
    NotApplicable,
    different,
    double,
    isolated,
    layers,
    needs,
)
from launchbay.launch.check.figures import monitor_is_a_figure
from launchbay.launch.check.options import options_go_through_yaml
from launchbay.launch.check.same import (
    a_step_repeats_bit_for_bit,
    evaluation_changes_nothing,
    figures_do_not_depend_on_the_batch,
    losses_are_means_over_samples,
)
from launchbay.launch.check.steps import (
    a_loss_moves_only_its_network,
    each_parameter_learns,
    losses_keep_their_order,
    networks_are_only_called,
)
from launchbay.launch.check.watched import losses
from launchbay.launch.checkpoint.writer import Saver
from launchbay.launch.config.options import Dataclass
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.errors import Elsewhere
from launchbay.launch.record.tracking import Line, Observer
from launchbay.models import checkpoints
from launchbay.tasks.base import AnyTask

TOLERANCE = 1e-9
PATIENCE = timedelta(minutes=2)
"""For which a process waits for another."""


@needs(a_step_repeats_bit_for_bit)
def networks_can_be_compiled(bench: Bench) -> None:
    """With --compile the losses stay what they are.

    Keep what torch.compile cannot trace (numpy, printing, Python state) out of a network's forward.
    """
    plain, compiled = bench.task().eval(), bench.task().eval()
    torch.compiler.reset()
    for network in compiled.networks().values():
        network.compile(backend="eager")  # it is the tracing that may break, not what is made of it
    pairs = zip(losses(plain, bench.batch()), losses(compiled, bench.batch()), strict=True)
    for (name, terms, place), other in pairs:
        for term, value in terms.items():
            if not torch.allclose(value, other.terms[term], rtol=1e-4, atol=1e-6):
                raise Broken(f"{name}/{term} is {value:.6g}, compiled {other.terms[term]:.6g}", place)


@needs(a_step_repeats_bit_for_bit, losses_keep_their_order, a_loss_moves_only_its_network)
def a_checkpoint_holds_everything(bench: Bench) -> None:
    """Saved, loaded into a new task, the next step ends with the same bits, and tied weights are still tied.

    All that a step depends on has to be in networks: as a parameter, or with register_buffer. Neither the task nor a
    global may count steps.
    """
    first, second = bench.learner(), bench.learner()
    with tempfile.TemporaryDirectory() as folder:
        first.use(first.wrapped, training=True)
        for number in (1, 2):
            first.step(number, [bench.batch(first=number)])
        saver = Saver(Path(folder), first.trained_state, keep=1)
        saver.save(2, {"scaler": None}, best=False)
        saver.finish()
        second.restore(checkpoints.newest_checkpoint(Path(folder)), None)
    second.use(second.wrapped, training=True)
    for learner in (first, second):
        learner.step(3, [bench.batch(first=3)])
    if changed := different(first.task.state_dict(), second.task.state_dict()):
        raise Broken(f"one step after a checkpoint {changed}", bench.place("training_step", "loss"))
    if tied(first.task) != tied(second.task):
        raise Broken("weights are tied before, and not after", bench.place("__init__"))


def tied(task: nn.Module) -> list[list[str]]:
    """Return the names of parameters that share their memory."""
    names: dict[int, list[str]] = {}
    for name, parameter in task.named_parameters(remove_duplicate=False):
        names.setdefault(parameter.data_ptr(), []).append(name)
    return [shared for shared in names.values() if len(shared) > 1]


@needs(a_checkpoint_holds_everything, evaluation_changes_nothing, monitor_is_a_figure, options_go_through_yaml)
def a_run_goes_on_bit_for_bit(bench: Bench) -> None:
    """A run that was stopped and goes on ends with the same bits as one that was not.

    Evaluation and data sets must keep nothing that a later step depends on.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, again = Path(folder, "whole"), Path(folder, "again")
        bench.engine().fit(whole, [], Stop())
        second = bench.engine()
        second.restore(whole / f"checkpoints/step-{STEPS // 2:08d}")
        second.fit(again, [], Stop())
        files = sorted((whole / f"checkpoints/step-{STEPS:08d}").glob("*.safetensors"))
        for file in files:
            if changed := different(load_file(file), load_file(again / file.relative_to(whole))):
                raise Broken(f"{file.name}: {changed}", bench.place("training_step", "loss"))


class RecordInMemory(Observer):
    """The record of a run, kept in memory."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def line(self, line: Line) -> None:
        self.lines.append({name: value for name, value in line.items() if name != "samples_per_s"})


@needs(
    losses_are_means_over_samples,
    figures_do_not_depend_on_the_batch,
    each_parameter_learns,
    networks_are_only_called,
    a_run_goes_on_bit_for_bit,
)
def two_processes_learn_the_same(bench: Bench) -> None:
    """In float64, two processes have the losses and figures of one, to 1e-9.

    Nothing may depend on which samples a process has: look for what is counted, kept or drawn per process.
    """
    check_own_statistics(bench)
    bench.probed.values()  # or another process cannot import it
    with tempfile.TemporaryDirectory() as folder:
        one = record_run(bench, Path(folder, "one"))
        two = on_two_processes(bench, Path(folder))
    for mine, theirs in zip(one, two, strict=True):
        for name, value in mine.items():
            if isinstance(value, float) and abs(value - theirs[name]) > TOLERANCE * max(1, abs(value)):
                happened = f"{name} at step {mine['step']} is {value:.12g} on one and {theirs[name]:.12g} on two"
                raise Broken(happened, bench.place("training_step", "loss"))


def check_own_statistics(bench: Bench) -> None:
    """BatchNorm sees the samples of its own process, and Dropout draws on each: nothing could be compared."""
    task = bench.task().train()
    if found := layers(task, _BatchNorm):
        raise NotApplicable(f"{found[0]} is a BatchNorm: each process normalises its own samples")
    before = torch.get_rng_state()
    losses(task, bench.batch())
    if not torch.equal(before, torch.get_rng_state()):
        raise NotApplicable("a network draws random numbers in training (Dropout), on each process others")


def record_run(bench: Bench, folder: Path) -> list[Line]:
    """Return the losses and figures of a short run in float64."""
    lines = RecordInMemory()
    with double():
        engine = bench.engine(precision="fp64")
        engine.fit(folder, [lines] if engine.accelerator.is_main_process else [], Stop())
    return lines.lines


def on_two_processes(bench: Bench, folder: Path) -> list[Line]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        subject = bench.task_type, bench.config.options
        running = [pool.submit(as_process, rank, subject, folder) for rank in (0, 1)]
        for failed in wait(running, return_when=FIRST_EXCEPTION).done:
            failed.result()
        return running[0].result()


def as_process(rank: int, subject: tuple[type[AnyTask], Dataclass], folder: Path) -> list[Line]:
    """Do what process `rank` of two does, and return its record."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in places.items()}
    store = distributed.FileStore(str(folder / "store"), 2)  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=PATIENCE)
    try:
        with isolated(), suppress(Elsewhere):  # the other one says what went wrong
            bench = Bench(*subject)
            bench.task()  # opens the data sets as the first process has, before anything is float64
            return record_run(bench, folder / "two")
        return []
    finally:
        distributed.destroy_process_group()  # the other one notices at once
