"""Plugins of other packages: listed without importing, loaded alone, named when broken."""

import importlib
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Command

from launchbay import API_VERSION, __version__, devices
from launchbay.launch.config.plugins import RENAMED, TASKS, find_source, installed
from launchbay.launch.config.setup import task_of

Mistake = Callable[..., str]
Launchbay = Callable[..., tuple[int, str]]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package that registers a task, as far as the import system can tell."""

    def package(name: str, version: str, task: str, target: str, source: str) -> None:
        info = Path(f"site/{name}-{version}.dist-info")
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[launchbay.tasks]\n{task} = {target}\n")
        (Path("site") / (target.partition(":")[0] + ".py")).write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(Path("site").resolve()))

    return package


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each plugin."""
    monkeypatch.setenv("COLUMNS", "300")


def test_a_plugin_is_listed_with_its_summary_and_not_imported(package: Callable[..., None], command: Command) -> None:
    source = '"""Sharp from blurred."""\nraise RuntimeError("imported")\nclass Deblur: ...'
    package("acme-deblur", "2.1", "acme", "acme_module:Deblur", source)
    script = "import sys; from launchbay.launch.cli import main; sys.argv = ['launchbay', 'tasks']; code = main(); "
    done = command(
        sys.executable,
        "-c",
        script + "sys.exit(code or 'torch' in sys.modules)",
        PYTHONPATH=str(Path("site").resolve()),
    )
    assert done.returncode == 0, done.stderr
    assert (
        "acme" in done.stdout
        and "Sharp from blurred." in done.stdout
        and "acme-deblur" in done.stdout
        and "2.1" in done.stdout
    )
    assert "superres" in done.stdout and "Super-resolution:" in done.stdout


def test_a_broken_plugin_is_named_and_breaks_nothing_else(
    package: Callable[..., None], mistake: Mistake, train: Callable[..., Path]
) -> None:
    package("acme-deblur", "2.1", "acme", "acme_broken:Deblur", '"""Broken."""\nimport kornia_of_acme\n')
    said = mistake("--task", "acme")
    assert "'acme' (acme_broken:Deblur, from acme-deblur 2.1) cannot be loaded: ModuleNotFoundError" in said
    assert train("Single").is_dir()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import launchbay.tasks.contract", "launchbay.tasks.contract is launchbay.testing now: import it from there"),
        (
            "from launchbay.tasks.metrics import psnr",
            "launchbay.tasks.metrics is launchbay.tasks.figures now",
        ),
        (
            "from launchbay.launch.config import Shared",
            "launchbay.launch.config.Shared is launchbay.launch.config.options.TrainOptions now",
        ),
        ("from launchbay.tasks.base import Gone", "fix or uninstall that package"),
    ],
)
def test_a_plugin_that_imports_a_former_name_is_told_the_new_one(
    package: Callable[..., None], mistake: Mistake, source: str, said: str
) -> None:
    package("acme-deblur", "2.1", "acme", "acme_former:Deblur", source)
    assert f"→ {said}" in mistake("--task", "acme")
    sys.modules.pop("acme_former", None)


def test_former_names_lead_to_what_there_is() -> None:
    for former, new in RENAMED.items():
        assert find_source(former) is None, former
        module, _, name = new.rpartition(".")
        assert find_source(new) or hasattr(importlib.import_module(module), name), new


def test_a_name_that_two_packages_claim_is_refused(
    package: Callable[..., None], mistake: Mistake, launchbay: Launchbay
) -> None:
    package("first", "1.0", "twice", "one_module:A", '"""A."""')
    package("second", "3.0", "twice", "other_module:B", '"""B."""')
    said = launchbay("tasks")[1]
    assert "! claimed by second 3.0 too → uninstall one" in said and "! claimed by first 1.0 too → uninstall" in said
    said = mistake("--task", "twice")
    assert "claimed by first 1.0 and by second 3.0" in said and "one_module:A or other_module:B" in said


