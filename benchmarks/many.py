"""What very many pictures cost, by where they lie. See speed.md for what it said.

    python benchmarks/sizes.py many --most 1000000    (--least 1000000: no fewer)

For each number of 16×16 PNGs, from a folder, a pack and a file of Parquet: the first start and a later one, in CPU
seconds of a process of its own, from opening to a fingerprint; MiB of memory that others do not share; 2,000 random
decodes; samples per CPU second in batches of 64, without workers. Files are read once before: the disk is warm.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from costs import show

KINDS = ("folder", "pack", "parquet")


def pictures(count: int) -> Any:
    """Give the name and the content of each of `count` pictures, of which 2,000 differ."""
    import numpy as np
    from PIL import Image

    random, files = np.random.default_rng(0), list[bytes]()
    for _ in range(min(count, 2000)):
        stream = io.BytesIO()
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((16, 16)).save(stream, "png")
        files.append(stream.getvalue())
    return ((f"{number % 10}/{number:07}.png", files[number % 2000]) for number in range(count))


def write(kind: str, count: int, target: Path) -> None:
    if kind == "folder":
        for number in range(10):
            (target / str(number)).mkdir(parents=True)
        for name, content in pictures(count):
            (target / name).write_bytes(content)
    elif kind == "parquet":
        from datasets import ClassLabel, Dataset, Features, Image

        def rows() -> Any:
            for name, content in pictures(count):
                yield {"image": {"bytes": content, "path": name}, "label": int(name[0])}

        features = Features(image=Image(), label=ClassLabel(names=[str(number) for number in range(10)]))
        target.parent.mkdir(exist_ok=True)
        Dataset.from_generator(rows, features, cache_dir=str(target.parent / "cache")).to_parquet(target)
    else:
        from launchbay.data.folder import Folder
        from launchbay.data.packing import write_pack

        target.mkdir()
        source = target.with_name("folder")
        write_pack({split: Folder(split, source) for split in ("train", "val")}, "many", target)


def unshared() -> float:
    """MiB of this process that are no mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(path: str) -> None:
    import numpy as np
    import torch

    from launchbay.data.files import Files
    from launchbay.data.loader import TrainingOrder, samples
    from launchbay.launch.config.assembly import open_dataset

    opener = open_dataset(path)
    if path.endswith(".parquet"):
        import_module("datasets")  # not a part of opening
    before, begin = unshared(), os.times()
    images = opener("train", None)
    images.fingerprint()
    end = os.times()
    found = {"start": end.user + end.system - begin.user - begin.system, "memory": unshared() - before}
    if isinstance(images, Files):
        images.kept = None
    begin = time.process_time()
    for index in np.random.default_rng(1).integers(0, len(images), 2000).tolist():
        images.image(index)
    found["decodes"] = time.process_time() - begin
    order = TrainingOrder(size=len(images), batch_size=64, steps=range(100), seed=0)
    begin = time.process_time()
    for _ in samples(images, order, workers=0, device=torch.device("cpu")):
        pass
    found["samples"] = 6400 / (time.process_time() - begin)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def child(*argv: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1]) if argv[0] == "measure" else {}


def main() -> None:
    """Do in a process of its own what `many` asks for."""
    if sys.argv[1] == "measure":
        measure(sys.argv[2])
    else:
        write(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))


def many(arguments: argparse.Namespace) -> None:
    rows = list[list[str]]()
    for count in (1_000, 20_000, 200_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
            for kind in KINDS if arguments.least <= count <= arguments.most else ():
                path = f"{folder}/many.parquet" if kind == "parquet" else f"{folder}/{kind}"
                child("write", kind, str(count), path)
                first = child("measure", path)
                later = [child("measure", path) for _ in range(arguments.rounds)]
                middles = {name: statistics.median(one[name] for one in later) for name in first}
                row = [f"{count:,} {kind}", f"{first['start']:.2f}", f"{middles['start']:.2f}"]
                row += [f"{middles['memory']:.0f}", f"{middles['decodes']:.2f}", f"{middles['samples']:.0f}"]
                rows.append(row)
                print(*row, flush=True)
    headings = ["pictures", "first start, CPU s", "later", "MiB", "2,000 decodes, CPU s", "samples per CPU s"]
    show("very many pictures of 16×16", headings, rows)


if __name__ == "__main__":
    main()
