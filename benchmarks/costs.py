"""What the launcher itself costs, one table each. See speed.md for what they said.

    python benchmarks/costs.py first-step     from `python launch/run.py` to the end of the first step
    python benchmarks/costs.py checkpoint     how long training waits for a checkpoint, and what writing does beside it
    python benchmarks/costs.py step           the engine against its learner alone, and against a bare loop
    python benchmarks/costs.py answers        what is answered without torch: tasks, --help, an unknown task

Medians of rounds; each is a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
TASKS = ("classify", "denoise", "reconstruct", "vae", "dcgan", "unmix", "superres")
HEAVY = (
    "torch._dynamo", "torch.distributed.tensor", "torchvision", "timm", "torchmetrics", "wandb", "matplotlib", "skimage"
)  # fmt: skip
BLOCK = 10
"""Steps that are timed together."""


def age() -> float:
    """Seconds since this process was started."""
    started = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK")


def start(mode: str, *argv: str) -> dict[str, Any]:
    """What this script, as a process of its own in an empty folder, prints last."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, mode, *argv]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show(title: str, headings: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


def middle(found: list[dict[str, Any]], name: str) -> float:
    return statistics.median(one[name] for one in found)


def timed(owner: Any, name: str, spent: dict[str, float], phase: str) -> None:
    """Let each call of `owner.name` add to `spent[phase]`."""
    function = getattr(owner, name)

    def measured(*positional: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        result = function(*positional, **named)
        spent[phase] = spent.get(phase, 0) + time.perf_counter() - begin
        return result

    setattr(owner, name, measured)


def child_first_step(argv: list[str]) -> None:
    """Train as `argv` says up to the end of the first step."""
    from launchbay.launch import train
    from launchbay.launch.engine import session

    spent: dict[str, float] = {}
    whole = session.train

    def watched(task_type: Any, *rest: Any) -> None:
        from launchbay.launch.engine.step import Learner

        timed(task_type, "__init__", spent, "build")
        timed(session, "infer_options", spent, "data")
        timed(task_type, "datasets", spent, "data")
        step = Learner.step

        def first(learner: Any, *positional: Any) -> None:
            begin = time.perf_counter()
            step(learner, *positional)
            spent["step"] = time.perf_counter() - begin
            heavy = [name for name in HEAVY if name in sys.modules]
            print("\n" + json.dumps({"whole": age(), **spent, "heavy": heavy}), flush=True)
            os._exit(0)

        with patch.object(Learner, "step", first):
            whole(task_type, *rest)

    with patch.object(session, "train", watched):
        train.main(argv)


def first_step(arguments: argparse.Namespace) -> None:
    works = {task: ["--task", task, "--steps", "2"] for task in arguments.task or TASKS}
    if arguments.data:
        root = ["--data", "cifar10", "--data-root", str(arguments.data.resolve())]
        works["classify, CIFAR-10"] = ["--task", "classify", "--steps", "2", *root]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in works}
    for _ in range(arguments.rounds):
        for name, argv in works.items():
            torch = start("child-torch")["whole"]
            one = start("child-first-step", *argv)
            rest = one["whole"] - torch - one["build"] - one["data"] - one["step"]
            found[name].append({**one, "torch": torch, "rest": rest})
    columns = ("torch", "build", "data", "step", "rest", "whole")
    rows = [
        [name, *(f"{middle(all, column):.2f}" for column in columns), " ".join(all[0]["heavy"])]
        for name, all in found.items()
    ]
    show("to the first step, s", ["", "import torch", *columns[1:], "imported"], rows)


def child_torch(_: list[str]) -> None:
    import torch

    print(json.dumps({"whole": age(), "version": torch.__version__}))


