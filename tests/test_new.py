"""`launchbay new`: what it writes works as it is."""

import importlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, build_wheel
from setuptools.build_meta import prepare_metadata_for_build_wheel
from test_contract import failures, in_this_process

from launchbay.launch.commands.new import TASK_KINDS
from launchbay.launch.config.assembly import open_dataset
from launchbay.launch.config.plugins import TASKS, find_plugin
from launchbay.launch.config.setup import task_of

Launchbay = Callable[..., tuple[int, str]]


@pytest.fixture
def new(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a package and install it, as far as this process can tell: its folders are on the path."""

    def new(name: str, *options: str) -> None:
        code, said = launchbay("new", name, *options)
        assert code == 0 and f"pip install -e {name}" in said, said
        Path(name, "metadata").mkdir()
        with monkeypatch.context() as inside:
            inside.chdir(name)
            prepare_metadata_for_build_wheel(str(Path("metadata").resolve()))
        for folder in ("src", "metadata", "tests"):
            monkeypatch.syspath_prepend(str(Path(name, folder).resolve()))

    return new


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_new_task_is_installed_and_keeps_the_contract(
    new: Callable[..., None], launchbay: Launchbay, kind: str
) -> None:
    name = f"my-{kind}"
    new(name, "--kind", kind)
    plugin = find_plugin(TASKS, name)
    assert str(plugin) == f"{name} 0.1.0" and plugin.summary() in launchbay("tasks")[1]
    failed = failures(in_this_process(task_of(name)[0]))
    assert not failed, "\n\n".join(map(str, failed.values()))


def test_a_new_data_set_passes_its_own_tests(new: Callable[..., None], launchbay: Launchbay) -> None:
    new("my-shapes", "--dataset")
    assert open_dataset("my-shapes")("val").classes == ("disc", "square")
    assert "Shapes: discs and squares" in launchbay("tasks")[1]
    test = importlib.import_module("test_my_shapes")
    for split in ("train", "val", "all"):
        test.test_samples_are_pictures_with_labels_and_repeat(split)
    test.test_no_picture_is_in_both_splits()
    test.test_a_task_trains_on_it(Path("out").resolve())


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "9lives": "'9lives' cannot name a package",
        "class": "'class' cannot name a package: it is a keyword of Python → choose another name, such as my-class",
        "../up": "'../up' cannot name a package",
        "superres": "there is a task 'superres' already, in launchbay",
        "torch": "a module or class called 'torch' exists already",
        "batch": "a module or class called 'batch' exists already → choose another name, such as my-batch",
        "taken": "'taken' exists already in this folder",
    }.items(),
)
def test_names_that_cannot_be(launchbay: Launchbay, name: str, said: str) -> None:
    Path("taken").mkdir()
    code, shown = launchbay("new", name)
    assert code == 2 and said in shown
    assert [*map(str, Path().iterdir())] == ["taken"]


@pytest.mark.slow
def test_a_new_package_works_from_wheels_in_a_clean_environment(
    wheel: Path, command: Command, launchbay: Launchbay, tmp_path: Path
) -> None:
    """Both packages are installed by pip; what launchbay depends on is seen in the environment that runs this test."""
    assert launchbay("new", "deblur")[0] == 0
    subprocess.run(["git", "init", "-q", "deblur"], check=True)
    written = build_wheel(Path("deblur"), tmp_path / "written")
    venv.create("clean", with_pip=True)
    binaries = Path("clean/bin").resolve()
    (site,) = Path("clean").glob("lib/*/site-packages")
    ours = subprocess.check_output([sys.executable, "-c", "import torch; print(torch.__path__[0])"], text=True)
    (site / "dependencies.pth").write_text(str(Path(ours.strip()).parent))
    install = (binaries / "python", "-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed")
    done = command(*install, wheel, written, PYTHONPATH="")
    assert done.returncode == 0, done.stderr

    def clean(program: str, *argv: object) -> str:
        done = command(binaries / program, *argv, PYTHONPATH="")
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    assert str(site.resolve()) in clean("python", "-c", "import launchbay; print(launchbay.__file__)")
    assert "Deblurring: recover a sharp photograph from a blurred one. deblur 0.1.0" in clean("launchbay", "tasks")
    train = ("--task", "deblur", "--steps", 2, "--batch-size", 2, "--wandb", "off", "--output-dir", "out")
    assert "everything is in out/deblur-1" in clean("python", "-m", "launchbay.launch.run", *train)
    assert "deblur keeps the contract" in clean("launchbay", "check", "deblur")
    clean("launchbay", "new", "another")  # the templates are in the wheel
    assert Path("another/.github/workflows/test.yml").is_file() and Path("another/.gitignore").is_file()
