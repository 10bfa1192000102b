"""Run folders of strangers: whatever their files hold, no command crashes, hangs, runs their code or touches others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from faults_table import CountFaults

CASES = 30
"""In the default suite: what a core tries in some ten seconds."""


pytestmark = pytest.mark.fault("strangers' runs")


def fuzz(count_faults: CountFaults, *options: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), *options]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if counts := re.search(r"(\d+) cases in \d+ s, (\d+) went wrong", done.stdout):
        tried, wrong = map(int, counts.groups())
        count_faults(tried, tried - wrong)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_a_strangers_run_is_data(count_faults: CountFaults) -> None:
    fuzz(count_faults, "--cases", str(CASES))


@pytest.mark.slow
def test_so_are_two_thousand(count_faults: CountFaults) -> None:
    fuzz(count_faults, "--seconds", "600", "--seed", "1")
