"""`launchbay apply` beside the same network driven by plain PyTorch: pictures per second, in turns.

    python benchmarks/apply.py RUN [--count 24] [--side 256] [--rounds 5]

RUN is one of superres, denoise or reconstruct. Both read the same PNG files and write the same. `plain` reads a picture
with Pillow, calls the network and saves what it gives.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from skimage import data

from launchbay.launch.commands.inputs import Naming, find_inputs, plan_outputs
from launchbay.launch.commands.restoring import Restoring, Use
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.launch.engine.tiles import find_tiling
from launchbay.tasks.image_to_image import ImageToImage


def plain(task: ImageToImage[object], source: Path, target: Path) -> None:
    """What one writes by hand."""
    for path in sorted(source.iterdir()):
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        output = (task.restore(picture)[0].clamp(0, 1) * 255).round().byte()
        Image.fromarray(output.permute(1, 2, 0).contiguous().numpy()).save(target / path.name)


def ours(use: Use, source: Path, target: Path) -> None:
    """What `launchbay apply` does after it has opened the run."""
    inputs = find_inputs([str(source)])
    use.rehearse(inputs.headers)
    plan, _ = plan_outputs(inputs, target, [""], Naming(existing="overwrite"))
    tiling = find_tiling(use.task, use.pictures, use.channels, use.device)
    Restoring(use, tiling, strip=False, quality=None, console=Console(quiet=True)).run(plan, inputs.headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    for name, default in (("count", 24), ("side", 256), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    task, _, accelerator, checkpoint = build_trained(asked.run, "best", verb="apply")
    restore(task, checkpoint, accelerator.device, strict=False)
    assert isinstance(task, ImageToImage)
    use, ratios = Use(task, 3, accelerator.device), list[float]()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        source, target = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        target.mkdir()
        picture = Image.fromarray(data.astronaut()).resize((asked.side, asked.side))
        for number in range(asked.count):
            picture.rotate(number).save(source / f"{number:03}.png")
        for turn in range(asked.rounds):
            start = time.perf_counter()
            plain(task, source, target)
            middle = time.perf_counter()
            ours(use, source, target)
            seconds = middle - start, time.perf_counter() - middle
            ratios.append(seconds[0] / seconds[1])
            speeds = " ".join(f"{asked.count / each:8.2f}" for each in seconds)
            print(f"round {turn}: plain and ours, pictures/s {speeds}  ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
