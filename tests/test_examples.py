"""examples/: packages like those of other people; tests/test_docs.py follows the page that each has in docs/recipes."""

import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from time import sleep

import pytest
from conftest import ROOT, Command, build_wheel, difference

EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))
TRAIN = ("-m", "launchbay.launch.run", "--steps", 6, "--save-every", 2, "--eval-every", 3, "--log-every", 1)
SMALL = ("--batch-size", 8, "--wandb", "off", "--task")
EXACT = ("--precision", "fp64", "--sync-batchnorm")


@pytest.fixture(params=EXAMPLES, ids=lambda example: example.name)
def example(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_an_example_has_a_page_and_the_contract_as_tests(example: Path) -> None:
    assert f"pip install -e examples/{example.name}\n" in (example / "README.md").read_text("utf-8")
    assert (ROOT / f"docs/recipes/{example.name}.md").is_file()
    assert "@parametrize_with_checks" in (example / "tests/test_task.py").read_text("utf-8")


@pytest.mark.slow
def test_an_example_is_installed_and_checked_and_trains_exactly(
    example: Path, command: Command, accelerate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed and goes on ends with the same bits; two processes learn what one does."""
    with zipfile.ZipFile(build_wheel(example, Path("source"))) as wheel:
        wheel.extractall("installed")  # as pip would, but in a folder of its own
    installed = {"PYTHONPATH": str(Path("installed").resolve())}

    def done(*argv: object, start: Command = command) -> str:
        ended = start(*argv, **installed)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    launchbay, train = Path(sys.executable).with_name("launchbay"), (*TRAIN, *SMALL, example.name, "--run")
    assert f"{example.name} keeps the contract" in done(launchbay, "check", example.name)

    done(sys.executable, *train, "whole")
    monkeypatch.setenv("PYTHONPATH", installed["PYTHONPATH"])
    killed = subprocess.Popen([sys.executable, *map(str, train), "killed"])
    while killed.poll() is None and not Path("runs/killed/checkpoints/last").exists():
        sleep(0.01)
    killed.kill()
    killed.wait()
    done(sys.executable, *train, "killed")
    done(launchbay, "compare", "runs/whole", "runs/killed")

    done(sys.executable, *train, "one", *EXACT)
    done(*train, "two", *EXACT, start=partial(accelerate, "multi_cpu"))
    assert difference(Path("runs/one"), Path("runs/two")) < 1e-9
