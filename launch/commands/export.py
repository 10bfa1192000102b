"""`launchbay export RUN OUT`: a run for other tools. OUT's ending says as what."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from launchbay import UserError, printable
from launchbay.launch.commands import export_folder, export_push
from launchbay.launch.commands.apply import classes_of
from launchbay.launch.commands.export_weights import SUFFIX, metadata_of, read_weights, write_weights
from launchbay.launch.commands.licenses import LICENSES
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import remedy, replacing
from launchbay.launch.record.run_folder import config_file
from launchbay.models import checkpoints
from launchbay.tasks.base import AnyTask

GRAPHS = (".onnx", ".pt2")
KINDS = f"{SUFFIX} (weights), .onnx or .pt2 (a graph), or a folder with a model card, OUT/"


@dataclass(frozen=True)
class How:
    """What the command line says beside the run and where to write; None is what it leaves out."""

    pointer: str = "best"
    task: str | None = None
    """Where that is not installed."""
    license: str | None = None
    push: str | None = None
    """The repository of the Hugging Face hub to make, OWNER/NAME."""


def export_run(run: Path, target: str | None, how: How, console: Console) -> None:
    """Write `run` to `target`, a new file or folder, whose ending says as what. By default that is a file of weights in
    this folder, or with `how.push` a folder.

    Raises:
        UserError: `run` is no run or has no intact checkpoint; or the file is there already, would be of another kind,
            cannot be written, or would not give what the network gives.
    """
    name = run.resolve().name
    target = target or (f"{name}/" if how.push else f"{name}{SUFFIX}")
    kind = kind_of(target)
    check_used(how, kind)
    check_license(how.license)
    out = Path(target)
    check_new(out, kind)
    mode = config_file(run).stat().st_mode
    if kind == SUFFIX:
        weights = read_weights(checkpoints.find_checkpoint(run / "checkpoints", how.pointer))
        write_weights(out, weights.tensors, weights.metadata, mode)
        say(console, f"{out}: {weights.about}")
    elif kind in GRAPHS:
        export_graph(run, out, kind, how, console)
    else:
        if how.push:
            export_push.check_repository(how.push)
        best = how.pointer == "best"
        export_folder.write_folder(run, out, open_trained(run, how), license=how.license, best=best, mode=mode)
        say(console, f"{out}/: {', '.join(sorted(path.name for path in out.iterdir()))}")
        if how.push:
            say(console, export_push.push(out, how.push))


def kind_of(target: str) -> str:
    """Return the ending of a file to write, "" for a folder.

    Raises:
        UserError: nothing of that kind is written.
    """
    suffix = "" if target.endswith(("/", os.sep)) or Path(target).is_dir() else Path(target).suffix.lower()
    if suffix in ("", SUFFIX, *GRAPHS):
        return suffix
    hint = f"it ends in one of: {KINDS}"
    if suffix in (".pth", ".pt", ".ckpt", ".bin"):
        hint = f"name {Path(target).with_suffix(SUFFIX)}: it holds the same and no code, and other tools load it too"
    raise UserError(f"{target}: export writes no {suffix}", hint)


def check_used(how: How, kind: str) -> None:
    """Raise a UserError if something was given that a file of this `kind` has no use for."""
    unused = [("task", how.task)] if kind == SUFFIX else []
    unused += [("license", how.license), ("push", how.push)] if kind else []
    for name, value in unused:
        if value is not None:
            only = "weights are copied as they are" if name == "task" else "it is for a folder, OUT/"
            raise UserError(f"--{name} {value} changes nothing: {only}", "leave it out, or name a folder")


def check_license(license: str | None) -> None:
    """Raise a UserError if this is no licence that the hub knows."""
    if license is not None and license not in LICENSES:
        near = did_you_mean(license, LICENSES)
        hint = "name one as the hub does, such as mit, apache-2.0 or cc-by-4.0; other is for one that it does not know"
        raise UserError(f"--license {license} is none that the Hugging Face hub knows{near}", hint)


def check_new(out: Path, kind: str) -> None:
    """Raise a UserError if there is something at `out` already; a folder may be, if it is empty."""
    if os.path.lexists(out) and (kind or not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already", "name another, or remove it; nothing was written")


def open_trained(run: Path, how: How) -> tuple[AnyTask, AnyConfig, Path]:
    """Return the trained task of `run` on the CPU, in single precision and in evaluation mode, its options, and the
    checkpoint that its weights are from.
    """
    task, config, _, checkpoint = build_trained(run, how.pointer, how.task, verb="export")
    restore(task, checkpoint, torch.device("cpu"), strict=False)
    torch.set_default_dtype(torch.float32)  # where it was trained in double precision
    return task.float().requires_grad_(False), config, checkpoint


def export_graph(run: Path, out: Path, kind: str, how: How, console: Console) -> None:
    """Write what `run` makes of pictures, or draws, as a graph that needs nothing of ours, and check it."""
    from launchbay.launch.commands.export_files import check_installed, write_graph
    from launchbay.launch.commands.export_graph import graph_of

    if kind == ".onnx":
        check_installed()
    task, config, checkpoint = open_trained(run, how)
    graph = graph_of(task, config.options)
    metadata = metadata_of(checkpoints.read_state(checkpoint))
    if "label" in graph.inputs or "probabilities" in graph.outputs:
        metadata["classes"] = json.dumps(classes_of(run))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            made = write_graph(graph, temporary, metadata, partial(say, console))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error}", f"{remedy(error)}, or name another place") from error
    if made.refused:
        say(console, f"the network does not allow that {made.refused[0]}")
    for name, about in graph.inputs.items():
        say(console, f"{out}: {name} {about} -> {', '.join(graph.outputs)}; {made.sizes.said}")
    program = "onnxruntime" if kind == ".onnx" else "torch.export.load"
    say(console, f"checked with {program}: {'; '.join(made.checks)}; differs by at most {made.difference:.1e}")


def say(console: Console, line: str) -> None:
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
