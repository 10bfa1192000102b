"""From the command line to a finished run: which task, which options, which hardware, which folder; then the engine."""

import os
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from launchbay import UserError
from launchbay.launch import failure, plugins
from launchbay.launch.config import Config, Shared, check_options, checked, parse, seconds_of, shared_defaults
from launchbay.launch.stopping import Stop

EMBEDDED = {
    "photos": "\nphotos are the few that scikit-image carries; for your own: --data folder --data-root DIR",
    "glyphs": "\nglyphs are digits drawn with one font; for the real thing: --data mnist, --data cifar10",
    "glyphs+photos": "\nthis is what needs no download; for the real thing: --data mixture (MNIST and CIFAR-10)",
}
"""What to say of the data that come along."""


def main(argv: list[str]) -> int:
    """Train as `argv` says. Returns the exit code: 0 done, 1 a bug, 2 the user's mistake, 75 stopped with a checkpoint
    to go on from, 130 ended by Ctrl-C before its first step."""
    try:
        with Stop() as stop:
            run(argv, stop)
        leave_processes()
        return failure.DONE
    except (Exception, KeyboardInterrupt) as error:
        return failure.end(failure.report(error, debug="--debug" in argv))
    except SystemExit as exit:  # tyro has shown help or an error
        code = exit.code if isinstance(exit.code, int) else failure.BUG
        return failure.end(failure.Report(code, shown=main_process()))


