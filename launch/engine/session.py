"""One run, from its options to its last word: hardware, task, folder, where it starts; then the loop."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from math import inf
from pathlib import Path

import torch
from accelerate import Accelerator

from launchbay import devices, number_of
from launchbay.data import ImageSet, key
from launchbay.data.overlap import find_alike
from launchbay.data.sources import describe_all
from launchbay.data.transforms import Transformed
from launchbay.launch import errors
from launchbay.launch.checkpoint import resume, storage
from launchbay.launch.config.assembly import build_task, infer_options, open_sources
from launchbay.launch.config.data_names import namesake
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.loading import check_used
from launchbay.launch.config.options import AnyConfig, all_of
from launchbay.launch.config.run_options import with_run_folders
from launchbay.launch.distributed.accelerator import check_batch, check_precision, create_accelerator
from launchbay.launch.distributed.collectives import on_main_process, wait_for_all
from launchbay.launch.distributed.machines import check_same_folder
from launchbay.launch.distributed.settings import describe_settings
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.distributed.watchdog import Watch
from launchbay.launch.engine.accumulate import describe_statistics
from launchbay.launch.engine.evaluation import rehearse
from launchbay.launch.engine.loop import Engine
from launchbay.launch.engine.optimizers import has_own_course
from launchbay.launch.engine.start import start_from_weights
from launchbay.launch.files import writing
from launchbay.launch.record import progress, run_folder, trackers, tracking
from launchbay.launch.record.lines import Earlier
from launchbay.launch.record.lock import lock
from launchbay.launch.record.log import log
from launchbay.launch.record.place import staying
from launchbay.launch.record.report.observer import Report
from launchbay.models import checkpoints
from launchbay.tasks.base import AnyTask

EMBEDDED = {
    "photos": "\nphotos are the few that scikit-image carries; for your own: --data DIR",
    "glyphs": "\nglyphs are digits drawn with one font; for the real thing: --data mnist, --data cifar10",
    "glyphs+photos": "\nthis is what needs no download; for the real thing: --data mixture (MNIST and CIFAR-10)",
}
"""Notes on the data that come along, printed where a run begins."""
PIXELS_COMPARED = 50_000_000
"""Of training and validation pictures together, to find those that are alike: a second or two."""
SLOW = 0.9
"""Times as fast as fp32 below which bf16 is said to be slow: closer ones may be chance."""
OWN_COURSE = "the task decides on the course of its learning rates, which may leave --schedule and --warmup out"


def train(task_type: type[AnyTask], config: AnyConfig, changes: list[str], stop: Stop) -> Path:
    """Train `task_type` as `config` says; `changes` are lines on what differs from the defaults. Return the folder.

    Raises:
        UserError: it cannot be trained so.
        Stopped: `stop` has ended it early, with a checkpoint.
    """
    config = with_run_folders(config)
    options = config.train
    tracked, on_trackers = trackers.chosen(options.run, os.environ)
    accelerator = create_accelerator(options)
    check_precision(options, accelerator)
    check_batch(options, accelerator.num_processes)
    sources = open_sources(options.data)
    config = infer_options(task_type, config, next(iter(sources.values())))
    torch.manual_seed(key(options.optimization.seed, "weights"))
    place = accelerator.process_index, accelerator.num_processes
    with Watch(seconds_of(options.run.stuck_after), None, *place, "building the networks"):
        task = build_task(task_type, config.options)
    engine = Engine(task, config, accelerator, sources)
    check_used(sources)
    folder = on_main_process(lambda: run_folder.open_folder(options.run.output_dir, options.run.run, config.task))
    with ExitStack() as stack:
        start = on_main_process(lambda: acquire_run(folder, config, engine.fingerprints, engine.steps, stack))
        check_same_folder(folder, accelerator)
        told = describe_all(sources.values(), choosable=hasattr(config.options, "channels")) + begin(engine, start)
        if accelerator.is_main_process:
            told = [*changes, *told, *on_trackers, *remarks(engine), *(overlaps(engine) if start is None else ())]
            print(run_header(config, engine, folder), *told, sep="\n  ")
            print(*resume_message(config, engine, start), sep="\n", end="", flush=True)
        is_over = engine.is_over() and not engine.validation_pending
        if not is_over or on_main_process(lambda: not run_folder.is_done(folder)):
            first_line = f"{config.task} from step {engine.state.step} of {engine.steps}"
            stack.enter_context(log(folder, accelerator.process_index, first_line))
            fit(engine, folder, observers(config, folder, engine, stop, tracked), stop)
        elif accelerator.is_main_process:
            for tracker in track(tracked, config, folder, Earlier(folder, inf), stop):
                tracker.complete()
    return folder


def fit(engine: Engine, folder: Path, observers: list[tracking.Observer], stop: Stop) -> None:
    """Train to the last step.

    Raises:
        Stopped: `stop` has ended it early; on all processes, once all have come so far.
    """
    try:
        engine.fit(folder, observers, stop)
    except errors.Stopped:
        wait_for_all()  # the launcher ends all processes when the first is gone
        raise


def begin(engine: Engine, start: Path | None) -> list[str]:
    """Bring `engine` to where the run begins: the checkpoint `start`, other weights or none; and try its validation on
    one sample of each set. Returns lines on that.
    """
    accelerator, options = engine.accelerator, engine.options
    networks = engine.learner.networks.values()
    told = engine.learner.told + engine.learner.freeze.describe()
    told += describe_statistics(networks, options.optimization, accelerator.num_processes)
    if start is None:
        told += start_from_weights(engine.task, engine.learner.averages, options.start)
    else:
        engine.restore(start)
    if not engine.is_over() and not engine.validation_pending:
        with engine.learner.evaluating():
            moment = engine.batches.moment(engine.state.step)
            rehearse(engine.task, engine.validation_sets, accelerator, options, moment)
    return told


def remarks(engine: Engine) -> list[str]:
    """Return lines on what is in force that the options do not say, and on what they may be taken to say."""
    data = engine.options.data
    lines = [line for name in (data.data, *all_of(data.val_data)) if (line := namesake(name))]
    own = [OWN_COURSE] * has_own_course(engine.task)
    return [*describe_settings(), *lines, *slow_bf16(engine.accelerator), *(own or long_warmup(engine))]


def long_warmup(engine: Engine) -> list[str]:
    """Say what of the learning rate is reached, where the training ends in its warm-up."""
    warmup, steps = engine.options.optimization.warmup, engine.steps
    if warmup <= steps:
        return []
    return [f"--warmup {warmup} is longer than this training: it ends at {100 * steps / warmup:.3g} % of --lr"]


def slow_bf16(accelerator: Accelerator) -> list[str]:
    """Say by how much a convolution is slower in bf16 than in fp32 on this CPU, if it is.

    GPUs are not measured: they are in use by now.
    """
    if accelerator.device.type != "cpu" or accelerator.mixed_precision != "bf16":
        return []
    speedup = devices.bf16_speedup(accelerator.device)
    said = f"bf16 is slow on this CPU, a convolution {speedup:.2g} times as fast as in fp32: try --precision fp32"
    return [said] if speedup < SLOW else []


def overlaps(engine: Engine) -> list[str]:
    """Say which validation pictures are trained on, as far as that is found at once."""
    training, told = source_of(engine.training_set), []
    for name, images in engine.validation_sets.items():
        validation = source_of(images)
        if pairs := find_alike(validation, training, PIXELS_COMPARED):
            (one, other), count = pairs[0], len(dict(pairs))
            told.append(
                f"note: validation pictures {f'of {name} ' * bool(name)}that are trained on: {count}, such as "
                f"{validation.name(one)}, like {training.name(other)}. Their figures say little of new pictures"
            )
    return told


def source_of(images: ImageSet) -> ImageSet:
    return images.source if isinstance(images, Transformed) else images


def acquire_run(folder: Path, config: AnyConfig, data: dict[str, str], steps: int, stack: ExitStack) -> Path | None:
    """Make `folder` this process' own, while `stack` is open. Returns the checkpoint to go on from, if there is one."""
    stack.enter_context(lock(folder))
    stack.callback(run_folder.remove_unused, folder)
    stack.enter_context(staying(folder))
    start = resume.find_start(folder, config.train.run.resume)
    if start is not None:
        saved, its_own = checkpoints.read_state(start), start.parent == folder / "checkpoints"
        resume.check_same(saved, config.plain(), data, start, steps, its_own=its_own)
        if its_own:  # the run may have ended before these names were written
            with writing(folder):
                storage.update_pointers(start, best=saved.progress.best.get("step") == saved.step)
    return start


