"""What launchbay is worth on one GPU, one table for each part. Nobody has run it on a GPU yet.

    python benchmarks/gpu/measure.py --data-root DATA                  all parts, half an hour on a recent GPU
    python benchmarks/gpu/measure.py speed cifar --data-root DATA      some of them
    python benchmarks/gpu/measure.py --commands                        what would be run, and nothing else
    python benchmarks/gpu/measure.py alike speed --small               in a minute, and on a CPU too: does it work?

    command   README's command, beside the figure that README has of a CPU
    tests     the fast tests
    alike     whether a GPU draws and learns what a CPU does, what a step waits for, and NCCL with one process
    speed     samples per second and memory by precision, --compile and --cuda-graphs
    resident  pictures on the GPU, beside those that loader workers hand over
    save      how long training waits for a checkpoint
    cifar     CIFAR-10 to 94 %, beside what airbench takes (pip install airbench, or else its published time)

DATA is a folder with CIFAR-10 as torchvision lays it out; without --data-root it is downloaded. Each command is a
process of its own, in a folder that is removed.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).with_name("alike.py")
README = {"psnr_y": 31.8352, "ssim_y": 0.8062}
"""What README's command reaches on a CPU."""
AIRBENCH = "3.83 s on an A100, as published for airbench94 (arXiv 2404.00498), after a warm-up"
WANTED = 0.94
SMALL = ("--steps", 4)
RUNNING = "import time, airbench; airbench.warmup94(); t = time.time(); print(airbench.train94(), time.time() - t)"


