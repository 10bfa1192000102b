"""Files of a run that somebody else has written: rubbish, or worse, with valid seals. Whoever reads them says what is
wrong, or does without; nothing of theirs is run, and nothing crashes.
"""

import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from conftest import forget_accelerator, lines, wandb_rows
from faults_table import OneFault
from forked import Forked
from safetensors.torch import load_file, save_file
from test_continue import assert_same
from test_refuse import Evil, seal
from torch import Tensor

from launchbay.launch import cli
from launchbay.launch.train import main

Train = Callable[..., Path]
OPTIONS = ("--steps", 6, "--save-every", 2, "--eval-every", 6, "--keep", 9)
CHECKPOINT = Path("runs/it/checkpoints/step-00000004")


RUBBISH = (b"", b"\xff\xfe\x00", b"[1, 2]\n", b"null", b'{"status": {"step": []}, "step": "x"}\n', b"[" * 5000)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "file", ["metrics.jsonl", "summary.json", "config.yaml", "checkpoints/last", "checkpoints/best"]
)
def test_small_files_full_of_rubbish_do_no_harm(train: Train, file: str, every: int, one_fault: OneFault) -> None:
    """Instead of what was there, and after it; where a run is to go on, and where it has come to its end."""
    whole = train("Single", *OPTIONS).rename("runs/whole")
    tries = list(product(("instead of", "after"), ("", ", ended"), RUBBISH))
    for how, ended, content in tries[len(file) % every :: every]:
        with one_fault(f"{content[:40]!r} {how} what was in {file}{ended}"):
            shutil.rmtree("runs/it", ignore_errors=True)
            shutil.copytree(whole, "runs/it")
            path = Path("runs/it", file)
            path.write_bytes(path.read_bytes() * (how == "after") + content)
            if not ended:
                shutil.rmtree("runs/it/checkpoints/step-00000006")
            train("Single", *OPTIONS)
            if file == "metrics.jsonl" and how == "instead of":
                assert ended or [line["step"] for line in lines(Path("runs/it"))] == [5, 6, 6]
            elif not ended:
                assert_same(whole, Path("runs/it"))


@pytest.mark.parametrize("content", [pytest.param(x, marks=pytest.mark.slow) for x in RUBBISH])
def test_rubbish_for_the_name_of_the_wandb_run(content: bytes) -> None:
    """It becomes another run, which has all rows."""
    argv = ("--task", "toys:Single", *OPTIONS, "--run", "it")
    assert Forked(argv).wait() == 0
    shutil.rmtree("runs/it/checkpoints/step-00000006")
    Path("runs/it/wandb_id").write_bytes(content)
    again = Forked(argv)
    assert again.wait() == 0, again.said()
    shutil.rmtree(sorted(Path("runs/it/wandb").glob("offline-run-*"))[0])
    assert [row["step"] for row in wandb_rows(Path("runs/it"))] == [line["step"] for line in lines(Path("runs/it"))]


def state_with(**changes: object) -> Callable[[Path], object]:
    def change(checkpoint: Path) -> None:
        file = checkpoint / "state.json"
        file.write_text(json.dumps({**json.loads(file.read_bytes()), **changes}))

    return change


def state_of(text: str) -> Callable[[Path], object]:
    return lambda checkpoint: (checkpoint / "state.json").write_text(text)


def weights_of(content: bytes) -> Callable[[Path], object]:
    return lambda checkpoint: (checkpoint / "model.safetensors").write_bytes(content)


def tensors_with(file: str, change: Callable[[str, Tensor], tuple[str, Tensor]]) -> Callable[[Path], object]:
    def changed(checkpoint: Path) -> None:
        tensors = load_file(checkpoint / file)
        save_file(dict(change(name, tensor) for name, tensor in tensors.items()), checkpoint / file)

    return changed


def optimizers_of(content: bytes) -> Callable[[Path], object]:
    return lambda checkpoint: (checkpoint / "optimizers.safetensors").write_bytes(content)


