"""The memory of each process with --shard and with --recompute: what it has at most, as the kernel counts it (Linux).

    python benchmarks/sharding.py shard         a wide network: weights and optimizer state are most of it
    python benchmarks/sharding.py recompute     what the layers keep for the backward pass

Figures of the first are of the second half of a run, its last validation and checkpoint among them; what a process has
at its start, before it trains, stands beside. See docs/sharding.md for what they said.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costs import ROOT, show

LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "accelerate_configs/multi_cpu.yaml"))
WIDE = ("--task", "superres", "--width", "512", "--blocks", "10", "--patch", "24", "--batch-size", "12")
NETWORKS: dict[str, dict[str, Any]] = {"vit_small_patch16_224": {"img_size": 96}, "resnet50": {}}
STEPS = ("--steps", "4", "--log-every", "1", "--eval-every", "4", "--shown", "1", "--wandb", "off")


def child() -> None:
    """A training of this process that writes down, each hundredth of a second, how much memory it has."""
    from launchbay.launch import train
    from launchbay.launch.engine import step

    own, seen, numbers = Path("/proc/self/statm"), dict[str, float](), [0]
    target = Path(f"memory-{os.environ.get('RANK', '0')}.json").resolve()

    def unshared() -> float:
        resident, shared = map(int, own.read_text().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def look() -> None:
        while True:
            part, found = "training" if numbers[0] > 2 else "start", unshared()
            if found > seen.get(part, 0) + 1:
                seen[part] = found
                target.write_text(json.dumps(seen))  # now: processes of several end without a last word
            time.sleep(0.01)

    take = step.Learner.step

    def counted(self: step.Learner, number: int, *rest: object) -> object:
        numbers[0] = number
        return take(self, number, *rest)  # pyright: ignore[reportArgumentType]

    step.Learner.step = counted  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=look, daemon=True).start()
    sys.exit(train.main(sys.argv[2:]))


def measure(processes: int, *options: str) -> dict[str, float]:
    """MiB of the process that has most, and seconds for each step."""
    launch = (*LAUNCH, "--num_processes", str(processes)) if processes > 1 else ()
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, *launch, __file__, "child", *options, *STEPS, "--run", "it"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        found = [json.loads(file.read_text()) for file in Path(folder).glob("memory-*.json")]
        lines = [json.loads(line) for line in (Path(folder) / "runs/it/metrics.jsonl").read_text().splitlines()]
    speeds = [line["samples_per_s"] for line in lines if line["split"] == "train"]
    largest = {part: max(one[part] for one in found) for part in ("start", "training")}
    return {**largest, "speed": speeds[-1]}


def kept(name: str, again: bool) -> float:
    """MiB that the network of timm with that `name` keeps after its forward pass."""
    return float(subprocess.check_output([sys.executable, __file__, "kept", name, *["again"] * again], text=True))


def child_kept(name: str, *again: str) -> None:
    import timm
    import torch

    from launchbay.launch.engine.recompute import recompute_blocks

    def unshared() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    network = timm.create_model(name, pretrained=False, **NETWORKS[name])
    if again:
        recompute_blocks({"model": network})
    pictures, before = torch.randn(16, 3, 96, 96), unshared()
    loss = network(pictures).square().mean()
    print((unshared() - before) / 1024)
    loss.backward()


def table(title: str, works: Mapping[str, tuple[int, tuple[str, ...]]]) -> None:
    rows = []
    for name, (processes, options) in works.items():
        found = measure(processes, *options)
        print(name, found, file=sys.stderr, flush=True)
        rows.append([name, *(f"{found[part]:.0f}" for part in ("training", "start")), f"{found['speed']:.1f}"])
    show(title, ["", "training, MiB", "start, MiB", "samples/s"], rows)


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        return child()
    if sys.argv[1:2] == ["kept"]:
        return child_kept(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("shard", "recompute"))
    if parser.parse_args().table == "recompute":
        rows = [[name, *(f"{kept(name, again):.0f}" for again in (False, True))] for name in NETWORKS]
        return show("kept after a forward pass of 16 pictures of 96×96, MiB", ["", "without", "--recompute"], rows)
    ways = {}
    for processes in (2, 4):
        for extra in ((), ("--shard",)):
            ways[f"{processes} processes {' '.join(extra)}".strip()] = (processes, (*WIDE, *extra))
    table("superres, width 512, 10 blocks: 50 million parameters", ways)


if __name__ == "__main__":
    main()
