"""`launchbay new`: what it writes works as it is."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import Command, build_wheel
from setuptools.build_meta import prepare_metadata_for_build_wheel
from test_contract import failures, in_this_process

from launchbay import API_VERSION, __version__
from launchbay.launch.commands import origin
from launchbay.launch.commands.new import TASK_KINDS
from launchbay.launch.config.assembly import open_dataset
from launchbay.launch.config.plugins import DATASETS, TASKS, find_plugin, installed
from launchbay.launch.config.setup import task_of

Launchbay = Callable[..., tuple[int, str]]
Metadata = dict[str, Any]
RUFF = str(Path(sys.executable).parent / "ruff")


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


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        pytest.param(kind, also, marks=[] if kind == TASK_KINDS[0] else [pytest.mark.slow])
        for kind, also in zip(TASK_KINDS, (("--dataset",), ()) * 2, strict=True)
    ],
)
def test_a_new_task_is_installed_and_keeps_the_contract(
    new: Callable[..., None], launchbay: Launchbay, kind: str, also: tuple[str, ...]
) -> None:
    name = f"my-{kind}"
    new(name, "--kind", kind, *also)
    plugin = find_plugin(TASKS, name)
    assert str(plugin) == f"{name} 0.1.0" and plugin.summary() in launchbay("tasks")[1]
    task_type, config = task_of(name)
    assert (config.train.data.data == name) == bool(also) == (name in [p.name for p in installed(DATASETS)])
    failed = failures(in_this_process(task_type))
    assert not failed, "\n\n".join(map(str, failed.values()))
    linted = subprocess.run([RUFF, "check", name], capture_output=True, text=True, check=False)
    formatted = subprocess.run([RUFF, "format", "--check", name], capture_output=True, text=True, check=False)
    assert not linted.returncode + formatted.returncode, linted.stdout + formatted.stdout


@pytest.mark.slow
def test_a_new_data_set_passes_its_own_tests(new: Callable[..., None], launchbay: Launchbay) -> None:
    new("my-shapes", "--dataset")
    assert open_dataset("my-shapes")("val").classes == ("disc", "square")
    assert "my-shapes Shapes: discs and squares" in launchbay("tasks")[1]
    test = importlib.import_module("test_dataset")
    for split in ("train", "val", "all"):
        test.test_samples_are_pictures_with_labels_and_repeat(split)
    test.test_no_picture_is_in_both_splits()
    test.test_a_task_trains_on_it(Path("out").resolve())


@pytest.fixture
def written(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Metadata, list[str]]]:
    """Write a package as somebody whom git knows by `config`, with launchbay installed as pip has recorded it: what is
    said, the [project] of pyproject.toml, and the commands of the tests on GitHub.
    """

    def written(config: str, record: str | None) -> tuple[str, Metadata, list[str]]:
        Path("gitconfig").write_text(config)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(Path("gitconfig").resolve()))
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setattr(origin, "distribution", lambda _: SimpleNamespace(read_text=lambda _: record))
        code, said = launchbay("new", "deblur")
        assert code == 0, said
        job = yaml.safe_load(Path("deblur/.github/workflows/test.yml").read_text())["jobs"]["test"]
        commands = [step["run"] for step in job["steps"] if "run" in step]
        return said, tomllib.loads(Path("deblur/pyproject.toml").read_text())["project"], commands

    return written


def test_a_new_package_has_the_author_that_git_knows(
    written: Callable[..., tuple[str, Metadata, list[str]]],
) -> None:
    config = '[user]\nname = Zoë \\"Z\\" Ng\nemail = zoe@example.org\n[github]\nuser = zoe\n'
    said, project, commands = written(config, None)
    assert project["authors"] == [{"name": 'Zoë "Z" Ng', "email": "zoe@example.org"}]
    assert project["urls"] == {"Repository": "https://github.com/zoe/deblur"}
    assert 'Zoë "Z" Ng\n' in Path("deblur/LICENSE").read_text("utf-8") and "Its licence is MIT." in said
    assert commands[0] == "pip install -e .[test]"  # from an index, where launchbay is from


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (
            {"url": "ssh://git@example.org/a/launchbay.git", "vcs_info": {"vcs": "git", "commit_id": "beef"}},
            'pip install "launchbay @ git+https://example.org/a/launchbay.git@beef"',
        ),
        (
            {"url": "https://me:secret@example.org/launchbay.whl", "archive_info": {}},
            'pip install "launchbay @ https://example.org/launchbay.whl"',
        ),
        ({"url": "file:///nowhere/launchbay", "dir_info": {}}, "pip install wheels/launchbay-*.whl"),
    ],
)
def test_the_tests_of_a_new_package_get_launchbay_from_where_it_is(
    written: Callable[..., tuple[str, Metadata, list[str]]], record: dict[str, object], command: str
) -> None:
    said, project, commands = written("", json.dumps(record))
    assert commands[:2] == [command, "pip install -e .[test]"]
    assert ("--wheel-dir deblur/wheels /nowhere/launchbay" in said) == ("wheels/" in command)
    assert "authors" not in project and "urls" not in project and "name its author in LICENSE" in said


def test_a_new_package_is_for_this_launchbay(launchbay: Launchbay) -> None:
    assert launchbay("new", "deblur")[0] == 0
    assert f"\nLAUNCHBAY_API = {API_VERSION}\n" in Path("deblur/src/deblur/__init__.py").read_text()
    assert f'"launchbay>={".".join(__version__.split(".")[:2])}"' in Path("deblur/pyproject.toml").read_text()


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
    assert launchbay("new", "deblur", "--dataset")[0] == 0
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
    workflow = yaml.safe_load(Path("deblur/.github/workflows/test.yml").read_text())["jobs"]["test"]["steps"]
    steps = [step["run"] for step in workflow if "run" in step and "pip" not in step["run"]]
    settings = {"venvPath": str(Path.cwd()), "venv": "clean", "typeCheckingMode": "standard"}
    Path("deblur/pyrightconfig.json").write_text(json.dumps(settings))
    with chdir("deblur"):
        for words in [part.split() for step in (*steps, "basedpyright") for part in step.split(" && ")]:
            tool = (binaries / "python", "-m", "pytest") if words == ["pytest"] else (Path(RUFF).parent / words[0],)
            environment = {**os.environ, "PYTHONPATH": ""}
            argv = [str(word) for word in (*tool, *words[1:])]
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    clean("launchbay", "new", "another")  # the templates are in the wheel
    assert Path("another/.github/workflows/test.yml").is_file() and Path("another/.gitignore").is_file()
