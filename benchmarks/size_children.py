"""What sizes.py measures in processes of their own: python benchmarks/size_children.py NAME ARGUMENT..."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from costs import age

PLAIN = ("--optimizer", "adam", "--lr", "1e-3", "--schedule", "constant", "--warmup", "0", "--wandb", "off")


def ours(argv: list[str]) -> None:
    """Ten epochs of crops, from opening the folder on, as the engine gets them."""
    import torch

    from launchbay.data.folder import Folder
    from launchbay.data.loader import TrainingOrder, samples
    from launchbay.data.sources import Source
    from launchbay.launch.engine.batches import to_batch

    root, side, workers, device = Path(argv[0]), int(argv[1]), int(argv[2]), torch.device("cpu")
    begin = time.perf_counter()
    images = Source(Folder, root)("train", crop=side)
    order = TrainingOrder(size=len(images), batch_size=16, steps=range(10 * len(images) // 16), seed=0)
    taken = []
    for batch in samples(images, order, workers=workers, device=device):
        to_batch(batch, device)
        taken.append(time.perf_counter() - begin)
    report(len(images), taken)


def pillow(argv: list[str]) -> None:
    """The same with Image.open and a crop in torch's DataLoader, its workers kept from epoch to epoch."""
    import random

    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    files, side, workers = sorted(Path(argv[0]).iterdir()), int(argv[1]), int(argv[2])
    files = [file for place, file in enumerate(files) if place % 10]

    class Crops(Dataset[Any]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> Any:
            image = Image.open(files[index]).convert("RGB")
            left, top = (random.randint(0, length - side) for length in image.size)
            pixels = np.asarray(image.crop((left, top, left + side, top + side)))
            return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(255)

    begin, taken = time.perf_counter(), []
    loader = DataLoader(Crops(), 16, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=True)
    for _ in range(3):
        for _ in loader:
            taken.append(time.perf_counter() - begin)
    report(len(files), taken)


def report(size: int, taken: list[float]) -> None:
    """Samples/s of the first epoch, of those after it, and of ten of them."""
    first = size // 16
    begin, later = taken[first - 1], (taken[-1] - taken[first - 1]) / (len(taken) - first)
    ten = begin + 9 * first * later
    print(json.dumps({"first": 16 * first / begin, "later": 16 / later, "ten": 160 * first / ten}))


def set_in_memory(argv: list[str]) -> None:
    """A run of 40 steps on `argv[0]` random pictures of 32×32 in memory."""
    import torch

    from launchbay.data.resident import Resident
    from launchbay.launch import train
    from launchbay.launch.config import assembly
    from launchbay.launch.engine.step import Learner

    class Random(Resident):
        def __init__(self, split: str, root: Path | None = None):
            count = int(argv[0]) if split == "train" else 100
            pixels = torch.empty(count, 32, 32, 3, dtype=torch.uint8).random_(256).permute(0, 3, 1, 2)
            super().__init__(pixels, torch.arange(count) % 10, [str(digit) for digit in range(10)])

    opened = Random("train")
    ready = age()
    first, step = [], Learner.step

    def watched(self: Any, *rest: Any) -> Any:
        first.append(age())
        return step(self, *rest)

    def sets(name: str, **how: Any) -> Any:
        return lambda split, root=None: opened if split == "train" else Random(split)

    argv = ["--task", "classify", "--batch-size", "128", "--steps", "40", "--eval-every", "40", *PLAIN]
    with patch.object(Learner, "step", watched), patch.object(assembly, "open_dataset", sets):
        assert train.main(argv) == 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"start": first[0] - ready, "step": 1000 * (first[-1] - first[9]) / 30, "memory": peak,
                      "pictures": opened.pixels.nbytes / 2**20}))  # fmt: skip


def files(argv: list[str]) -> None:
    """A folder of `argv[0]` small pictures, opened: seconds, and MiB more than before."""
    import io

    import torch
    from PIL import Image

    from launchbay.data.folder import Folder

    pixels = torch.empty(32, 32, 3, dtype=torch.uint8).random_(256).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    for number in range(int(argv[0])):
        folder = Path("pictures", f"class{number % 10}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(stream.getvalue())
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter()
    images = Folder("train", Path("pictures"))
    opened = time.perf_counter()
    images.fingerprint()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    print(json.dumps({"open": opened - begin, "fingerprint": time.perf_counter() - opened, "memory": peak}))


if __name__ == "__main__":
    {"ours": ours, "pillow": pillow, "set": set_in_memory, "files": files}[sys.argv[1]](sys.argv[2:])