def child_checkpoint(argv: list[str]) -> None:
    """Steps, waits and writing of a run that saves every 20 steps, in seconds."""
    from launchbay.launch import train
    from launchbay.launch.checkpoint import storage
    from launchbay.launch.engine import loop

    waits, writes, ends = [], [], []
    save, write, end_step = loop.Engine.save, storage.save, loop.Engine.end_step

    def watched_save(self: Any, best: bool, *, wait: bool) -> None:
        begin = time.perf_counter()
        save(self, best, wait=wait)
        if not wait:
            waits.append((len(ends), time.perf_counter() - begin))

    def watched_write(*positional: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        result = write(*positional, **named)
        writes.append((begin, time.perf_counter()))
        return result

    def watched_end(self: Any, *positional: Any) -> None:
        ends.append(time.perf_counter())
        end_step(self, *positional)

    with (
        patch.object(loop.Engine, "save", watched_save),
        patch.object(storage, "save", watched_write),
        patch.object(loop.Engine, "end_step", watched_end),
    ):
        assert train.main(argv) == 0
    waited = dict(waits)
    steps = [(a, b, b - a - waited.get(number, 0)) for number, (a, b) in enumerate(pairwise(ends), start=1)][5:]
    beside = [taken for a, b, taken in steps if any(begin < b and a < end for begin, end in writes)]
    alone = [taken for a, b, taken in steps if not any(begin < b and a < end for begin, end in writes)]
    report = {"alone": statistics.median(alone), "beside": statistics.median(beside)}
    report |= {"first": waits[0][1], "wait": statistics.median(wait for _, wait in waits[1:])}
    report |= {"write": statistics.median(b - a for a, b in writes)}
    print("\n" + json.dumps(report))


def checkpoints(arguments: argparse.Namespace) -> None:
    plain = ["--task", "classify", "--steps", "121", "--save-every", "20", "--eval-every", "121"]
    large = ["--model", "timm/resnet18", "--optimizer", "adamw", "--batch-size", "32"]
    works = {"classify, CNN, batch 128": plain, "classify, ResNet18, AdamW, batch 32": [*plain, *large]}
    rows = []
    for name, argv in works.items():
        found = [start("child-checkpoint", *argv) for _ in range(arguments.rounds)]
        values = {key: 1000 * middle(found, key) for key in found[0]}
        share = statistics.median(one["wait"] / one["alone"] for one in found)
        rows.append([name, *(f"{values[key]:.1f}" for key in ("alone", "first", "wait")), f"{share:.2f}"])
        rows[-1] += [f"{values['write']:.0f}", f"{values['beside']:.1f}"]
    headings = ["", "step", "first wait", "later waits", "wait / step", "writing", "step beside it"]
    show("checkpoints, ms", headings, rows)


def child_step(argv: list[str]) -> None:
    """Milliseconds a step of the engine, of its learner by itself and of a bare loop, in turns in one process."""
    from launchbay.launch import train
    from launchbay.launch.engine import session
    from launchbay.launch.record import tracking

    spent: dict[str, list[float]] = {"engine": [], "learner": [], "bare": []}
    make = session.observers

    def observers(config: Any, folder: Path, engine: Any, *rest: Any) -> list[Any]:
        class Turns(tracking.Observer):
            def step(self, step: int) -> None:
                if step % BLOCK or step + BLOCK > engine.steps:
                    return
                if step > BLOCK:
                    spent["engine"].append(time.perf_counter() - self.begin)
                kinds = [("learner", learner_steps), ("bare", bare_steps)]
                for name, kind in kinds[:: 1 if step % (2 * BLOCK) else -1]:
                    begin = time.perf_counter()
                    kind(engine)
                    spent[name].append(time.perf_counter() - begin)
                self.begin = time.perf_counter()

        return [*make(config, folder, engine, *rest), Turns()]

    with patch.object(session, "observers", observers):
        assert train.main(argv) == 0
    print("\n" + json.dumps({name: 1000 * statistics.median(blocks[1:]) / BLOCK for name, blocks in spent.items()}))


def learner_steps(engine: Any) -> None:
    first = engine.state.step + 1
    for number, micro_batches in zip(
        range(first, first + BLOCK), engine.batches.after(engine.state.step), strict=False
    ):
        engine.learner.step(number, micro_batches)


def bare_steps(engine: Any) -> None:
    """As by hand: no keys, no guards, no logs, no accelerate; the same data, losses, clipping and optimizer."""
    import torch
    from torch.nn.utils import clip_grad_norm_

    from launchbay.data import Index
    from launchbay.launch.engine.batches import to_picture
    from launchbay.tasks.base import Batch

    class Unkeyed(Batch):
        def rand(self, *shape: int) -> Any:
            return torch.rand(len(self), *shape)

        def randn(self, *shape: int) -> Any:
            return torch.randn(len(self), *shape)

    size, images, learner = engine.options.optimization.batch_size, engine.training_set, engine.learner
    order = torch.randint(len(images), (size * BLOCK,)).tolist()
    for start in range(0, size * BLOCK, size):
        chosen = [Index(index, index) for index in order[start : start + size]]
        tensors = {
            n: to_picture(t) if n in images.pictures and t.dtype == torch.uint8 else t
            for n, t in images.__getitems__(chosen).items()
        }
        for name, terms in engine.task.training_step(Unkeyed(tensors, chosen)):
            torch.stack(tuple(terms.values())).sum().backward(
                inputs=learner.parameters[name] if len(learner.plain) > 1 else None
            )
            if engine.options.optimization.clip_norm:
                clip_grad_norm_(learner.parameters[name], engine.options.optimization.clip_norm)
            learner.plain[name].step()
            learner.plain[name].zero_grad()


def steps(arguments: argparse.Namespace) -> None:
    options = ["--steps", str(BLOCK * arguments.blocks), "--eval-every", str(BLOCK * arguments.blocks)]
    works = {task: ["--task", task, *options] for task in arguments.task or TASKS}
    if "reconstruct" in works:
        works["reconstruct on glyphs"] = ["--task", "reconstruct", "--data", "glyphs", *options]
    if "vae" in works:
        works["vae, dense, batch 64"] = ["--task", "vae", "--model", "dense", "--batch-size", "64", *options]
    rows = []
    for name, argv in works.items():
        found = [start("child-step", *argv) for _ in range(arguments.rounds)]
        to = {key: statistics.median(one["engine"] / one[key] for one in found) for key in ("learner", "bare")}
        rows.append([name, *(f"{middle(found, key):.2f}" for key in ("engine", "learner", "bare"))])
        rows[-1] += [f"{100 * (to[key] - 1):+.1f} %" for key in to]
    show("a step, ms", ["", "engine", "learner", "bare", "engine to learner", "engine to bare"], rows)


def answers(arguments: argparse.Namespace) -> None:
    bay, run = str(Path(sys.executable).parent / "launchbay"), [sys.executable, str(ROOT / "launch/run.py")]
    commands = {"launchbay tasks": [bay, "tasks"], "launchbay --help": [bay, "--help"]}
    commands |= {"run.py --help": [*run, "--help"], "run.py --task nothing": [*run, "--task", "nothing"]}
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, capture_output=True, check=False)
            found[name].append(time.perf_counter() - begin)
    rows = [[name, f"{statistics.median(taken):.2f}", f"{max(taken):.2f}"] for name, taken in found.items()]
    show("answers, s", ["", "median", "most"], rows)


def main() -> None:
    children = (child_torch, child_first_step, child_checkpoint, child_step)
    for child in children:
        if sys.argv[1:2] == [child.__name__.replace("_", "-")]:
            return child(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"first-step": first_step, "checkpoint": checkpoints, "step": steps, "answers": answers}
    parser.add_argument("table", choices=tables)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--task", action="append", help="step, first-step: which tasks (default: all)")
    parser.add_argument("--blocks", type=int, default=12, help=f"step: blocks of {BLOCK} steps")
    parser.add_argument("--data", type=Path, help="first-step: the folder above cifar-10-batches-py")
    tables[(arguments := parser.parse_args()).table](arguments)


if __name__ == "__main__":
    main()
