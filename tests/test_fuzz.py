"""Run folders of strangers: whatever their files hold, no command crashes, hangs, runs their code or touches others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 110
"""In the default suite: what two busy cores try in 45 seconds."""


def fuzz(*options: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), *options]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_a_strangers_run_is_data() -> None:
    fuzz("--cases", str(CASES))


@pytest.mark.slow
def test_so_are_two_thousand() -> None:
    fuzz("--seconds", "600", "--seed", "1")
