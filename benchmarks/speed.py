"""The same work done by launchbay and by its peers, in turns: one table of medians. See speed.md for what it said.

    python benchmarks/speed.py --peers PEERS --data DATA [--work classify-128] [--rounds 5]

PEERS is a folder with scripts peer_torch.py, peer_accelerate.py and peer_timm.py that print one line of JSON with
`samples_per_s` of the whole loop; DATA has cifar-10-batches-py (photographs are made there). What is measured is the
loop as a user runs it, from the first batch to the last step: data, augmentation, steps, logging; no evaluation.
Photographs we decode before that, once, when the folder is opened: how long it takes is said beside the table.
Absolute speeds are those of one machine at one hour; ratios within a round are what counts.
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

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
OURS = "launchbay"
PEERS = ("torch", "accelerate", "timm")
PLAIN = ("--optimizer", "adam", "--lr", "1e-3", "--schedule", "constant", "--warmup", "0", "--wandb", "off")


def works(data: Path) -> dict[str, dict[str, list[str]]]:
    """Commands by the work and by who does it: the same network, samples, batch and strength of augmentation."""
    found: dict[str, dict[str, list[str]]] = {}
    for batch in (128, 64):
        steps = 9600 // batch
        ours = ["--task", "classify", "--data", "cifar10", "--data-root", str(data), "--shift", "0", "--rotate", "90"]
        ours += ["--jitter", "0.2", "--batch-size", str(batch), "--steps", str(steps), *PLAIN]
        peer = ["--task", "classify", "--data", str(data), "--batch-size", str(batch), "--limit", "9600", "--no-eval"]
        found[f"classify-{batch}"] = {OURS: ours, f"{OURS} bf16": [*ours, "--precision", "bf16"]}
        found[f"classify-{batch}"] |= {name: [f"peer_{name}.py", *peer] for name in PEERS}
        found[f"classify-{batch}"]["accelerate bf16"] = ["peer_accelerate.py", *peer, "--mixed-precision", "bf16"]
    for kind in ("png", "jpg"):
        photos = data / f"photos_{kind}"
        ours = ["--task", "superres", "--model", "srcnn", "--data", "folder", "--data-root", str(photos)]
        ours += ["--patch", "48", "--batch-size", "16", "--steps", "100", *PLAIN]
        peer = ["--task", "srcnn", "--data", str(data), "--photos", photos.name, "--batch-size", "16", "--no-eval"]
        found[f"superres-{kind}"] = {OURS: ours, f"{OURS} bf16": [*ours, "--precision", "bf16"]}
        found[f"superres-{kind}"] |= {name: [f"peer_{name}.py", *peer] for name in PEERS[:2]}
    return found


def make_photographs(data: Path, kind: str, count: int = 400, side: int = 500) -> None:
    """`count` squares of the embedded photographs, as files."""
    from PIL import Image

    from launchbay.data.photos import Photos

    folder = data / f"photos_{kind}"
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    photos = Photos("train")
    for number in range(count):
        pixels = photos.image(number % len(photos)).permute(1, 2, 0).numpy()
        shift = number // len(photos)
        picture = Image.fromarray(pixels[shift:, shift:]).resize((side, side), Image.Resampling.LANCZOS)
        picture.save(folder / f"{number:04d}.{kind}", quality=92)


def samples_per_s(command: list[str], peers: Path) -> float:
    if command[0].startswith("peer_"):
        done = subprocess.run([sys.executable, *command], cwd=peers, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])["samples_per_s"]
    steps = int(command[command.index("--steps") + 1])
    with tempfile.TemporaryDirectory() as folder:
        options = ["--eval-every", str(steps), "--log-every", str(steps), "--output-dir", folder, "--run", "it"]
        argv = [sys.executable, str(ROOT / "launch/run.py"), *command, *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        lines = [json.loads(line) for line in Path(folder, "it/metrics.jsonl").read_text().splitlines()]
    first, last = (line["samples_per_s"] for line in lines if line["split"] == "train")
    return steps / (1 / first + (steps - 1) / last)  # the first step is logged by itself


def opening(photographs: Path) -> float:
    """Seconds to open the folder: to decode its training pictures."""
    code = (
        "import sys, time; from pathlib import Path; from launchbay.data.folder import Folder\n"
        "begin = time.perf_counter(); Folder('train', Path(sys.argv[1])); print(time.perf_counter() - begin)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(photographs)], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])  # after a line of progress


def quiet() -> None:
    """Wait until nobody else works here."""
    while psutil.cpu_percent(interval=1) > 15:
        time.sleep(1)


def measure(commands: dict[str, list[str]], rounds: int, peers: Path) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name in list(commands)[:: -1 if number % 2 else 1]:
            quiet()
            speeds[name].append(samples_per_s(commands[name], peers))
            print(f"round {number + 1}: {name} {speeds[name][-1]:.0f} samples/s", file=sys.stderr, flush=True)
    return speeds


def table(work: str, speeds: dict[str, list[float]]) -> Table:
    """Medians, and the median over the rounds of what is by how much faster than the fastest peer."""
    fastest = max((name for name in speeds if name in PEERS), key=lambda name: statistics.median(speeds[name]))
    shown = Table(work, "samples/s", f"to {fastest}", "least … most")
    for name, own in speeds.items():
        ratios = [mine / other for mine, other in zip(own, speeds[fastest], strict=True)]
        spread = f"{min(ratios):.2f} … {max(ratios):.2f}"
        shown.add_row(name, f"{statistics.median(own):.0f}", f"{statistics.median(ratios):.2f}", spread)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", action="append", help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    for work, commands in works(data).items():
        if arguments.work and work not in arguments.work:
            continue
        if work.startswith("superres"):
            make_photographs(data, work.removeprefix("superres-"))
        speeds = measure(commands, arguments.rounds, arguments.peers.resolve())
        Console().print(table(f"{work}, {os.cpu_count()} cores", speeds))
        if work.startswith("superres"):
            seconds = statistics.median(opening(data / f"photos_{work[-3:]}") for _ in range(arguments.rounds))
            print(f"{seconds:.2f} s to decode the photographs before that; {OURS} uses each 4.4 times here")


if __name__ == "__main__":
    main()