@dataclass
class Bench:
    """How the parts are measured."""

    small: bool
    only_commands: bool
    data: list[str]
    console: Console = field(default_factory=lambda: Console(soft_wrap=True))

    def do(self, words: list[str]) -> str:
        """Return what a command prints; with --commands only show it."""
        if self.only_commands:
            self.console.print(shlex.join(words), highlight=False, markup=False)
            return ""
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.stdout + done.stderr if done.returncode == 0 else f"failed: {last_line(done.stdout + done.stderr)}"

    def train(
        self, *options: object, length: tuple[object, ...] = (), before: tuple[str, ...] = ("launchbay", "train")
    ) -> dict[str, Any]:
        """Return the summary of a training, with its record as "lines", and what it "said". `length` are options on how
        long it is."""
        with tempfile.TemporaryDirectory() as folder:
            more = ("--output-dir", folder, "--run", "it", "--wandb", "off", *(SMALL if self.small else length))
            said = self.do([*before, *map(str, (*options, *more))])
            summary = Path(folder, "it", "summary.json")
            found = json.loads(summary.read_text()) if summary.is_file() else {}
            lines = Path(folder, "it", "metrics.jsonl")
            found["lines"] = [json.loads(line) for line in lines.read_text().splitlines()] if lines.is_file() else []
            return {**found, "said": said}

    def show(self, title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        if self.only_commands:
            return
        table = Table(*headings, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


def last_line(text: str) -> str:
    """The line that says most of why something failed: the first of a panel, or the last."""
    lines = [line.strip("│ ") for line in text.splitlines() if line.strip()]
    panel = [line.strip("│ ") for line in text.splitlines() if line.startswith("│")]
    return (panel or lines[-1:] or ["nothing was said"])[0]


def number(value: object, form: str = ",.0f") -> str:
    return format(value, form) if isinstance(value, int | float) else "failed"


def command(bench: Bench) -> None:
    """README's command, as it stands there."""
    launch = ("accelerate", "launch", "--config_file", "accelerate_configs/single_gpu.yaml", "launch/run.py", "--task")
    rows = list[tuple[str, ...]]()
    for options in ((), ("--precision", "bf16")):
        begin = time.monotonic()
        found = bench.train("superres", *options, before=launch)
        taken = time.monotonic() - begin
        figures = [number(found.get("final", {}).get(name), ".4f") for name in README]
        rows.append((" ".join(options) or "as it is", f"{taken:.0f}", number(found.get("samples_per_s")), *figures))
    rows.append(("README, 2 CPU cores", "120 to 180", "", *(f"{value:.4f}" for value in README.values())))
    bench.show("README's command", ("options", "seconds in all", "samples/s", *README), rows)


def tests(bench: Bench) -> None:
    """The fast tests: most of them compute on the GPU where there is one."""
    begin = time.monotonic()
    said = bench.do([sys.executable, "-m", "pytest", "-q", *(["tests/test_noise.py"] if bench.small else [])])
    counted = re.findall(r"\d+ (?:passed|failed|errors?)", said)
    rows = [(", ".join(counted) or said, f"{time.monotonic() - begin:.0f}")]
    bench.show("the fast tests", ("outcome", "seconds"), rows)


def alike(bench: Bench) -> None:
    """What can be found out in one process."""
    said = bench.do([sys.executable, str(HERE), *(["--small"] if bench.small else [])])
    rows = [tuple(json.loads(line)) for line in said.splitlines() if line.startswith("[")]
    bench.show("alike", ("what", "found", "wanted"), rows or [("alike.py", said, "")])


VIT = "timm/vit_tiny_patch16_224"
WORK: dict[str, tuple[object, ...]] = {
    "superres srresnet": ("superres", "--batch-size", 64),
    "superres srcnn": ("superres", "--model", "srcnn", "--batch-size", 64),
    "denoise unet": ("denoise", "--data", "cifar10", "--batch-size", 256),
    "classify resnet9": ("classify", "--data", "cifar10", "--model", "resnet9", "--batch-size", 512),
    "classify vit_tiny": ("classify", "--data", "cifar10", "--model", VIT, "--size", 224, "--batch-size", 64),
    "vae": ("vae", "--data", "glyphs", "--batch-size", 256),
}
WAYS: dict[str, tuple[object, ...]] = {
    "fp32": (),
    "bf16": ("--precision", "bf16"),
    "fp16": ("--precision", "fp16"),
    "bf16 --compile": ("--precision", "bf16", "--compile"),
    "bf16 --cuda-graphs": ("--precision", "bf16", "--cuda-graphs"),
}


def speed(bench: Bench) -> None:
    work = dict([*WORK.items()][:1]) if bench.small else WORK
    ways = dict([*WAYS.items()][:2]) if bench.small else WAYS
    rows = list[tuple[str, ...]]()
    for name, options in work.items():
        own = bench.data if "cifar10" in options else []
        for way, more in ways.items():
            found = bench.train(*options, *own, *more, length=("--steps", 400, "--eval-every", 400))
            memory = found.get("gpu_memory") or found.get("memory")
            gib = number(memory / 2**30 if memory else None, ".2f")
            rows.append((name, way, number(found.get("samples_per_s")), gib, refused(found)))
    headings = ("training", "how", "samples/s", "GiB at most", "said")
    bench.show("speed: of the last 10 of 400 steps", headings, rows)


def refused(found: dict[str, Any]) -> str:
    said = str(found["said"])
    return said if said.startswith("failed") else ""


def resident(bench: Bench) -> None:
    work = ("classify", "--data", "cifar10", *bench.data, "--batch-size", 512, "--precision", "bf16")
    rows = list[tuple[str, ...]]()
    for workers in (0, 2, 8):
        found = bench.train(*work, "--workers", workers, length=("--steps", 400))
        where = "on the GPU" if not workers else f"from {workers} workers"
        rows.append((where, number(found.get("samples_per_s")), number(found.get("gpu_memory")), refused(found)))
    bench.show("where pictures are", ("pictures", "samples/s", "bytes of the GPU", "said"), rows)


def save(bench: Bench) -> None:
    work = ("classify", "--data", "cifar10", *bench.data, "--model", "timm/resnet50", "--batch-size", 128)
    rows = list[tuple[str, ...]]()
    for every in (1000, 20):
        length = ("--steps", 200, "--eval-every", 1000, "--save-every", every)
        found = bench.train(*work, "--precision", "bf16", length=length)
        rows.append((f"every {every} steps", number(found.get("seconds"), ".1f"), refused(found)))
    bench.show("checkpoints of ResNet50, 200 steps", ("saved", "seconds", "said"), rows)


def cifar(bench: Bench) -> None:
    network = ("--model", "resnet9", "--width", 64, "--precision", "bf16", "--batch-size", 512)
    learning = ("--lr", "1e-2", "--weight-decay", "0.05", "--optimizer", "adamw", "--warmup", 200)
    views = ("--shift", 4, "--cutout", 8, "--label-smoothing", "0.1", "--tta")
    work = ("classify", "--data", "cifar10", *bench.data, *network, *learning, *views)
    rows = list[tuple[str, ...]]()
    for more in ((), ("--compile",)):
        begin = time.monotonic()
        found = bench.train(*work, *more, length=("--epochs", 24, "--eval-every", 196))  # two epochs
        whole, steps = found.get("seconds", 0.0), found.get("step") or 1
        there = [one["step"] for one in found["lines"] if one["split"] == "val" and one["accuracy"] >= WANTED]
        reached = f"{whole * there[0] / steps:.1f} s, step {there[0]}" if there else "not reached"
        accuracy = number(found.get("final", {}).get("accuracy"), ".2%")
        spent = f"{time.monotonic() - begin:.1f}"
        rows.append((" ".join(("launchbay", *more)), accuracy, reached, spent, refused(found)))
    said = bench.do([sys.executable, "-c", RUNNING])
    known = bool(bench.only_commands or said.startswith("failed"))
    rows.append(("airbench94", "94.01%" if known else said, AIRBENCH if known else "beside", "", ""))
    bench.show(f"CIFAR-10 to {WANTED:.0%}", ("by", "accuracy", "time to it, validations too", "in all", "said"), rows)


PARTS: dict[str, Callable[[Bench], None]] = {
    "command": command, "tests": tests, "alike": alike, "speed": speed, "resident": resident, "save": save,
    "cifar": cifar,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data-root", help="folder with CIFAR-10")
    parser.add_argument("--small", action="store_true", help="a few steps of each, also on a CPU")
    parser.add_argument("--commands", action="store_true", help="show the commands only")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    data = ["--data-root", str(Path(arguments.data_root).resolve())] if arguments.data_root else []
    bench = Bench(arguments.small, arguments.commands, data)
    if not arguments.commands:
        bench.console.print(bench.do(["launchbay", "doctor"]), markup=False)
    for name in arguments.parts or PARTS:
        PARTS[name](bench)


if __name__ == "__main__":
    main()
