"""A finished run, used: its figures on other pictures (`launchbay evaluate`), its network on one's own (`apply`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from torch import Tensor

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.decode import decode
from launchbay.data.folder import find_pictures
from launchbay.launch import checkpoint, hardware
from launchbay.launch.config import Config
from launchbay.launch.evaluation import BASELINE, evaluate, to_picture
from launchbay.launch.guards import build, datasets
from launchbay.launch.progress import results
from launchbay.launch.run_folder import config_file
from launchbay.launch.train import open_source, task_of
from launchbay.launch.yaml_config import read, read_task
from launchbay.tasks.base import ImageToImage, Task


def load_task(run: Path, pointer: str) -> tuple[Task[Any], Config[Any], Accelerator]:
    """The task of `run` on its device in evaluation mode, with the weights of its "best" or "last" checkpoint."""
    file = config_file(run)
    name = read_task(file)
    if name is None:
        raise UserError(f"{file} names no task")
    task_type, default = task_of(name)
    config, _ = read(file, default)
    accelerator = hardware.start(config.shared)  # before the network is built: it decides on float64
    task = build(task_type, config.options)
    checkpoint.load_networks(checkpoint.find(run / "checkpoints", pointer), task.networks())
    hardware.place(task, accelerator.device)
    return task.eval(), config, accelerator


def evaluate_run(run: Path, pointer: str, data: str | None, root: Path | None, console: Console) -> None:
    """Print the figures of `run` on its own validation set, or on all of another one."""
    task, config, accelerator = load_task(run, pointer)
    if data or root:
        config = replace(config, shared=replace(config.shared, val_data=data, val_root=root))
    source = open_source(config.shared)

    def load(split: str, **how: Any) -> ImageSet:
        return source(split, **how) if split == "val" else OnDemand(lambda: source(split, **how))

    images = datasets(task, load)[1]
    figures, _ = evaluate(task, images, accelerator, config.shared.batch_size, config.shared)
    baseline = {name.removeprefix(BASELINE): value for name, value in figures.items() if name.startswith(BASELINE)}
    own = {name: value for name, value in figures.items() if not name.startswith(BASELINE)}
    console.print(results(config.task, own, baseline, task.baseline_name, str(root or config.shared.validation_data())))


@torch.no_grad()
def apply_run(run: Path, pointer: str, source: Path, target: Path, console: Console) -> None:
    """Write what the network of `run` makes of the picture `source`, or of each picture of that folder, to `target`."""
    task, config, accelerator = load_task(run, pointer)
    if not isinstance(task, ImageToImage):
        raise UserError(f"task {config.task!r} does not turn a picture into a picture", "apply is for those that do")
    for path, written in outputs(source, target):
        picture = to_picture(decode(path)[None].to(accelerator.device))
        if getattr(config.options, "channels", None) == 1:
            picture = picture.mean(dim=1, keepdim=True)
        output = task.answer(picture)[0].clamp(0, 1)
        if len(output) not in (1, 3):
            raise UserError(
                f"task {config.task!r} gives {len(output)} channels", "apply writes grey or colour pictures"
            )
        pixels = (output.expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        try:
            written.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(written)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write {written}: {error}", "name another place or kind of file") from error
        console.print(f"{path} -> {written}  {pixels.shape[1]}×{pixels.shape[0]}", highlight=False, soft_wrap=True)


class OnDemand(ImageSet):
    """A data set that is not opened before a picture of it is wanted: training pictures need not be here to evaluate,
    unless figures of theirs are the baseline.
    """

    def __init__(self, open: Callable[[], ImageSet]):
        self.open = cache(open)

    def __len__(self) -> int:
        return len(self.open())

    def image(self, index: int) -> Tensor:
        return self.open().image(index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self.open().__getitems__(indices)


def outputs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Which picture is written where, before anything is: none may be there, and no two may be one."""
    if source.is_dir():
        pairs = [(path, (target / path.relative_to(source)).with_suffix(".png")) for path in find_pictures(source)]
    elif source.is_file():
        pairs = [(source, target / f"{source.stem}.png" if target.is_dir() else target)]
    else:
        raise UserError(f"there is no {source}", "name a picture, or a folder of them")
    taken: set[Path] = set()
    for path, written in pairs:
        if written.exists() or written in taken:
            reason = "more than one picture would become it" if written in taken else "it exists already"
            raise UserError(
                f"{path} would be written to {written}: {reason}", "choose another name; nothing was written"
            )
        taken.add(written)
    return pairs
