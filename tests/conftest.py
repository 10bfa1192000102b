"""What several test files need: runs in this process, and commands in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# Tests run two at a time (pyproject.toml), each on its own core: two threads each would stand in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from launchbay.data import formats
from launchbay.launch import cli
from launchbay.launch.record import curves
from launchbay.launch.record.report.observer import Report
from launchbay.launch.train import main

ROOT = Path(__file__).parents[1]
DRAW_CURVES = curves.draw_curves
WRITE_REPORT = Report.write
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["faults_table"]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test in a folder of its own, without any accelerate configuration of this machine. Runs in this process draw
    no curves.png and write no report.html, which would take most of the time of a short one.
    """
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "path", [*sys.path])  # a class that is not installed adds its folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "draw_curves", lambda *_: None)
    monkeypatch.setattr(Report, "write", lambda *_: None)
    yield
    for name in [name for name, module in sys.modules.items() if is_in(module, tmp_path)]:
        del sys.modules[name]  # a later test may look for one of that name
    forget_accelerator()
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # what runs under a launcher takes more


def is_in(module: ModuleType, folder: Path) -> bool:
    return str(getattr(module, "__file__", None)).startswith(f"{folder}{os.sep}")


@pytest.fixture
def with_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process draw curves.png too."""
    monkeypatch.setattr(curves, "draw_curves", DRAW_CURVES)


@pytest.fixture
def with_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process write report.html too."""
    monkeypatch.setattr(Report, "write", WRITE_REPORT)


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where the extra `heif` is not installed."""
    known = (formats.missing, formats.endings, formats.unread_endings)
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    for function in known:
        function.cache_clear()
    yield
    for function in known:
        function.cache_clear()


def forget_accelerator() -> None:
    """accelerate keeps its settings for the life of the process, which has one run outside of these tests."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@pytest.fixture
def train() -> Callable[..., Path]:
    """Run a task of toys.py, or a built-in one, in this process: the run folder. W&B is off unless asked for."""

    def train(task: str, *options: object) -> Path:
        forget_accelerator()
        name = task if ":" in task or task.islower() else f"toys:{task}"
        assert main(["--task", name, "--run", "it", "--wandb", "off", *map(str, options)]) == 0
        return Path("runs/it")

    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, each with a validation and pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    forget_accelerator()
    options = ("--steps", "2", "--eval-every", "1", "--run", "it", "--output-dir", str(folder), "--wandb", "off")
    assert main(["--task", "toys:Brighten", *options]) == 0
    return folder / "it"


@pytest.fixture
def mistake(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that is wrong, in this process: its one panel, in one line. No traceback, exit code 2."""

    def mistake(*argv: object) -> str:
        capfd.readouterr()
        forget_accelerator()
        arguments = [str(argument) for argument in argv]
        try:
            code = main([*arguments, "--wandb", "off"] if "--task" in arguments else arguments)
        except SystemExit as exit:
            code = exit.code
        output = "".join(capfd.readouterr())
        assert code == 2, output
        assert "Traceback" not in output
        assert output.count("╭") == 1, output
        return " ".join(output.replace("│", " ").split())

    return mistake


@pytest.fixture
def launchbay(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run the `launchbay` command in this process: its exit code, and what it says in one line."""

    def launchbay(*argv: object) -> tuple[int, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["launchbay", *map(str, argv)])
        code = cli.main()
        output = "".join(capfd.readouterr())
        assert "Traceback" not in output
        return code, " ".join(output.replace("│", " ").split())

    return launchbay


@pytest.fixture
def command() -> Command:
    """Run a real command, with tests/ on its path."""

    def command(*argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **environment}
        return subprocess.run([str(a) for a in argv], env=env, capture_output=True, text=True, timeout=300, check=False)

    return command


@pytest.fixture
def accelerate(command: Command) -> Command:
    """`accelerate launch` with one of our configurations."""

    def accelerate(config: str, *argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
        file = ROOT / "accelerate_configs" / f"{config}.yaml"
        start = (sys.executable, "-m", "accelerate.commands.launch", "--config_file", file)
        return command(*start, *argv, **environment)

    return accelerate


def saved_state(step: int) -> dict[str, Any]:
    """What a state.json has to have at least, optimizers aside."""
    return {"config": {"task": "toy"}, "progress": {"step": step}, "data": {}}


def build_wheel(source: Path, target: Path) -> Path:
    """The wheel of the package in the folder `source`, built without a network from its sdist, and that from a copy of
    what git would track."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=source, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."]
    subprocess.run(build, cwd=target, check=True, capture_output=True)
    (built,) = (target / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of launchbay itself."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("source"))


def lines(run: Path, split: str | None = None) -> list[dict[str, Any]]:
    """The record of a run."""
    record = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in record if split in (None, line["split"])]


def wandb_rows(run: Path) -> list[dict[str, Any]]:
    """The rows of all parts of its W&B run in the order of their numbers, by W&B's own reader."""
    rows: list[dict[str, Any]] = []
    for part in sorted(run.glob("wandb/offline-run-*")):
        reader = (sys.executable, "-m", "wandb", "leet", "inspect", str(part), "--json")
        written = subprocess.run(reader, capture_output=True, text=True, check=True).stdout
        records = [json.loads(row) for row in written.splitlines()]
        rows += [record["history"]["item"] for record in records if record["type"] == "history"]
    return rows


def difference(run: Path, other: Path) -> float:
    """The largest relative difference between two records, timings aside."""
    pairs = list(zip(lines(run), lines(other), strict=True))
    assert pairs
    return max(
        abs(a[name] - b[name]) / max(abs(a[name]), 1e-30)
        for a, b in pairs
        for name in a.keys() | b.keys()
        if name not in ("split", "samples_per_s")
    )
