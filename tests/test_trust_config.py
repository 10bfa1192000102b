"""A stranger's run folder is data: what its config.yaml can do, and what it cannot."""

import json
import os
import resource
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Command
from PIL import Image
from rich.console import Console
from stateful_tasks import Queue
from torch import Tensor, nn
from toys import NoOptions

from launchbay import UserError
from launchbay.data import ImageSet
from launchbay.data.transforms import Fitted
from launchbay.launch.commands.evaluate import for_this_machine
from launchbay.launch.config.assembly import open_dataset
from launchbay.launch.config.options import TrainOptions
from launchbay.models.bounds import bounded_by
from launchbay.models.checkpoints import fingerprint, seal

Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]
SMALL = ("--width", 4, "--blocks", 1, "--patch", 16, "--batch-size", 2, "--steps", 1)
EVIL = """
from pathlib import Path

pytestmark = pytest.mark.fault("strangers' runs")
Path("executed").touch()
class Task: ...
def pictures(*_): Path("executed").touch()
"""


def change(run: Path, **values: object) -> Path:
    """Write other values of options into the config.yaml of `run`, as they stand."""
    file = run / "config.yaml"
    options = {**yaml.safe_load(file.read_text()), **values}
    file.write_text("".join(f"{key}: {v if key in values else json.dumps(v)}\n" for key, v in options.items()))
    return run


