"""Whether a GPU does what a CPU does, and what a step waits for; a part of measure.py. Prints a row of JSON for each
thing: what, what was found, and what it should be. On a machine without a GPU it compares the CPU with itself.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState
from torch import distributed, nn
from torch.distributed import ReduceOp
from torch.nn.parallel import DistributedDataParallel

from launchbay.data import noise
from launchbay.launch.distributed import collectives
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.engine.step import Learner
from launchbay.launch.train import run

CPU = torch.device("cpu")
GPU = torch.accelerator.current_accelerator(check_available=True) or CPU
KEYS = [2**64 - 1 - 977 * number for number in range(64)]
SMALL = "--small" in sys.argv
STEPS = 4 if SMALL else 20
TASK = ("--task", "superres", "--width", "8", "--blocks", "1", "--patch", "24", "--batch-size", "8", "--wandb", "off")


def row(what: str, found: object, wanted: object = "") -> None:
    print(json.dumps([what, str(found), str(wanted)]), flush=True)


def train(folder: Path, name: str, steps: int, *options: str, length: int | None = None) -> list[dict[str, float]]:
    """Train in this process, up to `steps` of `length`; return the lines of its record."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    argv = [*TASK, "--run", name, "--output-dir", str(folder), "--steps", str(length or steps), "--log-every", "1"]
    before, taken = Learner.step, list[int]()
    with Stop() as stop:

        def step(learner: Learner, number: int, batches: list[object]) -> object:
            taken.append(number)
            if number == steps and length:
                stop.noted = 15  # as if SIGTERM had come
            return before(learner, number, batches)  # type: ignore[arg-type]

        Learner.step = step  # type: ignore[method-assign, assignment]
        try:
            run([*argv, *options], stop)
        except Exception as error:
            if type(error).__name__ != "Stopped":
                raise
        finally:
            Learner.step = before  # type: ignore[method-assign]
    return [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]


def difference(one: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """The largest relative difference of two records, timings aside."""
    pairs = [(a, b, name) for a, b in zip(one, other, strict=True) for name in a if name not in NOT_COMPARED]
    return max(abs(a[name] - b[name]) / max(abs(a[name]), 1e-30) for a, b, name in pairs)


NOT_COMPARED = ("split", "samples_per_s")


def bits_of_noise(folder: Path) -> None:
    for draw in (noise.normal, noise.uniform):
        here, there = draw(KEYS, 3, 3 * 64 * 64 + 1, CPU), draw(KEYS, 3, 3 * 64 * 64 + 1, GPU)
        row(f"{draw.__name__}: numbers of {GPU.type} that differ from the CPU's", int((here != there.cpu()).sum()), 0)
        for where in (CPU, GPU):
            row(f"{draw.__name__}: 64 × 3×64×64 on {where.type}, ms", f"{milliseconds(draw, where):.3f}")


def milliseconds(draw: Callable[..., torch.Tensor], where: torch.device) -> float:
    taken = list[float]()
    for _ in range(3 if SMALL else 20):
        begin = time.perf_counter()
        draw(KEYS, 1, 3 * 64 * 64, where)
        if where.type != "cpu":
            torch.accelerator.synchronize()
        taken.append(time.perf_counter() - begin)
    return 1000 * statistics.median(taken)


def curves(folder: Path) -> None:
    """The same numbers as on the CPU, and the same bits when a run is continued."""
    exact = () if GPU.type == "mps" else ("--precision", "fp64")
    os.environ["ACCELERATE_USE_CPU"] = "true"
    on_cpu = train(folder, "on-cpu", STEPS, *exact)
    os.environ.pop("ACCELERATE_USE_CPU")
    there = train(folder, "there", STEPS, *exact)
    row(
        f"largest relative difference to the CPU over {STEPS} steps {' '.join(exact)}",
        difference(on_cpu, there),
        "1e-9",
    )
    whole = train(folder, "whole", STEPS)
    train(folder, "parts", STEPS // 2, length=STEPS)
    row("a run that was stopped and continued differs by", difference(whole, train(folder, "parts", STEPS)), 0.0)


def waits(folder: Path) -> None:
    """Where the host waits for the GPU within a step: at the norm of the gradients, and at the loss, nowhere else."""
    if GPU.type != "cuda":
        row("operations of a step that wait for a GPU", "this is none", 1)
        return
    before, found = Learner.step, list[str]()

    def step(learner: Learner, number: int, batches: list[object]) -> object:
        torch.cuda.set_sync_debug_mode("warn" if number == 3 else "default")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = before(learner, number, batches)  # type: ignore[arg-type]
        torch.cuda.set_sync_debug_mode("default")
        found.extend(f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchron" in str(one.message))
        return result

    Learner.step = step  # type: ignore[method-assign, assignment]
    try:
        train(folder, "waits", 4, "--ema", "0.9")
    finally:
        Learner.step = before  # type: ignore[method-assign]
    row("operations of a step that wait for a GPU", f"{len(found)}: {', '.join(found)}", "1: that of finite.py")


def one_process(folder: Path) -> None:
    """NCCL (gloo on a CPU) with one process: what several would call, and DDP with gradients in its buckets."""
    backend = distributed.get_default_backend_for_device(GPU.type)
    store = f"file://{folder}/store"
    distributed.init_process_group(backend, init_method=store, rank=0, world_size=1)
    try:
        loss = torch.full((), 3.0, device=GPU)
        if GPU.type not in ("cpu", "mps"):
            row("a loss over all processes", collectives.answer_beside(loss, ReduceOp.SUM, several=True)(), 3.0)
        value = torch.ones(4, device=GPU, requires_grad=True)
        collectives.sum_with_gradients(value).sum().backward()
        row("a sum over processes and its gradient", value.grad.tolist() if value.grad is not None else None, [1.0] * 4)
        network = nn.Conv2d(3, 8, 3, device=GPU)
        wrapped = DistributedDataParallel(network, gradient_as_bucket_view=True)
        for _ in range(3):
            wrapped(torch.ones(2, 3, 8, 8, device=GPU)).sum().backward()
        norm = torch.nn.utils.get_total_norm([one.grad for one in network.parameters() if one.grad is not None])
        row(f"DDP with {backend}: norm of a gradient", f"{float(norm):.1f}", f"{expected_norm():.1f}")
    finally:
        distributed.destroy_process_group()


def expected_norm() -> float:
    network = nn.Conv2d(3, 8, 3)
    for _ in range(3):
        network(torch.ones(2, 3, 8, 8)).sum().backward()
    return float(torch.nn.utils.get_total_norm([one.grad for one in network.parameters() if one.grad is not None]))


def main() -> None:
    for part in (bits_of_noise, curves, waits, one_process):
        with tempfile.TemporaryDirectory() as folder:
            try:
                part(Path(folder))
            except Exception as error:
                traceback.print_exc()
                row(part.__name__, f"failed: {error}")


if __name__ == "__main__":
    main()
