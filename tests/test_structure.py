"""The house: who may import whom, and what is packaged."""

import ast
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import launchbay.data
import launchbay.tasks

FOLDERS = ("launch", "tasks", "models", "data")
SHARED = ("authors", "choices", "metrics", "generative", "judge", "pictures", "entropy")
"""What several tasks are made of; no task imports another."""
BENCH = ("tasks/testing.py", "tasks/contract/")
"""How the paths of the test bench begin, which stands outside the house: what it tests are tasks in the hands of the
launcher, so it knows both. Nobody in the house knows it, but for the door to it: the command `launchbay check`."""
MAY_IMPORT = {
    "launch": {"launch", "tasks.authors", "tasks.base", "data"},
    "tasks": {"tasks.base", "models", "data", *(f"tasks.{name}" for name in SHARED)},
    "models": {"models"},
    "data": {"data"},
}
TEMPLATES = ROOT / "launch/templates"
"""Data: what `launchbay new` writes."""
PUBLIC = {
    "": {"UserError"},
    "tasks": set(launchbay.tasks.__all__),
    "tasks.testing": {"parametrize_with_checks"},
    "data": set(launchbay.data.__all__),
    "launch.train": {"main"},
}
"""What a plugin may import."""
FILES = [
    path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if not path.is_relative_to(TEMPLATES)
]


def imported(path: Path, *, inside: bool = False) -> set[str]:
    """The modules of ours that a file imports, anywhere in it, without "launchbay.". Relative imports are allowed only
    `inside` of a plugin."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert inside or node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("launchbay.") for name in names if name.startswith("launchbay.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    folder = name.partition("/")[0]
    allowed = MAY_IMPORT[folder] | {"UserError", "__version__"}
    if name.startswith(BENCH):
        allowed |= {"launch", "tasks"}
    if name == "launch/cli.py":
        allowed |= {"tasks.testing"}
    for found in imported(path):
        assert any(found == module or found.startswith(f"{module}.") for module in allowed), f"{path} imports {found}"


def test_the_engine_is_used_by_none_of_its_parts() -> None:
    for part in ("checkpoint", "tracking", "progress", "schedule", "optimizers", "evaluation", "pictures", "curves"):
        assert not any(
            name.startswith(("launch.engine", "launch.train")) for name in imported(ROOT / f"launch/{part}.py")
        )


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.py")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_templates_need_only_what_is_public(path: Path) -> None:
    allowed = {f"{module}.{name}".strip(".") for module, names in PUBLIC.items() for name in names}
    assert imported(path, inside=True) <= allowed
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_package_is_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        f"launchbay.{'.'.join(path.parent.relative_to(ROOT).parts)}" for path in FILES if path.name == "__init__.py"
    }
    assert set(setuptools["packages"]) == found | {"launchbay"}
    for package, folder in setuptools["package-dir"].items():
        assert (ROOT / folder / "__init__.py").is_file(), package


def test_every_file_says_what_belongs_in_it() -> None:
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_pins_are_the_same_for_pip_and_uv() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"] == pins
