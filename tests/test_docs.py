"""docs/ is true: each page is followed from an empty folder, every command and code block of it, and what it shows is
what comes out. By default cheaply, in this process; `-m slow` in a shell, with the packages installed from wheels."""

import ast
import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from conftest import ROOT
from markdown_it import MarkdownIt
from pages import (
    BINARIES,
    CHECKOUT,
    DOCS,
    NOT_RUN,
    PAGES,
    Command,
    InThisProcess,
    blocks,
    commands,
    follow,
    links,
    said,
)

LONG = {"recipes", "own-data", "own-data-set", "wandb", "run-folder", "compare", "export", "training", "python"}
"""Pages, and a folder of them, that take seconds each to follow."""
PROGRAMS = ("accelerate", "launchbay", "wandb")


@pytest.fixture(
    params=[
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if LONG & {page.parent.name, page.stem} else [])
        for page in PAGES
    ]
)
def page(request: pytest.FixtureRequest) -> Path:
    """A page; the folder at hand has of the checkout what the page names."""
    text = request.param.read_text(encoding="utf-8")
    for name in CHECKOUT:
        if f" {name}/" in text:
            Path(name).symlink_to(ROOT / name)
    if " examples/" in text:  # a copy, since pip writes there
        copytree(ROOT / "examples", "examples", ignore=ignore_patterns("*.egg-info", "build"))
    return request.param


def test_what_a_page_says_is_so(page: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    follow(page, InThisProcess(page, capfd, monkeypatch))


@pytest.mark.slow
def test_a_page_can_be_followed_word_for_word(page: Path, environment: Path) -> None:
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"

    def execute(command: Command) -> tuple[int, str]:
        argv = ["bash", "-c", command.line]
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: no isolation, as pip has it
        done = subprocess.run(
            argv, env={**os.environ, "PATH": path, **offline}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    follow(page, execute, is_installed_here=False)


@pytest.fixture
def environment(wheel: Path) -> Path:
    """The programs of an environment of this page's own, with launchbay from its wheel; what that depends on is seen in
    the environment that runs this test."""
    venv.create("environment", with_pip=True)
    (site,) = Path("environment").glob("lib/*/site-packages")
    (libraries,) = BINARIES.parent.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(str(libraries))
    binaries = Path("environment/bin").resolve()
    pip = (binaries / "python", "-m", "pip")
    subprocess.run([*pip, "uninstall", "--yes", "setuptools"], check=True, capture_output=True)  # Python 3.11's is old
    install = (*pip, "install", "--no-index", "--no-deps", "--ignore-installed", wheel)
    subprocess.run(install, check=True, capture_output=True)
    for name in PROGRAMS:
        script = (BINARIES / name).read_text()
        (binaries / name).write_text(script.replace(str(BINARIES / "python"), str(binaries / "python")))
        (binaries / name).chmod(0o755)
    return binaries


def test_what_is_not_run_is_there_to_be_excused() -> None:
    lines = [command.line for page in PAGES for block in blocks(page) for command in commands(block)]
    assert not [part for part in NOT_RUN if not any(part in line for line in lines)]


@pytest.mark.parametrize("text", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda text: text.name)
def test_links_point_at_something(text: Path) -> None:
    inside = [link.partition("#")[0] for link in links(text) if "://" not in link]
    assert not [link for link in inside if not (text.parent / link).exists()]


def test_the_examples_of_the_readme_are_those_that_tests_run() -> None:
    tokens = MarkdownIt().parse((ROOT / "README.md").read_text(encoding="utf-8"))
    code = [token.content for token in tokens if token.type == "code_block" and "self" in token.content]
    shown = [ast.parse(text.replace("MyNetwork()", "nn.Conv2d(3, 3, 5, padding=2)")) for text in code]
    examples = [node for block in shown for node in block.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert [node.name for node in examples] == ["DeblurConfig", "Deblur", "training_step"]
    toys = {ast.dump(node) for node in ast.walk(ast.parse((ROOT / "tests/toys.py").read_text(encoding="utf-8")))}
    assert toys >= {ast.dump(node) for node in examples}


@pytest.mark.usefixtures("with_curves", "with_report")
def test_the_tree_of_a_run_folder_is_that_of_a_run(train: Callable[..., Path]) -> None:
    shown = next(block for block in blocks(DOCS / "run-folder.md") if block.title == "runs/superres-1")
    run = train("superres", "--steps", 2, "--width", 8, "--blocks", 1, "--wandb", "offline")
    paths = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    there = {str(path) if path.parts[0] != "wandb" else "wandb/" for path in paths}
    assert {said(path) for path in tree(shown.text)} == {said(path) for path in there}


def tree(text: str) -> list[str]:
    """The paths of a tree of files: folders end with /, what is in them is indented below, a word says what it is."""
    lines = [line for line in text.splitlines() if line.strip() not in ("", "...")]
    paths, folders = [], [(-1, "")]
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        indent = len(line) - len(line.lstrip())
        while indent <= folders[-1][0]:
            folders.pop()
        path = folders[-1][1] + line.split()[0]
        if len(below) - len(below.lstrip()) > indent:
            folders.append((indent, path))
        else:
            paths.append(path)
    return paths