BROKEN = {
    "import kornia_of_acme": "ModuleNotFoundError: it imports kornia_of_acme → install that, or uninstall acme-deblur",
    "class Deblur(:": "SyntaxError: invalid syntax (acme_wrong.py, line 1) → fix or uninstall acme-deblur",
    "class Blur: pass": "AttributeError: acme_wrong has no 'Deblur' → fix or uninstall acme-deblur",
}
UNTOLD = ("from toys import *", "try:\n    import kornia_of_acme\nexcept ImportError:\n    Deblur = 1")
"""Modules that may be whole; only importing them would tell."""


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_plugin_is_listed_with_its_error_and_the_remedy(
    package: Callable[..., None], launchbay: Launchbay, source: str
) -> None:
    package("acme-deblur", "2.1", "acme", "acme_wrong:Deblur", source)
    code, said = launchbay("tasks")
    assert code == 0 and f"! {BROKEN[source]}" in said and "Super-resolution:" in said
    assert "acme_wrong" not in sys.modules


@pytest.mark.parametrize(
    ("asked", "said"),
    {
        API_VERSION
        + 1: f"launchbay {__version__} has {API_VERSION} → install a newer launchbay, or an older version of",
        0: "and nothing before 1 → install a newer version of acme-deblur, or an older launchbay",
        "'two'": "acme-deblur 2.1: LAUNCHBAY_API is 'two', no version → write LAUNCHBAY_API = ",
    }.items(),
)
@pytest.mark.usefixtures("wide")
def test_a_package_for_another_version_of_the_api_is_told_so_and_not_imported(
    package: Callable[..., None], mistake: Mistake, launchbay: Launchbay, asked: object, said: str
) -> None:
    source = f'"""Sharp."""\nLAUNCHBAY_API = {asked}\nfrom launchbay.tasks import Deconvolved as Deblur\n'
    package("acme-deblur", "2.1", "acme", "acme_versioned:Deblur", source)
    code, listed = launchbay("tasks")
    assert code == 0 and "! acme-deblur 2.1" in listed and said in listed and "Super-resolution:" in listed
    assert said in mistake("--task", "acme") and "acme_versioned" not in sys.modules


def test_a_package_for_this_version_of_the_api_or_any_is_loaded(
    package: Callable[..., None], launchbay: Launchbay
) -> None:
    for name, line in {
        "of_this": f"LAUNCHBAY_API = {API_VERSION}",
        "of_any": "",
        "of_the_first": "LAUNCHBAY_API = 1",
    }.items():
        package(name, "1.0", name, f"acme_{name}:Toy", f'"""Toy {name}."""\n{line}\nfrom toys import Single as Toy\n')
        assert f"{name} Toy {name}. {name} 1.0" in launchbay("tasks")[1]
        assert task_of(name)[0].__name__ == "Single"


def test_a_plugin_whose_module_is_gone_is_listed(package: Callable[..., None], launchbay: Launchbay) -> None:
    package("acme-deblur", "2.1", "acme", "acme_gone:Deblur", "")
    Path("site/acme_gone.py").unlink()
    assert "! ModuleNotFoundError: there is no acme_gone → install acme-deblur again" in launchbay("tasks")[1]


@pytest.mark.parametrize("source", UNTOLD)
def test_what_cannot_be_told_without_importing_is_not_called_broken(package: Callable[..., None], source: str) -> None:
    package("acme-deblur", "2.1", "acme", "acme_other:Deblur", '"""Sharp."""\n' + source)
    assert [plugin.summary() for plugin in installed(TASKS) if plugin.name == "acme"] == ["Sharp."]


