"""What one process exchanges with the others, and which files it opens, at many ranks. See docs/scaling.md.

    python benchmarks/scaling.py [TASK and its options] [--ranks 8 64 1024]      messages of process 0, by phase
    python benchmarks/scaling.py --files                                          files that each of 2 processes opens

The first counts in one process for each number, by torch's fake process group: nothing is sent. The second starts two
processes on the CPU, which train, save, and continue; Python's own and native calls, by strace, if that is installed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from costs import show

DEFAULT = ("superres",)
PHASES = ("start", "step", "log", "check", "validation", "save", "resume")
STEPS = 4
COUNT = """
import json, sys
from exchanged import first_of, train
with first_of(int(sys.argv[1])) as exchange:
    train(sys.argv[2:])
print(json.dumps([[one.phase, one.kind, one.bytes, one.step] for one in exchange.messages]))
"""


def child(world: int, argv: list[str]) -> list[tuple[str, str, int, int]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COUNT, str(world), *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]


def messages(ranks: list[int], task: list[str]) -> None:
    """Train a few steps, and continue: for the phases a table of messages and bytes, by number of processes."""
    found = dict[int, dict[str, tuple[int, int]]]()
    for world in ranks:
        with tempfile.TemporaryDirectory() as folder:
            size = str(max(1024, world))
            length = ["--log-every", str(STEPS), "--eval-every", str(STEPS), "--batch-size", size]
            argv = ["--task", *task, "--run", "it", "--output-dir", folder, "--wandb", "off", *length]
            first = child(world, [*argv, "--steps", str(STEPS)])
            again = child(world, [*argv, "--steps", str(STEPS + 1)])
        chosen = [one for one in first if one[0] not in ("step", "log", "resume")]
        chosen += [one for one in first if one[0] == "step" and one[3] == STEPS - 1]
        chosen += [one for one in first if one[0] == "log" and one[3] == STEPS]  # the first step has a line, too
        chosen += [one for one in again if one[0] == "resume"]
        found[world] = {
            phase: (len(sizes), sum(sizes))
            for phase in PHASES
            if (sizes := [size for name, _, size, _ in chosen if name == phase])
        }
    rows = [
        [phase, *(f"{count:,} / {size:,}" for count, size in (found[world].get(phase, (0, 0)) for world in ranks))]
        for phase in PHASES
    ]
    show(" ".join(task), ["messages / bytes", *(f"{world:,} processes" for world in ranks)], rows)


def files() -> None:
    """Trace two processes that train and continue, and count which files of the run folder and the data they open."""
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    with tempfile.TemporaryDirectory() as folder:
        rows = list[list[str]]()
        for what, steps in (("a new run", 4), ("continued", 6)):
            traces = Path(folder, what.replace(" ", "-"))
            traces.mkdir()
            launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG]
            argv = ["launch/run.py", "--task", "superres", "--width", "8", "--blocks", "1", "--batch-size", "8"]
            argv += ["--run", "it", "--output-dir", f"{folder}/runs", "--wandb", "off", "--steps", str(steps)]
            calls = "trace=openat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,clone,clone3"
            traced = ["strace", "-ff", "-qq", "-e", calls, "-o", str(traces / "of"), *launch, *argv]
            subprocess.run(traced, cwd=Path(__file__).parents[1], check=True, capture_output=True)
            for rank, opened in enumerate(by_process(traces, f"{folder}/runs")):
                rows.append([what, f"process {rank}", *(str(opened[kind]) for kind in KINDS)])
        show("calls on files of the run folder, by process", ["run", "who", *KINDS], rows)


CONFIG = "accelerate_configs/multi_cpu.yaml"
KINDS = ("checkpoint", "log", "record and report", "pictures", "others")


def by_process(traces: Path, runs: str) -> list[Counter[str]]:
    """Count calls on files in `runs`, of the process that opens logs/process-0.log, and of that with 1."""
    text = {path.suffix[1:]: path.read_text(errors="replace") for path in traces.iterdir()}
    found = list[Counter[str]]()
    for rank in (0, 1):
        threads = [number for number, said in text.items() if f"logs/process-{rank}.log" in said]
        for number in threads:  # which grows: those that a thread has begun
            threads += re.findall(r"clone3?\(.*CLONE_THREAD.*= (\d+)$", text.get(number, ""), flags=re.MULTILINE)
        said = "".join(text.get(number, "") for number in threads)
        names = re.findall(rf'"{re.escape(runs)}/it/?([^"]*)"', said)
        found.append(Counter(kind_of(name) for name in names))
    return found


def kind_of(name: str) -> str:
    if name.startswith("checkpoints"):
        return "checkpoint"
    if name.startswith("logs"):
        return "log"
    if name.startswith("samples") or name.endswith(".png"):
        return "pictures"
    return "record and report" if name.endswith((".jsonl", ".json", ".yaml", ".html")) else "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 64, 1024])
    parser.add_argument("--files", action="store_true", help="count files instead")
    arguments, task = parser.parse_known_args()
    files() if arguments.files else messages(arguments.ranks, task or list(DEFAULT))


if __name__ == "__main__":
    main()
