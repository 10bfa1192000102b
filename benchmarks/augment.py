"""What augmentation costs: pictures/s through ours, batched, and through torchvision's v2 transforms, one by one.

    python benchmarks/augment.py              [--size 32] [--batch 128] [--rounds 20]

Both get uint8 pictures in memory and give floating point ones, in turns in one process, on one thread. Ours include the
keys and draws of each sample. See speed.md for what came out.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms import v2

from launchbay.data import Index
from launchbay.data.chains import Degraded, expand
from launchbay.data.loader import TrainingOrder, fetch
from launchbay.data.random_parts import ResizedCrops
from launchbay.data.resident import Resident
from launchbay.launch.distributed.accelerator import tune_malloc
from launchbay.launch.engine.batches import to_batch
from launchbay.tasks.classify import Classify, ClassifyConfig, mix

CPU = torch.device("cpu")
Run = Callable[[], object]


def ours(images: Resident, size: int, batch: int, mixed: bool = False, **options: object) -> Run:
    """Return what gives one batch after the other, augmented by `classify` with `options`."""
    task = Classify(ClassifyConfig(channels=3, size=size, classes=10, **{"shift": 0, "flip": False, **options}))  # pyright: ignore
    order = iter(TrainingOrder(size=len(images), batch_size=batch, steps=range(10**6), seed=0))
    area = options.get("crop_area")
    chosen = ResizedCrops(images, size, area) if area else images  # pyright: ignore

    def run() -> object:
        augmented = task.augment(to_batch(fetch(chosen, next(order)), CPU))
        return mix(augmented, 0.2, 1.0) if mixed else augmented.image

    return run


def theirs(images: Resident, batch: int, transform: Callable[[Tensor], Tensor], mixed: bool = False) -> Run:
    """Return what gives one batch after the other, each picture by itself through `transform`."""
    mixture = v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=10), v2.CutMix(num_classes=10)])
    scale = v2.ToDtype(torch.float32, scale=True)

    def run() -> object:
        places = torch.randint(len(images), (batch,)).tolist()
        whole = torch.stack([scale(transform(images.pixels[place])) for place in places])
        return mixture(whole, images.labels[places]) if mixed else whole

    return run


def rates(pairs: list[Run], batch: int, rounds: int) -> list[float]:
    """Return pictures/s of each of `pairs`, the median of rounds taken in turns."""
    times: list[list[float]] = [[] for _ in pairs]
    for _ in range(rounds + 2):
        for run, found in zip(pairs, times, strict=True):
            begin = time.perf_counter()
            run()
            found.append(batch / (time.perf_counter() - begin))
    return [statistics.median(found[2:]) for found in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    size, batch = arguments.size, arguments.batch
    torch.set_num_threads(1)
    tune_malloc(give_back=False)  # as in a run
    images = Resident(
        torch.randint(0, 256, (1024, 3, size, size), dtype=torch.uint8), torch.arange(1024) % 10, "0123456789"
    )
    same: Callable[[Tensor], Tensor] = lambda picture: picture  # noqa: E731
    rows: dict[str, tuple[Run, Run]] = {
        "nothing": (ours(images, size, batch), theirs(images, batch, same)),
        "crop_area 0.08 1": (
            ours(images, size, batch, crop_area=(0.08, 1.0)), theirs(images, batch, v2.RandomResizedCrop(size))
        ),
        "auto_augment randaugment": (
            ours(images, size, batch, auto_augment="randaugment"), theirs(images, batch, v2.RandAugment())
        ),
        "auto_augment trivialaugment": (
            ours(images, size, batch, auto_augment="trivialaugment"), theirs(images, batch, v2.TrivialAugmentWide())
        ),
        "mixup and cutmix": (ours(images, size, batch, mixed=True), theirs(images, batch, same, mixed=True)),
    }  # fmt: skip
    table = Table(
        "", "ours", "torchvision", "ratio", title=f"pictures/s, {size}×{size}, batches of {batch}, one thread"
    )
    for name, pair in rows.items():
        own, other = rates([*pair], batch, arguments.rounds)
        table.add_row(name, f"{own:,.0f}", f"{other:,.0f}", f"{own / other:.2f}")
    for chain in ("light", "real-esrgan"):
        degraded = Degraded(images, expand([chain]), 4)
        keys = iter(range(10**9))
        run = lambda: degraded.__getitems__([Index(place, next(keys)) for place in range(16)])  # noqa: E731, B023
        table.add_row(f"degrade {chain}", f"{rates([run], 16, arguments.rounds)[0]:,.0f}", "", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