def resume_message(config: AnyConfig, engine: Engine, start: Path | None) -> list[str]:
    """Say where the run begins."""
    step, resume = engine.state.step, config.train.run.resume
    if start is None:
        return ["no checkpoint to continue from: starts at step 0", ""] if config.train.run.run else []
    used = resume == "auto" or start.resolve().is_relative_to(Path(resume).resolve())
    said = [] if used else ["--resume is not used: this run has begun already"]
    if engine.is_over() and not engine.validation_pending:
        more = "More --steps or --epochs continue it" if step >= engine.steps else "More --patience continues it"
        return [*said, f"this run is finished, after {number_of(step, 'step')}. {more}", ""]
    return [*said, f"continues from step {step}: {start}", ""]


def observers(
    config: AnyConfig, folder: Path, engine: Engine, stop: Stop, tracked: Mapping[str, str]
) -> list[tracking.Observer]:
    """Return what records and shows the run: nothing on all processes but the main one."""
    if not engine.accelerator.is_main_process:
        return []
    step = engine.state.step
    ahead = (step, "val") if engine.validation_pending else ()  # what happens again, as all that came later
    lines = Earlier(folder, step, ahead)
    kept: list[tracking.Observer] = [tracking.Record(folder, config, lines), Report(folder, step, lines)]
    kept += track(tracked, config, folder, lines, stop)
    return [*kept, *progress.progress_observers(step, engine.steps, stop.end, str(folder))]


