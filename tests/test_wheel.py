"""The built package, without the checkout: what is in it, and that it trains beside folders of the same names."""

import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Command


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = {
        path.relative_to(ROOT)
        for folder in ("launch", "tasks", "models", "data")
        for path in [
            *(ROOT / folder).rglob("*.py"),
            *(ROOT / folder / "commands/templates").rglob("*"),
            *(ROOT / folder).glob("degradations/*"),
            *(ROOT / folder).glob("record/report/templates/*"),
        ]
        if path.is_file() and not {"__pycache__", ".ruff_cache"} & set(path.parts)
    }
    expected = {f"launchbay/{path}" for path in tracked} | {
        f"launchbay/{file}"
        for file in ("__init__.py", "devices.py", "exact.py", "py.typed", "testing.py", "trackers.py", "yaml12.py")
    }
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_it_trains_where_other_packages_have_these_names(wheel: Path, command: Command) -> None:
    """Installed, from a folder with a data/ and a models/ of its own, as research repositories have."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall("installed")
    for name in ("data", "models", "tasks", "launch"):
        Path(name).mkdir()
        (Path(name) / "__init__.py").write_text("raise ImportError('not this one')")
    script = "import launchbay; print(launchbay.__file__)"
    installed = {"PYTHONPATH": str(Path("installed").resolve())}
    assert str(Path("installed").resolve()) in command(sys.executable, "-c", script, **installed).stdout
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "-m", "launchbay.launch.run")
    options = ("--task", "superres", "--steps", 1, "--width", 8, "--blocks", 1, "--wandb", "off")
    done = command(*launch, *options, **installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything is in runs/superres-1" in done.stdout


@pytest.mark.slow
def test_a_script_beside_other_modules_does_not_see_ours(command: Command, tmp_path: Path) -> None:
    """`python launch/run.py` puts launch/ first on the path, where its config.py would answer `import config`."""
    Path("my_task.py").write_text(
        "import config\nassert config.MINE\nfrom toys import NoOptions, Single\nclass Mine(Single):\n    pass\n"
    )
    Path("config.py").write_text("MINE = True")
    done = command(sys.executable, ROOT / "launch/run.py", "--task", "my_task:Mine", "--steps", 1, "--wandb", "off")
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_installation_it_says_what_to_do(command: Command) -> None:
    done = command(sys.executable, "-S", ROOT / "launch/run.py", "--task", "superres")
    assert done.returncode == 1 and "pip install -e ." in done.stderr and "Traceback" not in done.stderr
