"""What a run costs as it grows, one table each. See speed.md for what they said.

    python benchmarks/sizes.py photographs --data DATA    a decode-bound epoch beside a plain loader with Pillow
    python benchmarks/sizes.py memory --data DATA --peers PEERS    the peak resident set of a run on CIFAR-10
    python benchmarks/sizes.py batch | image | set | files         speed, start and memory by size
    python benchmarks/sizes.py many --most 1000000    very many files, packs and parquet (many.py)
    python benchmarks/sizes.py processes --data DATA               two processes of one thread, or one of two

DATA has cifar-10-batches-py, photos_png and photos_jpg (speed.py makes them); PEERS the scripts peer_*.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from costs import ROOT, show
from many import many
from size_children import PLAIN

PEERS = ("torch", "accelerate", "timm")
CHILDREN = str(Path(__file__).with_name("size_children.py"))


def run(argv: list[str], folder: str | Path, **environment: str) -> tuple[float, float, str]:
    """Seconds, peak resident set in MiB (of its largest process) and output of a command."""
    begin = time.perf_counter()
    with (Path(folder) / "output").open("w+") as output:
        started = subprocess.Popen(argv, cwd=folder, stdout=output, stderr=output, env={**os.environ, **environment})
        _, status, used = os.wait4(started.pid, 0)
        seconds = time.perf_counter() - begin
        output.seek(0)
        said = output.read()
    if status:
        sys.exit(said)
    return seconds, used.ru_maxrss / 1024, said


def child(name: str, *argv: str) -> dict[str, Any]:
    """What a measurement of size_children.py says, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(run([sys.executable, CHILDREN, name, *argv], folder)[2].splitlines()[-1])


def train(*argv: str, **environment: str) -> dict[str, float]:
    """Samples/s between the first step and the last, seconds and MiB of a run."""
    with tempfile.TemporaryDirectory() as folder:
        steps = argv[argv.index("--steps") + 1]
        ends = ["--eval-every", steps, "--log-every", steps, "--run", "it"]
        launcher = [*environment.pop("launcher", "").split(), str(ROOT / "launch/run.py")]
        seconds, memory, _ = run([sys.executable, *launcher, *argv, *ends, *PLAIN], folder, **environment)
        lines = [json.loads(line) for line in Path(folder, "runs/it/metrics.jsonl").read_text().splitlines()]
    speed = [line["samples_per_s"] for line in lines if line["split"] == "train"][-1]
    return {"speed": speed, "seconds": seconds, "memory": memory}


def photographs(arguments: argparse.Namespace) -> None:
    rows = []
    for kind in ("jpg", "png"):
        for workers in ("0", "2"):
            for side in ("96", "192"):
                argv = (str(arguments.data.resolve() / f"photos_{kind}"), side, workers)
                found = [(child("ours", *argv), child("pillow", *argv)) for _ in range(arguments.rounds)]
                cells = []
                for part in ("first", "later", "ten"):
                    ours, theirs = (statistics.median(one[n][part] for one in found) for n in (0, 1))
                    ratio = statistics.median(a[part] / b[part] for a, b in found)
                    cells += [f"{ours:.0f}", f"{theirs:.0f}", f"{ratio:.1f}"]
                rows.append([f"{kind}, crops of {side}, {workers} workers", *cells])
    headings = [word for part in ("first epoch", "later epochs", "ten epochs") for word in (part, "Pillow", "ratio")]
    show("photographs, samples/s", ["", *headings], rows)


def memory(arguments: argparse.Namespace) -> None:
    data = str(arguments.data.resolve())
    ours = ["--task", "classify", "--data", "cifar10", "--data-root", data, "--shift", "0", "--rotate", "90"]
    ours += ["--jitter", "0.2", "--batch-size", "128", "--steps", "75"]
    peer = ["--task", "classify", "--data", data, "--batch-size", "128", "--limit", "9600"]
    found: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            empty = run([sys.executable, "-c", "import torch"], folder)[1]
        found.setdefault("import torch", []).append(empty)
        found.setdefault("launchbay", []).append(train(*ours)["memory"])
        for name in PEERS if arguments.peers else ():
            with tempfile.TemporaryDirectory() as folder:
                script = str(arguments.peers.resolve() / f"peer_{name}.py")
                workers = ["--workers", "0"] if name == "timm" else []
                found.setdefault(name, []).append(run([sys.executable, script, *peer, *workers], folder)[1])
    show(
        "peak resident set, MiB", ["", "MiB"], [[name, f"{statistics.median(all):.0f}"] for name, all in found.items()]
    )