def track(
    tracked: Mapping[str, str], config: AnyConfig, folder: Path, lines: Earlier, stop: Stop
) -> list[trackers.Tracked]:
    """Return what keeps a run with the record `lines` in each of the trackers, given by their modes."""
    rows = (sum(1 for _ in lines) if lines.count is None else lines.count) if tracked else 0
    return [
        trackers.Tracked(name, mode, folder, config.plain(), rows=rows, is_stopped=lambda: bool(stop.noted))
        for name, mode in tracked.items()
    ]


def run_header(config: AnyConfig, engine: Engine, folder: Path) -> str:
    """Return the first lines of a run: what, on what data, on what hardware, where."""
    options, accelerator = config.train.data, engine.accelerator
    data = options.data if engine.data == options.validation_data() else engine.data
    on_cpu, processes = accelerator.device.type == "cpu", accelerator.num_processes
    threads = torch.get_num_threads()
    gpu = devices.describe(accelerator.device)
    device = f"cpu, {number_of(threads, 'thread')}" if on_cpu else f"{accelerator.device}, {gpu['gpu']}"
    precision = config.train.hardware.precision or {"no": "fp32"}.get(
        accelerator.mixed_precision, accelerator.mixed_precision
    )
    precision += f" ({gpu['tf32']} in TF32)" if precision == "fp32" and gpu.get("tf32", "nothing") != "nothing" else ""
    line = (
        f"{config.task} on {data}: {number_of(engine.steps, 'step')} of "
        f"{number_of(config.train.optimization.batch_size, 'sample')}, "
        f"{number_of(processes, 'process')} ({device}), {precision} -> {folder}"
    )
    return line + EMBEDDED.get(data, "")
