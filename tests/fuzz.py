"""Feed launchbay run folders of strangers: each file mutated in each way, under a fixed seed, for all verbs.

    python tests/fuzz.py --cases 200            so many cases of seed 0
    python tests/fuzz.py --seconds 600 --seed 3
    python tests/fuzz.py --seed 3 --case 41     that one alone, with what it says; its folder stays

Each case is a fork of this process, which has imported everything and trained nothing.
"""

import argparse
import contextlib
import gc
import importlib
import os
import pkgutil
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from fuzzing.mutations import KINDS, ONLY_READ_BY
from fuzzing.world import BESIDE, RUNS, TRAINING, Verb, World, verbs

from launchbay import launch
from launchbay.launch import cli
from launchbay.launch.record import curves

SECONDS, MEMORY = 20, 2**31
"""Of CPU, and of resident memory, that a command may take."""
PATIENCE = 120.0
"""Seconds for a command: what takes longer waits for ever, however slow the machine."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal takes as a command."""


@dataclass(frozen=True)
class Outcome:
    """What became of one command."""

    code: int
    text: str
    seconds: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Case:
    """One run folder, mutated, under one command."""

    seed: int
    number: int
    run: str
    verb: Verb
    kind: str

    def __str__(self) -> str:
        return f"--seed {self.seed} --case {self.number}: {self.verb.name} of {self.run}, {self.kind}"


def plan(seed: int) -> list[tuple[str, Verb, str]]:
    """Return all run folders, verbs and kinds of mutations, in an order that begins with some of each and is another
    for each seed."""
    everything = [
        (run, verb, kind)
        for run in RUNS
        for verb in verbs(run)
        for kind in KINDS
        for _ in range(ONLY_READ_BY.get(kind, (verb.name,)).count(verb.name))
    ]
    random.Random(seed).shuffle(everything)
    counts: dict[object, int] = {}
    ranks: list[tuple[int, int]] = []
    for place, (run, verb, kind) in enumerate(everything):
        rank = max(counts.get(part, 0) for part in ((run, verb.name), kind))
        for part in ((run, verb.name), kind):
            counts[part] = rank + 1
        ranks.append((rank + 1000 * (verb.name == "train-wandb"), place))  # which takes seconds
    return [everything[place] for _, place in sorted(ranks)]


def prepare(world: World) -> None:
    """Train the runs, and import here what that took, so that no case has to."""
    sys.path[:0] = [str(world.site), str(Path(__file__).parent)]
    world.furnish()
    for run in reversed(RUNS):
        world.lay_out("")
        done = execute(world, ("train", *TRAINING[run], "--run", run, *BESIDE), modules=world.root / "modules")
        assert done.code == 0, done.text
        world.keep(run)
        for name in (world.root / "modules").read_text().split():
            if name.startswith("triton"):  # complains when it ends
                continue
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    for module in pkgutil.walk_packages(launch.__path__, "launchbay.launch."):
        if ".templates" not in module.name:
            with contextlib.suppress(ModuleNotFoundError):  # an extra that is not here: mlflow
                importlib.import_module(module.name)
    gc.freeze()


def execute(world: World, arguments: tuple[str, ...], *, drawn: bool = True, modules: Path | None = None) -> Outcome:
    """Run a command in a process of its own.

    Args:
        drawn: with curves.png, which would take most of the time.
        modules: where to write what was imported, by a command that is not tried but prepares that.
    """
    said = world.root / "said"
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        if not drawn:
            curves.draw_curves = lambda lines, baseline_name, path: curves.collect_curves(lines, baseline_name) and None
        become(world, arguments, said, modules)
    watched = os.pidfd_open(child)
    ended, _, _ = select.select([watched], [], [], PATIENCE if modules is None else None)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    os.close(watched)
    return Outcome(
        code=os.waitstatus_to_exitcode(status),
        text=said.read_bytes().decode(errors="surrogateescape"),
        seconds=time.monotonic() - start,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * 1024,
    )


