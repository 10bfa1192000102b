"""What a person with a GPU runs by one command (benchmarks/gpu/): its commands exist, and it works where none is."""

import json
import subprocess
import sys
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from conftest import ROOT

from launchbay.launch.config.command_line import parse
from launchbay.launch.train import task_of

SCRIPTS = ROOT / "benchmarks/gpu"


def test_all_commands_that_are_measured_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    import measure

    asked: list[list[str]] = []

    class Noted(measure.Bench):
        def do(self, words: list[str]) -> str:
            asked.append(words)
            return ""

    bench: Any = Noted(small=False, only_commands=True, data=["--data-root", "DATA"])
    for part in measure.PARTS.values():
        part(bench)
    for words in asked:
        if words[:2] == ["launchbay", "train"]:
            parse(task_of(words[2])[1], words[3:], None, quiet=True)
        elif words[0] == "accelerate":
            given = launch_command_parser().parse_args(words[2:])
            assert (ROOT / given.config_file).is_file() and (ROOT / given.training_script).is_file()
            parse(task_of(given.training_script_args[1])[1], given.training_script_args[2:], None, quiet=True)
        else:
            assert words[0] == sys.executable
    assert len(asked) > 30 and {word for words in asked for word in words} >= {"fp16", "--cuda-graphs", "timm/resnet50"}


@pytest.mark.slow
def test_a_gpu_is_compared_with_a_cpu() -> None:
    """Here with itself: each row has what it should."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "alike.py"), "--small"], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(rows) == 11 and all(found == wanted for _, found, wanted in rows if wanted not in ("", "1e-9", "1"))
    assert not [row for row in rows if "failed" in row[1]]
