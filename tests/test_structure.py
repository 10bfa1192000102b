"""The house: who may import whom, and what is packaged."""

import ast
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import launchbay.data
import launchbay.models
import launchbay.tasks
import launchbay.tasks.figures
import launchbay.trackers

FOLDERS = ("launch", "tasks", "models", "data")
FRAMEWORK = (
    "answers", "authors", "places", "base", "image_to_image", "generative", "options", "optimizers", "losses",
    "teachers", "figures",
)  # fmt: skip
"""What tasks are made of; no task imports another."""
ROOMS: dict[str, set[str]] = {
    "others": set(),
    "errors": {"others"},
    "files": set(),
    "terminal": set(),
    "config": {"errors", "files"},
    "distributed": {"config", "errors", "others", "files"},
    "checkpoint": {"config", "errors", "files"},
    "record": {"config", "errors", "files"},
    "engine": {"config", "errors", "files", "distributed", "checkpoint", "record"},
    "train": {"config", "errors", "others", "terminal", "distributed", "engine"},
    "check": {"config", "errors", "files", "distributed", "checkpoint", "record", "engine"},
    "commands": {"config", "errors", "files", "others", "terminal", "distributed", "checkpoint", "record", "engine"},
    "cli": {"config", "errors", "terminal", "train", "commands", "check"},
    "run": {"train"},
}
"""The rooms of launch/, and which others each may import: data flows one way."""
MAY_IMPORT = {
    "launch": {
        *(f"tasks.{name}" for name in ("answers", "authors", "losses", "options", "places", "base")),
        *(f"tasks.{name}" for name in ("image_to_image", "generative")),
        *(f"models.{name}" for name in ("bounds", "checkpoints", "pretrained", "weights")),
        *(f"models.{name}" for name in ("reading", "saved", "tensors", "spandrel_names", "spandrel_networks")),
        "data",
    },
    "tasks": {"models", "data", *(f"tasks.{name}" for name in FRAMEWORK)},
    "models": {"models"},
    "data": {"data"},
}
OF_THE_PACKAGE = {
    "UserError", "number_of", "printable", "trackers", "yaml12", "exact", "devices",
    "__version__", "API_VERSION", "OLDEST_API_VERSION",
}  # fmt: skip
ALIASES = {ROOT / "tasks/testing.py": {"testing"}}
"""Former names of public modules, and what they stand for; until the next version of the API."""
TEMPLATES = ROOT / "launch/commands/templates"
"""Data: what `launchbay new` writes."""
PACKAGES = sorted([*TEMPLATES.rglob("*.py"), *ROOT.glob("examples/*/src/**/*.py"), *ROOT.glob("examples/*/tests/*.py")])
"""What stands for other people's packages."""
PUBLIC = {
    "": {"UserError", "Run", "load", "train"},
    "tasks": set(launchbay.tasks.__all__),
    "tasks.figures": set(launchbay.tasks.figures.__all__),
    "testing": {"parametrize_with_checks"},
    "trackers": set(launchbay.trackers.__all__),
    "data": set(launchbay.data.__all__),
    "models": set(launchbay.models.__all__),
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
    folder, *inside = path.relative_to(ROOT).with_suffix("").parts
    allowed = MAY_IMPORT[folder] | OF_THE_PACKAGE
    if folder == "launch" and inside[0] != "__init__":
        allowed |= {f"launch.{room}" for room in ROOMS[inside[0]] | {inside[0]}}
    allowed |= ALIASES.get(path, set())
    for found in imported(path):
        assert any(found == module or found.startswith(f"{module}.") for module in allowed), f"{path} imports {found}"


def test_the_rooms_have_floors() -> None:
    """No room imports, through others, one that imports it: there is an order in which each knows only those below."""
    below: list[str] = []
    while len(below) < len(ROOMS):
        ready = [room for room, others in ROOMS.items() if room not in below and others <= set(below)]
        assert ready, f"a circle among {set(ROOMS) - set(below)}"
        below += ready
    rooms = [path for path in (ROOT / "launch").iterdir() if path.suffix == ".py" or path.is_dir()]
    found = {path.stem for path in rooms} - {"__init__", "__pycache__"}
    assert found == ROOMS.keys() and len(found) <= 14


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_need_only_what_is_public(path: Path) -> None:
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


def test_every_mistake_of_the_user_has_a_hint() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                assert len(node.args) == 2, f"{path}:{node.lineno} does not say what to do next"


def test_pins_are_the_same_for_pip_and_uv() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"] == pins


def test_each_dependency_says_from_which_version_on() -> None:
    """Without one a resolver goes back to versions of years ago where newer ones do not fit, and builds them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted += project["dependency-groups"].values()
    assert not [name for names in wanted for name in names if "=" not in name]
