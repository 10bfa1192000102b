"""The commands that the tables of benchmarks/speed.md come from, each in its smallest form."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

SMALLEST = {
    "apply.py RUN --count 2 --side 32 --rounds 1": "median ratio",
    "augment.py --rounds 1 --batch 4": "randaugment",
    "costs.py answers --rounds 1": "launchbay tasks",
    "costs.py checkpoint --rounds 1": "classify, CNN, batch 128",
    "costs.py first-step --rounds 1 --task classify": "classify",
    "costs.py step --rounds 1 --blocks 4 --task reconstruct": "reconstruct on glyphs",
    "scaling.py --ranks 2": "2 processes",
    "scaling.py --files": "process 1",
    "sharding.py recompute": "resnet50",
    "size_children.py files 100": "fingerprint",
    "size_children.py set 1000": "pictures",
    "sizes.py many --most 1000 --rounds 1": "1,000 parquet",
    "validation.py reconstruct --trained 4 --steps 4": "reconstruct",
}
"""Commands, and a word of what they say. The others need data that a person has to download, or half an hour."""


@pytest.mark.slow
@pytest.mark.parametrize("command", SMALLEST)
def test_a_benchmark_works(command: str, train: Callable[..., Path], tmp_path: Path) -> None:
    if "--files" in command and shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    words = [str(train("superres", "--steps", 2).resolve()) if word == "RUN" else word for word in command.split()]
    argv = [sys.executable, str(ROOT / "benchmarks" / words[0]), *words[1:]]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SMALLEST[command] in done.stdout
