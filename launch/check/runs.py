"""The contract, part five: whole runs. Compiled, saved and gone on with, on two processes."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from launchbay.launch.check.bench import STEPS, Bench, different, double, layers
from launchbay.launch.check.figures import TOGETHER, monitor_is_a_figure
from launchbay.launch.check.fresh import ask
from launchbay.launch.check.options import options_go_through_yaml
from launchbay.launch.check.results import Broken, NotApplicable, needs
from launchbay.launch.check.same import (
    a_step_repeats_bit_for_bit,
    evaluation_changes_nothing,
    figures_do_not_depend_on_the_batch,
    losses_are_means_over_samples,
)
from launchbay.launch.check.state import Digests, changed, hidden_state, place_of_state, remedy_for
from launchbay.launch.check.steps import (
    a_loss_moves_only_its_network,
    each_parameter_learns,
    losses_keep_their_order,
    networks_are_only_called,
)
from launchbay.launch.check.watched import losses
from launchbay.launch.checkpoint.writer import Saver
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.engine.freeze import set_mode
from launchbay.launch.engine.loop import Engine
from launchbay.launch.record.lines import Line
from launchbay.launch.record.lock import lock
from launchbay.launch.record.tracking import Observer
from launchbay.models import checkpoints
from launchbay.tasks.places import Place

TOLERANCE, TOLERANCE_OF_BATCHNORM = 1e-9, 1e-6
TIE = "tie them in __init__: a checkpoint has one of them, and an optimizer the other"


@needs(a_step_repeats_bit_for_bit)
def networks_can_be_compiled(bench: Bench) -> None:
    """With --compile the losses stay what they are.

    Keep what torch.compile cannot trace (numpy, printing, Python state) out of a network's forward.
    """
    plain, compiled = bench.task().eval(), bench.task().eval()
    torch.compiler.reset()
    for network in compiled.networks().values():
        network.compile(backend="eager")  # it is the tracing that may break, not what is made of it
    pairs = zip(losses(plain, bench.whole_batch()), losses(compiled, bench.whole_batch()), strict=True)
    for (name, terms, place), other in pairs:
        for term, value in terms.items():
            if not torch.allclose(value, other.terms[term], rtol=1e-4, atol=1e-6):
                raise Broken(f"{name}/{term} is {value:.6g}, compiled {other.terms[term]:.6g}", place)


@needs(a_step_repeats_bit_for_bit, losses_keep_their_order, a_loss_moves_only_its_network)
def a_checkpoint_holds_everything(bench: Bench) -> None:
    """Saved, loaded into a new task, the next step ends with the same bits, and tied weights are still tied.

    All that changes in training has to be in `state_dict()`: a parameter, or a tensor given to register_buffer. What
    depends on the step alone follows from `batch.step` and `batch.progress`.
    """
    first, second = bench.learner(), bench.learner()
    at_start = hidden_state(first.task)
    with tempfile.TemporaryDirectory() as folder:
        first.use(first.wrapped, training=True)
        for number in (1, 2):
            first.step(number, [bench.whole_batch(number)])
        if late := [names for names in tied(first.task) if names not in tied(second.task)]:
            raise Broken(f"{' and '.join(late[0])} are tied in training, and not before", bench.place("__init__"), TIE)
        with closing(Saver(Path(folder), first.trained_state, keep=1)) as saver:
            saver.save(2, {"config": {"task": bench.config.task}, "progress": {"step": 2}, "data": {}}, best=False)
            saver.finish()
        second.restore(checkpoints.OpenedCheckpoint(checkpoints.newest_checkpoint(Path(folder))), None)
    second.use(second.wrapped, training=True)
    for learner in (first, second):
        learner.step(3, [bench.whole_batch(3)])
    difference = different(first.task.state_dict(), second.task.state_dict())
    check_hidden_state(first.task, at_start, hidden_state(second.task), difference)
    if difference:
        raise Broken(f"one step after a checkpoint {difference}", bench.place("training_step", "loss"))
    if tied(first.task) != tied(second.task):
        raise Broken("weights are tied before, and not after", bench.place("__init__"))


def check_hidden_state(task: nn.Module, at_start: Digests, resumed: Digests, difference: str) -> None:
    """Raise Broken if `task`, trained since `at_start`, has state beside `state_dict()` that differs from that of the
    `resumed` one. What a step only lays by, until its end, is the same in both.
    """
    now = hidden_state(task)
    lost = [name for name in changed(resumed, now) if name in changed(at_start, now)]
    if lost:
        named = " and ".join(f"`{name}`" for name in lost[:3])
        verb = "change" if len(lost) > 1 else "changes"
        happened = (
            f"{named} {verb} in training, but state_dict() does not hold it: a run that goes on starts with a new one"
        )
        happened += f", and one step later {difference}" if difference else ""
        raise Broken(happened, place_of_state(task, lost[0]), remedy_for(task, lost[0]))


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
        fit(bench.engine(), whole)
        second = bench.engine()
        second.restore(whole / f"checkpoints/step-{STEPS // 2:08d}")
        fit(second, again)
        files = sorted((whole / f"checkpoints/step-{STEPS:08d}").glob("*.safetensors"))
        for file in files:
            if difference := different(load_file(file), load_file(again / file.relative_to(whole))):
                name, reason = set_by_evaluation(bench)
                place = place_of_state(bench.task(), name) if name else None
                raise Broken(f"{file.name}: {difference}{reason}", place or bench.place("training_step", "loss"))


def set_by_evaluation(bench: Bench) -> tuple[str, str]:
    """Return the first part of the task's state that evaluation changes, and a clause that says so."""
    task = bench.task().eval()
    before = hidden_state(task)
    with torch.no_grad():
        task.evaluate(bench.batch(TOGETHER, images=bench.evaluable))
    found = changed(before, hidden_state(task))
    return (found[0], f"; `{found[0]}` is another one after evaluate") if found else ("", "")


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
    """In float64, two processes have the same state, and the losses and figures of one, to 1e-9 (where a network has
    BatchNorm: with --sync-batchnorm, to 1e-6).

    Nothing may depend on which samples a process has: look for what is counted, kept or drawn per process.
    """
    bench.probed.values()  # or another process cannot import it
    two = on_two_processes(bench)
    if draws_in_training(bench):
        raise NotApplicable("a network draws random numbers in training (Dropout), on each process others")
    with tempfile.TemporaryDirectory() as folder:
        one = record_run(bench, Path(folder))
    tolerance = TOLERANCE if not layers(bench.task(), _BatchNorm) else TOLERANCE_OF_BATCHNORM
    for mine, theirs in zip(one, two, strict=True):
        for name, value in mine.items():
            if isinstance(value, float) and abs(value - theirs[name]) > tolerance * max(1, abs(value)):
                happened = f"{name} at step {mine['step']} is {value:.12g} on one and {theirs[name]:.12g} on two"
                raise Broken(happened, bench.place("training_step", "loss"))