def short_average(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    return name, tensor.flatten()[:1].clone() if name.endswith("exp_avg") else tensor


HUGE = struct.pack("<Q", 1 << 60) + b"{}"
HOSTILE = {
    "a pickle for weights": weights_of(pickle.dumps(Evil())),
    "weights with a header of an exabyte": weights_of(HUGE),
    "weights that are integers": tensors_with("model.safetensors", lambda name, tensor: (name, tensor.long())),
    "weights that are not finite": tensors_with("model.safetensors", lambda name, tensor: (name, tensor / 0)),
    "a name that moves the cursor": tensors_with("model.safetensors", lambda name, t: (f"\x1b[2J{name}", t)),
    "a pickle for optimizers": optimizers_of(pickle.dumps(Evil())),
    "optimizers with a header of an exabyte": optimizers_of(HUGE),
    "averages of gradients of another shape": tensors_with("optimizers.safetensors", short_average),
    "a list for the state": state_of("[]"),
    "a state without end": state_of('{"format": 1, "step": ' + "[" * 100_000),
    "a step without end": state_with(step=1e999),
    "a step that is text": state_with(step="x", progress={"step": "x"}),
    "no progress": state_with(progress=None),
    "optimizers that are a number": state_with(optimizers=3),
    "options that are text": state_with(config="x"),
    "a format that is nothing": state_with(format=None),
}
"""What to do to a checkpoint, which is then sealed."""


SINGLE = ("--task", "toys:Single", *OPTIONS)
SUPERRES = ("--width", 4, "--blocks", 1, "--batch-size", 2, "--steps", 4, "--save-every", 2, "--eval-every", 4)
COMMANDS = {
    "going on": (*SINGLE, "--run", "it"),
    "--resume": (*SINGLE, "--run", "other", "--steps", 8, "--resume", CHECKPOINT),
    "--weights": (*SINGLE, "--run", "other", "--weights", CHECKPOINT),
    "evaluate": ("evaluate", "runs/sr"),
    "export": ("export", "runs/sr"),
    "compare": ("compare", "runs/sr", "runs/sr"),
}
"""All that reads a checkpoint: one of each kind."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that have lost their last steps."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(folder)
    for name, argv in (("it", SINGLE), ("sr", ("--task", "superres", *SUPERRES))):
        done = Forked((*argv, "--run", name, "--wandb", "off"))
        assert done.wait() == 0, done.said()
    os.chdir(here)
    shutil.rmtree(folder / "runs/it/checkpoints/step-00000006")
    shutil.rmtree(folder / "runs/sr/checkpoints/step-00000004")
    return folder


CRASHES = ("averages of gradients of another shape",)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_hostile_checkpoints(runs: Path, every: int, capfd: pytest.CaptureFixture[str], one_fault: OneFault) -> None:
    """Each command says what is wrong, or takes the one before. What would crash, crashes a process of its own."""
    for place, (kind, change) in enumerate(HOSTILE.items()):
        for name, argv in list(COMMANDS.items())[place % every :: every]:
            with one_fault(f"{kind}: {name}"):
                for folder in (Path("runs"), Path("owned")):
                    shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(runs / "runs", "runs")
                for checkpoint in (CHECKPOINT, Path("runs/sr/checkpoints/step-00000002")):
                    change(checkpoint)
                    seal(checkpoint)
                code, said = start(argv, capfd, forked=kind in CRASHES)
                assert code in (0, 2), said
                assert "Traceback" not in said and "--debug" not in said and "\x1b[2J" not in said, said
                assert not Path("owned").exists()


def start(argv: tuple[object, ...], capfd: pytest.CaptureFixture[str], *, forked: bool) -> tuple[int, str]:
    words = [str(word) for word in argv]
    words += ["--wandb", "off"] * words[0].startswith("--")
    if forked:
        process = Forked(words)
        return process.wait(), process.said()
    forget_accelerator()
    capfd.readouterr()
    try:
        if words[0].startswith("--"):
            code = main(words)
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["launchbay", *words])
                code = cli.main()
    except SystemExit as exit:
        code = exit.code
    return int(code or 0), "".join(capfd.readouterr())
