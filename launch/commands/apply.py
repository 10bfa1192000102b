"""`launchbay apply RUN IN OUT`: what the network of a trained run makes of pictures."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from launchbay import UserError
from launchbay.data.decode import decode
from launchbay.data.folder import find_pictures
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.engine.batches import to_picture
from launchbay.launch.files import remedy, replacing
from launchbay.tasks.image_to_image import ImageToImage


@torch.no_grad()
def apply_run(
    run: Path, pointer: str, source: Path, target: Path, console: Console, *, name: str | None = None
) -> None:
    """Write what the network of `run` makes of the picture `source`, or of each picture of that folder, to `target`.

    Args:
        name: the task, where that is not installed.
    """
    task, config, accelerator, checkpoint = build_trained(run, pointer, name)
    if not isinstance(task, ImageToImage):
        raise UserError(f"task {config.task!r} does not turn a picture into a picture", "apply is for those that do")
    restore(task, checkpoint, accelerator.device, strict=False)
    for path, written in outputs(source, target):
        picture = to_picture(decode(path)[None].to(accelerator.device))
        if getattr(config.options, "channels", None) == 1:
            picture = picture.mean(dim=1, keepdim=True)
        output = task.restore(picture)[0].clamp(0, 1)
        if len(output) not in (1, 3):
            raise UserError(
                f"task {config.task!r} gives {len(output)} channels", "apply writes grey or colour pictures"
            )
        pixels = (output.expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        try:
            written.parent.mkdir(parents=True, exist_ok=True)
            with replacing(written) as temporary:
                Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)
        except (OSError, ValueError) as error:
            hint = remedy(error) if isinstance(error, OSError) and error.errno else "name another kind of file"
            raise UserError(f"cannot write {written}: {error}", f"{hint}, or another place") from error
        console.print(f"{path} -> {written}  {pixels.shape[1]}×{pixels.shape[0]}", highlight=False, soft_wrap=True)


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