def draws_in_training(bench: Bench) -> bool:
    """Return whether a step draws from the process' own generator, as Dropout does: then nothing could be compared."""
    task, before = bench.task(), torch.get_rng_state()
    set_mode(task, training=True)
    losses(task, bench.whole_batch())
    return not torch.equal(before, torch.get_rng_state())


def fit(engine: Engine, folder: Path, observers: Sequence[Observer] = ()) -> None:
    """Train in `folder`, which becomes the folder of a run."""
    with ExitStack() as stack:
        if engine.accelerator.is_main_process:
            folder.mkdir(exist_ok=True)
            stack.enter_context(lock(folder))
        engine.fit(folder, observers, Stop())


def record_run(bench: Bench, folder: Path) -> list[Line]:
    """Return the losses and figures of a short run in float64."""
    lines = RecordInMemory()
    with double():
        engine = bench.engine(precision="fp64", sync_batchnorm=True)
        fit(engine, folder, [lines] if engine.accelerator.is_main_process else [])
    return lines.lines


def on_two_processes(bench: Bench) -> list[Line]:
    """Return the losses and figures of the same run on two processes."""
    answers = ask("second", 2, bench.task_type, bench.config)
    if died := [answer["died"] for answer in answers if "died" in answer]:
        raise Broken(f"one of two processes ended without a result: {died[0]}")
    if wrong := [answer for answer in answers if "at" in answer]:
        first = min(wrong, key=lambda answer: answer["at"])  # the other one may only have noticed
        place = Place(*first["place"]) if first["place"] else bench.place("training_step", "loss")
        raise Broken(f"on two processes: {first['happened']}", place, first["remedy"])
    return answers[0]["lines"]