def become(world: World, arguments: tuple[str, ...], said: Path, modules: Path | None) -> None:
    """Be the command; this process does not come back."""
    code = 99
    try:
        os.setsid()
        os.chdir(world.work)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(old, new)
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits = {"AS": space + 2 * MEMORY, "CPU": SECONDS, "FSIZE": MEMORY // 2, "CORE": 0}
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        sys.argv = ["launchbay", *arguments]
        with contextlib.suppress(SystemExit):
            code = cli.main()
        if modules is not None:
            modules.write_text("\n".join(name for name in sys.modules if name != "__main__"))
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def attempt(world: World, case: Case) -> tuple[list[str], str, Outcome]:
    """Return what is wrong with what became of `case`, what was done to the run folder, and what became of it."""
    world.lay_out(case.run, unfinished=case.verb.unfinished)
    # Where a seed has tried all, it begins again with other details.
    done = KINDS[case.kind](world, random.Random(f"{case.seed} {case.number}"))
    before = world.seen(case.verb.writes)
    outcome = execute(world, case.verb.arguments, drawn=case.number % 4 == 0)
    after = world.seen(case.verb.writes)
    wrong = judge(case.verb, outcome)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    wrong += [f"touched {', '.join(repr(path) for path in changed)}"] if changed else []
    wrong += [f"the stranger's code: {world.mark.read_text()}"] if world.mark.exists() else []
    return wrong, done, outcome


def judge(verb: Verb, outcome: Outcome) -> list[str]:
    """Return what is wrong with how a command ended."""
    wrong: list[str] = []
    usual = (0, 1, 2) if verb.arguments[0] == "compare" else (0, 2)
    if outcome.code not in usual:
        wrong.append(f"ended with {outcome.code}")
    if "--debug shows the whole traceback" in outcome.text or "Traceback" in outcome.text:
        wrong.append("a bug")
    shown = verb.arguments[0] == "report" and "out.html: " in outcome.text  # written, without what is damaged
    if outcome.code == 2 and not shown and "─ error" not in outcome.text:
        wrong.append("ended with 2, and no error was shown")
    if outcome.cpu >= SECONDS - 1 or outcome.seconds >= PATIENCE:
        wrong.append(f"took {outcome.cpu:.0f} s of CPU and {outcome.seconds:.0f} s")
    if outcome.memory > MEMORY or "out of memory" in outcome.text:
        wrong.append(f"took {outcome.memory / 2**30:.1f} GiB")
    if raw := RAW.search(outcome.text):
        around = outcome.text[max(0, raw.start() - 30) : raw.end() + 10]
        wrong.append(f"shows {raw.group()!r} raw: {around!r}")
    try:
        outcome.text.encode()
    except UnicodeEncodeError:
        wrong.append("shows bytes that are no text")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seconds", type=float, help="as many cases as can be tried in this time")
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--verb", help="only cases of this one")
    parser.add_argument("--kind", help="only cases of this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="fuzz-")).resolve()
    world = World(root)
    settle(world)
    failed = 0
    try:
        prepare(world)
        failed = try_all(world, options)
    finally:
        if options.case is None:
            shutil.rmtree(root, ignore_errors=True)
        else:
            print(f"all of it lies in {root}")
    return 1 if failed else 0


def settle(world: World) -> None:
    """Give commands an environment of their own."""
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "WANDB_"))]:
        del os.environ[name]
    places = {name: str(world.home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR")}
    os.environ |= places | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}


def try_all(world: World, options: argparse.Namespace) -> int:
    """Try the cases that were asked for, and say what is wrong. Return with how many something is."""
    begun, failed, tried = time.monotonic(), 0, 0
    planned = plan(options.seed)
    number = options.case or 0
    while True:
        if options.case is None and (
            time.monotonic() - begun > options.seconds if options.seconds else number >= options.cases
        ):
            break
        case = Case(options.seed, number, *planned[number % len(planned)])
        number += 1
        if (options.verb or case.verb.name) != case.verb.name or (options.kind or case.kind) != case.kind:
            continue
        wrong, done, outcome = attempt(world, case)
        tried += 1
        failed += bool(wrong)
        if wrong or options.case is not None:
            print(f"{case}\n  {done}\n  -> {'; '.join(wrong) or 'nothing wrong'}")
            print("".join(f"  | {line}\n" for line in shown(outcome.text)), flush=True)
        if options.case is not None:
            print(f"exit code {outcome.code}, {outcome.cpu:.1f} s of CPU, {outcome.memory / 2**20:.0f} MiB")
            break
    print(f"{tried} cases in {time.monotonic() - begun:.0f} s, {failed} went wrong")
    return failed


def shown(text: str) -> list[str]:
    """Return the last lines of what a command said, harmless."""
    return [ascii(line)[1:-1][:300] if not line.isprintable() else line[:300] for line in text.splitlines()[-12:]]


if __name__ == "__main__":
    done = main()
    sys.stdout.flush()
    os._exit(done)  # what was imported here has nothing to tidy up