def test_a_plugin_trains(
    package: Callable[..., None], train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    package("acme-toy", "1.0", "acmetoy", "acme_toy:Toy", "from toys import Single as Toy")
    assert [plugin.package for plugin in installed(TASKS) if plugin.name == "acmetoy"] == ["acme-toy"]
    assert (train("acmetoy") / "summary.json").is_file()


def test_what_is_no_task_says_so(mistake: Mistake) -> None:
    assert "toys:Noise is not a task" in mistake("--task", "toys:Noise")
    assert "cannot be loaded: AttributeError" in mistake("--task", "toys:Gone")
    assert "cannot be loaded: ModuleNotFoundError" in mistake("--task", "gone:Gone")


def test_the_examples_of_the_documentation_train(train: Callable[..., Path]) -> None:
    run = train("Deblur", "--steps", 2, "--batch-size", 2, "--sigma", 1.5).rename("deblur")
    assert "sigma: 1.5" in (run / "config.yaml").read_text()
    assert (train("Gan") / "samples/step-00000004.png").is_file()


HEAVY = ("torch", "wandb", "timm", "accelerate", "matplotlib", "skimage", "torchmetrics")


@pytest.mark.parametrize(
    "argv", [["launchbay", "tasks"], ["launchbay", "--help"], ["run.py", "--help"], ["run.py", "--task", "nothing"]]
)
def test_what_needs_no_torch_imports_none(command: Command, argv: list[str]) -> None:
    verb = "cli import main; main()" if argv[0] == "launchbay" else "train import main; main(sys.argv[1:])"
    script = f"""
import atexit, sys
atexit.register(lambda: print("HEAVY", [name for name in {HEAVY} if name in sys.modules]))
sys.argv = {argv}
from launchbay.launch.{verb}"""
    done = command(sys.executable, "-c", script)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_the_first_step_waits_for_no_import_that_it_does_not_need(command: Command) -> None:
    """torch._dynamo alone takes as long to import as torch."""
    script = """
import sys
from launchbay.launch import train
from launchbay.launch.engine import session
from launchbay.launch.record import tracking
def observers(*_):
    class Seen(tracking.Observer):
        def step(self, step):
            names = ("torch._dynamo", "torchvision", "timm", "wandb", "matplotlib", "skimage", "torchmetrics")
            print("HEAVY", [name for name in names if name in sys.modules], flush=True)
    return [Seen()]
session.observers = observers
train.main(["--task", "classify", "--steps", "1", "--wandb", "off"])"""
    done = command(sys.executable, "-c", script)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_the_task_interface_brings_in_no_launcher(command: Command) -> None:
    brought_in = "[name for name in ('wandb', 'tyro', 'accelerate', 'timm', 'torchmetrics') if name in sys.modules]"
    script = f"import launchbay.tasks, sys; print({brought_in})"
    assert command(sys.executable, "-c", script).stdout == "[]\n"


def test_help_shows_the_tasks_options_and_its_defaults(command: Command) -> None:
    done = command(sys.executable, ROOT / "launch/run.py", "--task", "superres", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "--scale {2,3,4}" in text and "--batch-size INT" in text and "(default: 16)" in text
    assert "Default: 8 of srresnet (16 as published)" in text
    assert "Super-resolution: recover a photograph" in text


def test_doctor_gives_the_commands_of_a_checkout_there_and_otherwise_those_of_any_folder(launchbay: Launchbay) -> None:
    code, said = launchbay("doctor")
    assert code == 0 and "torch" in said and " for one process" in said
    assert "launchbay train superres" in said and "accelerate_configs" not in said
    Path("accelerate_configs").symlink_to(ROOT / "accelerate_configs")
    assert "accelerate launch --config_file accelerate_configs/multi_cpu.yaml" in launchbay("doctor")[1]


def test_doctor_knows_gpus_of_all_makers(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of NVIDIA's alone is not said of others."""
    monkeypatch.setattr(devices, "gpus", lambda: [torch.device("mps", 0)])
    said = launchbay("doctor")[1]
    assert "GPUs mps CPU" in said and "fast bf16 not measured: " in said and "TF32" not in said
    assert "one GPU launchbay train" in said


def test_doctor_measures_whether_bf16_pays(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor may have instructions for it and be slower in it; a GPU may emulate it."""
    assert re.search(r"fast bf16 (yes|no): a convolution ran [\d.]+ times as fast as in fp32", launchbay("doctor")[1])
    for speedup, expected in ((0.7, "no: a convolution ran 0.7 times"), (1.9, "yes: a convolution ran 1.9 times")):
        monkeypatch.setattr(devices, "bf16_speedup", lambda _, it=speedup: it)
        assert f"fast bf16 {expected}" in launchbay("doctor")[1]
    monkeypatch.setattr(devices, "bf16_speedup", no_memory)
    assert "fast bf16 not measured: out of [GPU] memory " in launchbay("doctor")[1]


@pytest.mark.parametrize(("options", "said"), [(("--precision", "bf16"), (True, False)), ((), (False, False))])
def test_a_training_says_where_bf16_is_slow(
    options: tuple[str, ...],
    said: tuple[bool, bool],
    train: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for number, speedup in enumerate((0.6, 1.2)):
        monkeypatch.setattr(devices, "bf16_speedup", lambda _, it=speedup: it)
        train("Single", "--steps", 1, *options).rename(f"runs/{number}")
        expected = "bf16 is slow on this CPU, a convolution 0.6 times as fast as in fp32: try --precision fp32"
        assert (expected in capfd.readouterr().out) is said[number]


def no_memory(device: torch.device) -> float:
    raise torch.OutOfMemoryError(f"out of [GPU] memory\non {device}")