def rows_of(arguments: argparse.Namespace, works: dict[str, list[str]]) -> list[list[str]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for _ in range(arguments.rounds):
        for name, argv in works.items():
            found[name].append(train(*argv))
    keys = ("speed", "seconds", "memory")
    return [[n, *(f"{statistics.median(one[k] for one in all):.0f}" for k in keys)] for n, all in found.items()]


def batch(arguments: argparse.Namespace) -> None:
    works = {
        str(size): ["--task", "classify", "--batch-size", str(size), "--steps", str(max(12, 6400 // size))]
        for size in (8, 16, 32, 64, 128, 256, 512)
    }
    show("by batch size (classify on glyphs)", ["batch", "samples/s", "s", "MiB"], rows_of(arguments, works))


def image(arguments: argparse.Namespace) -> None:
    works = {
        str(side): [
            "--task",
            "classify",
            "--data",
            "photos",
            "--size",
            str(side),
            "--batch-size",
            "32",
            "--steps",
            "25",
        ]
        for side in (32, 64, 128, 256)
    }
    show("by image side (classify on photos)", ["side", "samples/s", "s", "MiB"], rows_of(arguments, works))


def set_size(arguments: argparse.Namespace) -> None:
    rows = []
    for count in (1_000, 10_000, 100_000, 1_000_000):
        found = [child("set", str(count)) for _ in range(arguments.rounds)]
        middles = {key: statistics.median(one[key] for one in found) for key in found[0]}
        rows.append([f"{count:,}", f"{middles['start']:.2f}", f"{middles['step']:.1f}", f"{middles['memory']:.0f}"])
        rows[-1].append(f"{middles['pictures']:.0f}")
    headings = ["pictures", "opened to first step, s", "step, ms", "peak, MiB", "of it pictures"]
    show("by size of the data set (classify, 32×32)", headings, rows)


def files(arguments: argparse.Namespace) -> None:
    rows = []
    for count in (1_000, 10_000, 100_000):
        one = child("files", str(count))
        rows.append([f"{count:,}", f"{one['open']:.2f}", f"{one['fingerprint']:.2f}", f"{one['memory']:.0f}"])
    show("by number of files (32×32 PNG)", ["files", "to open, s", "fingerprint, s", "MiB"], rows)


def processes(arguments: argparse.Namespace) -> None:
    data = str(arguments.data.resolve())
    work = ["--task", "classify", "--data", "cifar10", "--data-root", data, "--batch-size", "128", "--steps", "60"]
    two = f"-m accelerate.commands.launch --config_file {ROOT / 'accelerate_configs/multi_cpu.yaml'}"
    rows = []
    for precision in ("fp32", "bf16"):
        argv = [*work, "--precision", precision]
        found = [(train(*argv), train(*argv, launcher=two)) for _ in range(arguments.rounds)]
        speeds = [statistics.median(one[n]["speed"] for one in found) for n in (0, 1)]
        ratio = statistics.median(b["speed"] / a["speed"] for a, b in found)
        whole = statistics.median(b["seconds"] - a["seconds"] for a, b in found)
        rows.append([precision, f"{speeds[0]:.0f}", f"{speeds[1]:.0f}", f"{ratio:.2f}", f"{whole:+.1f}"])
    show("classify, batch 128, samples/s", ["", "1 process", "2 processes", "ratio", "start and end, s"], rows)


def main() -> None:
    tables = {"photographs": photographs, "memory": memory, "batch": batch, "image": image}
    tables |= {"set": set_size, "files": files, "processes": processes, "many": many}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=tables)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--most", type=int, default=200_000)
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tables[arguments.table](arguments)


if __name__ == "__main__":
    main()