def reseal(checkpoint: Path) -> None:
    """Make the manifest of a checkpoint say that its files are as they were written."""
    files = {path.name: fingerprint(path) for path in sorted(checkpoint.iterdir()) if path.name != "manifest.json"}
    (checkpoint / "manifest.json").write_text(json.dumps({"files": files, "seal": seal(files)}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of superres on embedded photographs, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(folder)
    try:
        from launchbay.launch.train import main

        assert main(["--task", "superres", *map(str, SMALL), "--run", "it", "--wandb", "off"]) == 0
    finally:
        os.chdir(before)
    return folder / "runs/it"


@pytest.fixture
def gift(trained: Path) -> Path:
    """A copy of it, in which anything may be changed."""
    Image.new("RGB", (16, 16)).save("picture.png")
    return Path(shutil.copytree(trained, "runs/gift"))


VERBS = {
    "evaluate": ("evaluate", "runs/gift"),
    "apply": ("apply", "runs/gift", "picture.png", "out.png"),
    "export": ("export", "runs/gift", "out.safetensors"),
    "compare": ("compare", "runs/gift", "runs/gift"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_runs_what_the_config_of_a_run_names(gift: Path, launchbay: Verb, verb: str) -> None:
    (gift / "evil.py").write_text(EVIL)
    Path("evil.py").write_text(EVIL)
    named = {"task": "runs.gift.evil:Task", "data": "glyphs+evil:pictures", "val_data": "[evil:pictures, photos]"}
    for option, code in named.items():
        copy = Path(shutil.copytree(gift, f"runs/{option}"))
        change(copy, **{option: code})
        words = [str(copy) if word == "runs/gift" else word for word in VERBS[verb]]
        assert launchbay(*words)[0] == (2 if verb == "evaluate" or (verb, option) == ("apply", "task") else 0)
        assert not Path("executed").exists()
        for path in Path().glob("out*"):
            path.unlink()


def test_a_callable_that_is_no_data_set_is_not_called(gift: Path, launchbay: Verb, mistake: Mistake) -> None:
    Path("val").mkdir()
    Path("train").mkdir()
    code, said = launchbay("evaluate", change(gift, data="shutil:rmtree"))
    assert code == 2 and "config.yaml:2: data is shutil:rmtree" in said
    for name in ("shutil:rmtree", "os:mkdir", "toys:Noise", "launchbay.data:ImageSet", "toys:Deblur", "toys:ROOT"):
        for option in ("--data", "--val-data"):
            assert "Traceback" not in mistake("--task", "toys:Single", option, name)
    assert "is not a data set" in mistake("--task", "superres", "--data", "shutil:rmtree")
    assert "cannot be called as a data set is" in mistake("--task", "superres", "--data", "toys:Noise")
    assert Path("val").is_dir() and Path("train").is_dir() and not Path("runs/single-1").exists()


def test_a_function_is_a_data_set_if_it_says_so() -> None:
    Path("functions.py").write_text(
        textwrap.dedent("""
        from __future__ import annotations
        from launchbay.data import ImageSet
        from toys import Patches
        def says(split: str, root=None) -> Patches: return Patches(split)
        def says_not(split, root=None): return Patches(split)
        def other(split, root=None) -> list: return []
        """)
    )
    assert len(open_dataset("functions:says")("val")) == 5
    for name in ("says_not", "other"):
        with pytest.raises(UserError, match="is not a data set"):
            open_dataset(f"functions:{name}")


def test_a_file_of_options_names_no_code_and_the_command_line_may(train: Train, mistake: Mistake) -> None:
    run = train("toys:Opens", "--data", "toys:Patches", "--steps", 1).rename("theirs")
    file = run / "config.yaml"
    for given, lacking in (
        ((), "--task toys:Opens --data toys:Patches"),
        (("--task", "toys:Opens"), "--data toys:Patches"),
        (("--data", "toys:Patches"), "--task toys:Opens"),
    ):
        said = mistake("--config", file, *given)
        assert "a file can only name tasks and data sets that are installed" in said
        assert said.endswith(f"{lacking} ╰{'─' * 108}╯")
    again = train("toys:Opens", "--config", file, "--data=toys:Patches", "--output-dir", "runs")
    assert (again / "config.yaml").read_text() == file.read_text()
    assert "the file is for task toys:Opens, not for --task toys:Brighten" in mistake(
        "--task", "toys:Brighten", "--config", file, "--data", "toys:Patches"
    )


def test_a_run_of_code_is_used_by_who_names_it(train: Train, launchbay: Verb) -> None:
    run = train("toys:Opens", "--data", "toys:Patches", "--val-data", "toys:Patches", "--steps", 1)
    picture = next(run.glob("samples/*.png"))
    code, said = launchbay("evaluate", run)
    words = "--task toys:Opens --data toys:Patches --val-data toys:Patches"
    assert code == 2 and f"name it yourself: launchbay evaluate runs/it {words}" in said
    assert launchbay("evaluate", run, *words.split())[0] == 0
    assert launchbay("evaluate", run, "--task", "toys:Opens", "--val-data", "toys:Patches")[0] == 0
    code, said = launchbay("evaluate", run, "--task", "toys:Brighten", *words.split()[2:])
    assert code == 2 and "is for task toys:Opens, not for --task toys:Brighten" in said
    code, said = launchbay("evaluate", run, "--task", "toys:Opens", "--data", "toys:Digits")
    assert code == 2 and "val_data is toys:Patches" in said
    code, said = launchbay("evaluate", run, *words.split()[:2], "--data", "photos", "--val-data", "photos")
    assert code == 2 and "was trained with --data toys:Patches, not photos" in said
    code, said = launchbay("apply", run, picture, "out.png")
    assert code == 2 and f"launchbay apply runs/it {picture} out.png --task toys:Opens" in said
    assert launchbay("apply", run, picture, "out.png", "--task", "toys:Opens")[0] == 0
    assert launchbay("export", run)[0] == 0


def test_code_is_not_looked_for_in_the_run_folder(
    train: Train, launchbay: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("toys:Single").resolve()
    (run / "toys.py").write_text(EVIL)
    monkeypatch.chdir(run)
    code, said = launchbay("evaluate", ".", "--task", "toys:Single")
    assert code == 2 and "that is the run's own" in said


def test_what_lies_in_the_current_folder_is_not_taken_for_installed(command: Command) -> None:
    info = Path("gift-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gift\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[launchbay.tasks]\ngift = evil:Task\nsuperres = evil:Task\n")
    for name in ("evil", "skimage", "tyro", "torch", "timm", "yaml"):
        Path(f"{name}.py").write_text(EVIL)
    run = (sys.executable, "-m", "launchbay.launch.run", "--task")
    done = command(*run, "gift", PYTHONPATH="")
    assert done.returncode == 2 and "there is no task 'gift'" in done.stderr
    done = command(*run, "superres", "--help", PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert not Path("executed").exists()


LARGE = {
    "width": (1_000_000, 20_000),
    "blocks": (1_000_000_000,),
}


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in LARGE.items() for value in values])
def test_a_network_is_no_larger_than_its_checkpoint(gift: Path, launchbay: Verb, option: str, value: object) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, said = launchbay("evaluate", change(gift, **{option: value}))
    assert code == 2 and "would have more than" in said and "its checkpoint has" in said, said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB


def test_a_judge_is_no_larger_than_its_checkpoint(train: Train, mistake: Mistake) -> None:
    options = ("--data", "toys:Digits", "--model", "resnet9", "--width", 4, "--steps", 1, "--batch-size", 4)
    checkpoint = next(train("classify", *options).glob("checkpoints/step-*"))
    file = checkpoint / "state.json"
    state = json.loads(file.read_text())
    large, odd = "would have more than", "does not say how to build"
    for key, value, said in (
        ("width", 10**6, large), ("size", 20_000, large), ("size", 2**63, "cannot be built"),
        ("classes", -1, odd), ("size", "'", odd), ("model", [], odd),
    ):  # fmt: skip
        file.write_text(json.dumps({**state, "config": {**state["config"], key: value}}))
        reseal(checkpoint)
        assert said in mistake("--task", "dcgan", "--data", "toys:Digits", "--size", 16, "--judge", checkpoint)


DAMAGED = [
    {"channels": "null"}, {"metrics": "[psnr, [psnr]]"}, {"width": "null"}, {"width": "1" + "0" * 400}, {"lr": ".nan"},
    {"seed": "[]"}, {"width": "8"}, {"scale": "5"}, {"model": "timm/resnet18"}, {"val_root": r'"\0"'}, {"task": "[a]"},
    {"precision": "int8"}, {"stranger": "1"}, {"data": "[]"}, {"val_data": "[]"}, {"data": "glyphs+"}, {"task": "~"},
]  # fmt: skip


@pytest.mark.parametrize("values", DAMAGED, ids=str)
def test_a_damaged_config_is_a_message_with_what_to_do(gift: Path, launchbay: Verb, values: dict[str, str]) -> None:
    code, said = launchbay("evaluate", change(gift, **values))
    assert code == 2 and said.count("╭") == 1 and "─ error ─" in said and "→" in said, said


def test_a_run_does_not_decide_how_much_of_this_machine_is_taken(gift: Path, launchbay: Verb) -> None:
    before = launchbay("evaluate", gift)[1]
    code, said = launchbay("evaluate", change(gift, batch_size=10**9, eval_every=10**9, accumulate=10**9, seed=10**30))
    assert code == 0 and said == before
    options, size = for_this_machine(TrainOptions().with_values(workers=300, batch_size=10**9), {"": Many()}, Console())
    assert options.data.workers <= max(8, os.cpu_count() or 1) and size == 2**24 // (3 * 64 * 64)
    with pytest.raises(UserError, match="pictures of 30,000,000,000 values"):
        for_this_machine(TrainOptions(), {"": Fitted(Many(), size=100_000)}, Console())


class Many(ImageSet):
    """A million pictures, none of which is here."""

    @property
    def channels(self) -> int:
        return 3

    def __len__(self) -> int:
        return 10**6

    def size(self, index: int) -> tuple[int, int]:
        return 64, 64

    def image(self, index: int) -> Tensor:
        raise AssertionError("is not to be opened")


class Layers(nn.Module):
    """A network of a task that is not ours."""

    def __init__(self, make: Callable[[], object]):
        super().__init__()
        self.made = make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(*(nn.ReLU() for _ in range(6_000))),
        lambda: [nn.Linear(1, 1) for _ in range(10**9)],
        lambda: nn.Linear(10**5, 10**5),
        lambda: torch.zeros(10**9),
        lambda: torch.ones(1).expand(10**9).clone(),
        lambda: torch.arange(10**10),
        lambda: nn.Parameter(torch.ones(1).repeat(10**10)),
        lambda: nn.functional.conv2d(torch.zeros(1, 1, 1000, 1000), torch.zeros(100, 1, 3, 3)),
    ],
)
def test_whatever_builds_a_network_is_bounded(gift: Path, make: Callable[[], object]) -> None:
    checkpoint = next(gift.glob("checkpoints/step-*"))
    with (
        pytest.raises(UserError, match="FILE describes a network that would have more than"),
        bounded_by(checkpoint, "FILE"),
    ):
        Layers(make)


def test_what_any_task_builds_is_within_bounds(gift: Path) -> None:
    """Even beside a checkpoint that is much smaller."""
    checkpoint = next(gift.glob("checkpoints/step-*"))
    with bounded_by(checkpoint, "FILE"):
        Queue(NoOptions())
        torch.tensor([1.0, 2.0]).nonzero().tolist()
        assert torch.linspace(0, 1, 3).max().item() == 1
