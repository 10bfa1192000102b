"""`launchbay new`: what it writes works as it is, and is what examples/plugin holds."""

import importlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Command, build_wheel
from setuptools.build_meta import prepare_metadata_for_build_wheel
from test_contract import failures, in_this_process

from launchbay.launch.commands.new import TASK_KINDS
from launchbay.launch.config.assembly import open_named
from launchbay.launch.config.plugins import TASKS, find
from launchbay.launch.config.setup import task_of

Launchbay = Callable[..., tuple[int, str]]
EXAMPLE = ROOT / "examples/plugin"


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
    plugin = find(TASKS, name)
    assert str(plugin) == f"{name} 0.1.0" and plugin.summary() in launchbay("tasks")[1]
    failed = failures(in_this_process(task_of(name)[0]))
    assert not failed, "\n\n".join(map(str, failed.values()))


def test_a_new_data_set_passes_its_own_tests(new: Callable[..., None], launchbay: Launchbay) -> None:
    new("my-shapes", "--dataset")
    assert open_named("my-shapes")("val").classes == ("disc", "square")
    assert "Shapes: discs and squares" in launchbay("tasks")[1]
    test = importlib.import_module("test_my_shapes")
    for split in ("train", "val", "all"):
        test.test_samples_are_pictures_with_labels_and_repeat(split)
    test.test_no_picture_is_in_both_splits()
    test.test_a_task_trains_on_it(Path("out").resolve())


def test_the_example_is_what_it_writes(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have brought its own.
    monkeypatch.delitem(sys.modules, "deblur", raising=False)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not any(Path(place).glob("deblur*"))])
    code, said = launchbay("new", "deblur")
    assert code == 0, said
    written, example = (
        {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
        for folder in (Path("deblur"), EXAMPLE)
    )
    for name, text in written.items():
        assert example[name] == text, f"examples/plugin/{name} is another one; `launchbay new deblur` writes it"


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "9lives": "'9lives' is no name for a package",
        "class": "'class' is no name for a package: Python keeps the word to itself → such as my-class",
        "../up": "'../up' is no name",
        "superres": "there is a task 'superres' already, in launchbay",
        "torch": "'torch' is what something else is called",
        "batch": "'batch' is what something else is called that is imported → such as my-batch",
        "taken": "there is 'taken' in this folder already",
    }.items(),
)
def test_names_that_cannot_be(launchbay: Launchbay, name: str, said: str) -> None:
    Path("taken").mkdir()
    code, shown = launchbay("new", name)
    assert code == 2 and said in shown
    assert [*map(str, Path().iterdir())] == ["taken"]


@pytest.mark.slow
def test_the_example_works_from_wheels_in_a_clean_environment(wheel: Path, command: Command, tmp_path: Path) -> None:
    """Both packages are installed by pip; what launchbay depends on is seen in the environment that runs this test."""
    example = build_wheel(EXAMPLE, tmp_path / "example")
    venv.create("clean", with_pip=True)
    binaries = Path("clean/bin").resolve()
    (site,) = Path("clean").glob("lib/*/site-packages")
    ours = subprocess.check_output([sys.executable, "-c", "import torch; print(torch.__path__[0])"], text=True)
    (site / "dependencies.pth").write_text(str(Path(ours.strip()).parent))
    install = (binaries / "python", "-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed")
    done = command(*install, wheel, example, PYTHONPATH="")
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