def main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def leave_processes() -> None:
    """Let go of the other processes, which would otherwise complain that this one went without a word."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run(argv: list[str], stop: Stop) -> None:
    # Nothing heavy is imported before it is needed: help, and most mistakes, are answered at once.
    name, file, rest = read_first(argv)
    if name is None:
        if not {"--help", "-h"} & set(rest):
            known = ", ".join(plugin.name for plugin in plugins.installed(plugins.TASKS))
            raise UserError("no task was named", f"add --task NAME, one of: {known}. --help tells the rest")
        if main_process():
            from launchbay.launch.listing import show_help

            show_help()
        return
    task_type, default = task_of(name)
    config, changes = parse(default, rest, file, quiet=not main_process())
    if config.shared.max_time:
        stop.limit(seconds_of(config.shared.max_time))
    train(task_type, config, changes, stop)


def task_of(name: str) -> tuple[Any, Config[Any]]:
    """The class of task `name` and its configuration when nothing is said."""
    task_type = plugins.load(plugins.find(plugins.TASKS, name))
    return task_type, default_config(name, task_type)


def default_config(name: str, task_type: Any) -> Config[Any]:
    """The configuration of `task_type` when nothing is said.

    Raises:
        UserError: its options cannot be options of a command line, or its defaults none of theirs.
    """
    from launchbay.tasks.authors import blaming

    options = getattr(task_type, "config_type", None)
    if not isinstance(options, type) or not is_dataclass(options):
        raise UserError(f"{name} is no task with options", "derive it from Task[ItsConfig], a frozen dataclass")
    with blaming(task_type, "defaults"):
        check_defaults(task_type)
        shared = shared_defaults(name, task_type.defaults)
    with blaming(options):
        check_options(name, options)
    if lacking := sorted(getattr(task_type, "__abstractmethods__", ())):
        with blaming(task_type):
            raise UserError(f"{name} has no {' and no '.join(lacking)}", "write it; its base class says what it gives")
    return Config(name, shared, options())


def check_defaults(task_type: Any) -> None:
    """Whether `task_type.defaults` has values of the right types for the options that all tasks share."""
    where, defaults = f"{task_type.__name__}.defaults", task_type.defaults
    if not isinstance(defaults, Mapping):
        raise UserError(
            f"{where} is a {type(defaults).__name__}, not a dict",
            'write it as {"batch_size": 64}: options, their values',
        )
    for option in [field.name for field in fields(Shared) if field.name in defaults]:
        hint = "give it a value of that kind"
        checked(Shared, option, defaults[option], f"{where}: {option}", hint, strict=True)


def read_first(argv: list[str]) -> tuple[str | None, Path | None, list[str]]:
    """(--task or the file's `task:`, --config, the other arguments)."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--task")
    parser.add_argument("--config", type=Path)
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    name = known.task
    if known.config is not None:
        from launchbay.launch.yaml_config import read_task

        name = name or read_task(known.config)
    return name, known.config, rest


def train(task_type: Any, config: Config[Any], changes: list[str], stop: Stop) -> None:
    import torch

    from launchbay.data import key
    from launchbay.launch import hardware
    from launchbay.launch.engine import Engine
    from launchbay.launch.guards import build
    from launchbay.launch.log import log
    from launchbay.launch.run_folder import is_done, open_folder

    shared = config.shared
    accelerator = hardware.start(shared)
    hardware.check_batch(shared, accelerator.num_processes)
    source = open_source(shared, [field.name for field in fields(config.options)])
    config = complete(task_type, config, source)
    torch.manual_seed(key(shared.seed, "weights"))
    engine = Engine(build(task_type, config.options), config, accelerator, source)
    folder = hardware.decide(lambda: open_folder(shared.output_dir, shared.run, config.task))
    with ExitStack() as held:
        start = hardware.decide(lambda: enter(folder, config, engine.fingerprints, engine.steps, held))
        if start is not None:
            engine.restore(start)
        if accelerator.is_main_process:
            data = shared.data if engine.data == shared.validation_data() else engine.data
            print(opening(config, data, accelerator, folder, engine.steps), *changes, sep="\n  ")
            print(*whence(config, engine, start), sep="\n", end="", flush=True)
        if engine.state.step < engine.steps or hardware.decide(lambda: not is_done(folder)):
            opening_line = f"{config.task} from step {engine.state.step} of {engine.steps}"
            held.enter_context(log(folder, accelerator.process_index, opening_line))
            try:
                told = observers(config, folder, engine, stop) if accelerator.is_main_process else []
                engine.fit(folder, told, stop)
            except failure.Stopped:
                accelerator.wait_for_everyone()  # the launcher ends all processes when the first is gone
                raise


def complete(task_type: Any, config: Config[Any], source: Any) -> Config[Any]:
    """`config` with the options that follow from the training pictures, which are opened only if there are any."""
    from launchbay.tasks.authors import a, blaming, check_arguments
    from launchbay.tasks.base import Task

    check_arguments(task_type)
    if task_type.complete.__func__ is Task.complete.__func__:
        return config
    options = task_type.complete(config.options, source.open("train"))
    if not isinstance(options, type(config.options)):
        with blaming(task_type, "complete"):
            raise UserError(f"{task_type.__name__}.complete returns {a(options)}", "return replace(config, ...)")
    return replace(config, options=options)


def whence(config: Config[Any], engine: Any, start: Path | None) -> list[str]:
    """What to say of where the run begins."""
    step, resume = engine.state.step, config.shared.resume
    if start is None:
        return ["no checkpoint to go on from: starts afresh", ""] if config.shared.run else []
    used = resume == "auto" or start.resolve().is_relative_to(Path(resume).resolve())
    said = [] if used else ["--resume is not used: this run has begun already"]
    if step >= engine.steps and not engine.owes_validation:
        return [*said, f"it is finished: {step} steps. More --steps or --epochs would go on", ""]
    return [*said, f"goes on from step {step}: {start}", ""]


def enter(folder: Path, config: Config[Any], data: dict[str, str], steps: int, held: ExitStack) -> Path | None:
    """Make `folder` this process' own, while `held` is open. Returns the checkpoint to go on from, if there is one."""
    from launchbay.launch import checkpoint, resume, run_folder

    held.enter_context(run_folder.lock(folder))
    held.callback(run_folder.remove_unused, folder)
    start = resume.find_start(folder, config.shared.resume)
    if start is not None:
        saved, its_own = checkpoint.verify(start), start.parent == folder / "checkpoints"
        resume.check_same(saved, config.plain(), data, start, steps=None if its_own else steps)
        if its_own:  # the run may have ended before these names were written
            with run_folder.writing(folder):
                checkpoint.point(start, best=saved["progress"]["best"].get("step") == saved["step"])
    return start


def observers(config: Config[Any], folder: Path, engine: Any, stop: Stop) -> list[Any]:
    from launchbay.launch import progress, tracking

    step = engine.state.step
    ahead = (step, "val") if engine.owes_validation else ()  # what happens again, as all that came later
    lines = [line for line in tracking.record(folder, step) if (line["step"], line["split"]) != ahead]
    kept: list[tracking.Observer] = [tracking.Record(folder, config, lines)]
    if config.shared.wandb != "off":
        kept.append(tracking.WandB(folder, config, lines))
    return [*kept, *progress.observers(step, engine.steps, stop.end, str(folder))]


def open_source(shared: Shared, options: Collection[str] = ()) -> Any:
    """The data that the options name, as the `load` of a task (a `launchbay.data.sources.Source`) with `options`."""
    from launchbay.data.sources import Source

    names = [shared.data] + ([shared.validation_data()] if shared.val_data or shared.val_root else [])
    opened = [open_named(name) for name in names]
    return Source(opened[0], shared.data_root, *opened[1:], validation_root=shared.val_root, options=options)


def open_named(name: str) -> Any:
    """The data set called `name`; "A+B" is the pairs of two."""
    names = name.split("+")
    if len(names) > 2 or not all(names):
        raise UserError(f"--data {name} is no pair of data sets", "two can be paired: A+B, such as glyphs+photos")
    opened = [plugins.load(plugins.find(plugins.DATASETS, part)) for part in names]
    if len(opened) == 1:
        return opened[0]
    from launchbay.data.mixture import pair

    return pair(*opened)


def opening(config: Config[Any], data: str, accelerator: Any, folder: Path, steps: int) -> str:
    """The first lines of a run: what, on what data, on what hardware, where."""
    import torch

    on_cpu, processes = accelerator.device.type == "cpu", accelerator.num_processes
    threads = torch.get_num_threads()
    device = f"cpu, {threads} thread{'s' * (threads > 1)}" if on_cpu else str(accelerator.device)
    precision = config.shared.precision or {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    line = (
        f"{config.task} on {data}: {steps} steps of {config.shared.batch_size} samples, "
        f"{processes} process{'es' * (processes > 1)} ({device}), {precision} -> {folder}"
    )
    return line + EMBEDDED.get(data, "")
