"""`launchbay apply RUN IN… OUT`: what a trained run makes of pictures, says of them, or draws."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from rich.console import Console

from launchbay import UserError
from launchbay.data.words import listed
from launchbay.launch.commands.answering import TOP, show, tell
from launchbay.launch.commands.drawing import Wanted, draw
from launchbay.launch.commands.inputs import Input, Inputs, Naming, find_inputs, plan_outputs
from launchbay.launch.commands.picture_files import kind_of
from launchbay.launch.commands.restoring import Restoring, Use
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.distributed.collectives import gather_lists, on_main_process, raise_on_all
from launchbay.launch.engine.tiles import Tiling, find_tiling
from launchbay.launch.files import Json
from launchbay.launch.record.run_folder import read_summary
from launchbay.models.reading import Unfit
from launchbay.tasks.answers import Classes, Pictures
from launchbay.tasks.base import AnyTask, Task
from launchbay.tasks.generative import Generative

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class How:
    """What the command line says beside the run and the pictures; None is what it leaves out."""

    tile: int | None = None
    quality: int | None = None
    suffix: str | None = None
    existing: Literal["overwrite", "skip"] | None = None
    strip: bool | None = None
    precision: str | None = None
    top: int | None = None
    form: Literal["json", "csv"] | None = None
    count: int | None = None
    label: str | None = None
    seed: Sequence[int] | None = None

    def check_used(self, by: str, *used: str) -> None:
        """Raise a UserError if it says something else than `used`, which is what a task can use."""
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in used:
                flag = {"existing": f"{self.existing}", "form": f"{self.form}"}.get(field.name, field.name)
                said = f"--{flag.replace('skip', 'skip-existing')} changes nothing: {by}"
                flags = ", ".join(map(flag_of, used))
                flags = flags if "count" not in used else flags.replace(", --skip-existing", "")  # of pictures drawn
                raise UserError(said, f"leave it out; of use are {flags}")


def flag_of(name: str) -> str:
    return {"existing": "--overwrite, --skip-existing", "form": "--json, --csv"}.get(name, f"--{name}")


def open_run(
    run: Path, pointer: str, name: str | None = None, argv: Sequence[str] | Json = (), precision: str | None = None
) -> tuple[Use, AnyConfig, Accelerator]:
    """Return the task of `run` in use, restored from the "best" or "last" checkpoint, the run's configuration, and what
    the processes are.

    Args:
        name: the task, where that is not installed.
        argv: options of the task for its use, as on the command line or by their names.

    Raises:
        UserError: it cannot be used, or not in that `precision`.
    """
    task, config, accelerator, checkpoint = build_trained(run, pointer, name, argv=argv, verb="apply")
    restore(task, checkpoint, accelerator.device, strict=False)
    channels = getattr(config.options, "channels", None) or 3
    return Use(task, channels, accelerator.device, PRECISIONS[precision or "fp32"]), config, accelerator


def check_answers(task: AnyTask, name: str) -> None:
    """Raise a UserError if the task `name` does not say what it makes of a picture."""
    if type(task).reply is Task.reply:
        said = f"task {name!r} does not say what it makes of a picture"
        raise UserError(said, "its author can: give it the method reply(image), which Task describes")


@torch.no_grad()
def apply_run(
    run: Path,
    pointer: str,
    paths: Sequence[str],
    how: How,
    console: Console,
    *,
    name: str | None = None,
    argv: Sequence[str] = (),
) -> bool:
    """Write, or show, what the trained `run` makes of the pictures `paths`, of which the last is where to write it.
    Return whether it could do so with all of them.

    Args:
        name: the task, where that is not installed.
        argv: options of the task.
    """
    use, config, accelerator = open_run(run, pointer, name, argv, how.precision)
    task = use.task
    classes = classes_of(run)
    if isinstance(task, Generative):
        how.check_used(f"{config.task} draws pictures", "count", "label", "seed", "quality", "existing")
        if accelerator.num_processes > 1:
            raise UserError(f"{config.task} draws pictures, in one process", "leave --processes out")
        if len(paths) > 1:
            raise UserError(f"{config.task} draws pictures and takes none", "name one file or folder to write")
        if how.existing == "skip":
            raise UserError("--skip-existing is for pictures that are made of pictures", "leave it out")
        wanted = Wanted(how.count, how.label, how.seed or (0,), how.existing == "overwrite", how.quality)
        draw(task, classes, Path(paths[0]), wanted, console)
        return True
    check_answers(task, config.task)
    return answer_pictures(use, accelerator, config.task, classes, paths=paths, how=how)


def answer_pictures(
    use: Use, accelerator: Accelerator, named: str, classes: Sequence[str], *, paths: Sequence[str], how: How
) -> bool:
    """Write, or show, what the task `named` so makes of pictures; with several processes each makes a share, as the
    main one plans it. Return whether all of them could be read.
    """
    plan = on_main_process(lambda: prepare(use, named, paths, how))
    share = accelerator.process_index, accelerator.num_processes
    console = Console()
    if plan.targets is None:
        top = how.top or TOP
        mine, unread = raise_on_all(lambda: tell(use, plan.inputs, classes, top, share), accelerator)
        verdicts, damaged = gather_lists(mine), gather_lists(unread)
        if accelerator.is_main_process:
            order = {one.path: place for place, one in enumerate(plan.inputs.headers)}
            show(sorted(verdicts, key=lambda verdict: order[verdict.path]), how.form or "table", console)
    else:
        assert plan.tiling is not None
        restoring = Restoring(use, plan.tiling, bool(how.strip), how.quality, console)
        targets, headers = plan.targets, plan.inputs.headers
        damaged = gather_lists(raise_on_all(lambda: restoring.run(targets, headers, share), accelerator))
    damaged = [*plan.inputs.damaged, *damaged]
    if accelerator.is_main_process and damaged:
        say([f"{len(damaged):,} left out:", *damaged])
    return not damaged


@dataclass(frozen=True)
class Plan:
    """Which pictures are used; where pictures are made of them, the files to write and how large ones are tiled."""

    inputs: Inputs
    targets: Mapping[Input, Mapping[str, Path]] | None = None
    tiling: Tiling | None = None


def prepare(use: Use, named: str, paths: Sequence[str], how: How) -> Plan:
    """Return what is to be done with `paths`; nothing is written before all of it is known to be right.

    Raises:
        UserError: something is not.
    """
    inputs = find_inputs(paths[:-1] or paths)
    if not inputs.headers:
        raise UserError(listed(inputs.damaged), "name pictures that can be read")
    answer = use.rehearse(inputs.headers)
    if isinstance(answer, Classes):
        how.check_used(f"{named} tells pictures apart", "top", "form", "precision")
        if len(paths) > 1:
            inputs = find_inputs(paths)
            use.rehearse(inputs.headers)
        say(inputs.remarks)
        return Plan(inputs)
    used = "tile", "quality", "suffix", "existing", "strip", "precision"
    how.check_used(f"{named} makes pictures of pictures", *used)
    return plan_pictures(use, answer, inputs, paths, how)


def say(lines: Sequence[str]) -> None:
    """Print `lines` beside the output, which may be read by a program."""
    for line in lines:
        Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def plan_pictures(use: Use, answer: Pictures, inputs: Inputs, paths: Sequence[str], how: How) -> Plan:
    """Return how pictures are made of `inputs`, and written to the last of `paths`."""
    if len(paths) < 2:
        raise UserError(f"where is what is made of {paths[0]} to be written?", "name a file or a folder after it")
    out, console = Path(paths[-1]), Console()
    if paths[-1].endswith(("/", os.sep)):
        inputs = replace(inputs, folder=True)
    plan, skipped = plan_outputs(inputs, out, list(answer.by_name), Naming(how.suffix, how.existing))
    targets = [target for each in plan.values() for target in each.values()]
    if how.quality and targets and not any(kind_of(target).lossy for target in targets):
        kind = "add --suffix .jpg" if inputs.folder or out.is_dir() else "name a file with such an ending"
        raise UserError(f"--quality {how.quality} is for .jpg, .webp and .avif", f"leave it out, or {kind}")
    tiling = find_tiling(use.task, use.pictures, use.channels, use.device, how.tile or 0)
    say(inputs.remarks)
    if not tiling.local:
        said = "a pixel of its output can depend on the whole picture: "
        kind = "seams may show between tiles" if how.tile else "no tiles are made, unless --tile N asks for them"
        console.print(f"note: {said}{kind}", highlight=False, soft_wrap=True)
    if skipped:
        console.print(f"{skipped:,} left out, which are there already", highlight=False, soft_wrap=True)
    return Plan(inputs, plan, tiling)


def classes_of(run: Path) -> list[str]:
    """Return the names of the classes that `run` was trained on, as its summary has them; none if it has not."""
    try:
        return list(read_summary(run).classes)
    except Unfit:
        return []
