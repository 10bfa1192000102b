"""W&B online, with its real client, against a stand-in for its service that keeps what it is sent."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Command, lines
from wandb_service import Sent, Service

pytestmark = pytest.mark.slow
Launchbay = Callable[..., tuple[int, str]]
OPTIONS = ("--task", "denoise", "--width", 4, "--batch-size", 4, "--eval-every", 2, "--log-every", 1)
RUN = (sys.executable, ROOT / "launch/run.py", *OPTIONS, "--run", "it")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service
        service.shutdown()
        assert not service.unknown


def run_of(service: Service) -> Sent:
    (run,) = service.runs.values()
    return run


def check_whole(service: Service, run: Path) -> None:
    """Each line of the record is there, once."""
    sent = run_of(service)
    assert [sent.rows[number]["_step"] for number in sorted(sent.rows)] == list(range(len(lines(run))))
    assert [sent.rows[number]["step"] for number in sorted(sent.rows)] == [line["step"] for line in lines(run)]
    assert sent.doubles == 0


def test_a_run_as_people_look_at_it(service: Service, command: Command) -> None:
    """Figures, the best one in the summary, the baseline as a line, captions, tags and group, and the model; of a run
    that goes on, one W&B run."""
    done = command(*RUN, "--steps", 4, "--wandb", "online", "--wandb-artifact", WANDB_NOTES="why")
    assert done.returncode == 0 and "W&B has" not in done.stdout, done.stdout + done.stderr
    run, sent = Path("runs/it"), run_of(service)
    check_whole(service, run)
    summary, about = json.loads((run / "summary.json").read_text()), sent.about
    assert sent.summary["best/psnr"] == summary["best"]["psnr"] and sent.summary["best/step"] == summary["best"]["step"]
    assert sent.summary["best/chosen_by"] == summary["best_by"] == "psnr"
    assert sent.summary["baseline/psnr"] == summary["baseline"]["psnr"] and sent.exit_code == 0
    assert (about["displayName"], about["groupName"], about["tags"]) == ("it", "denoise", ["denoise", "photos"])
    assert about["project"] == "launchbay" and json.loads(about["config"])["lr"]["value"] == 1e-3
    first, last = sent.rows[2], sent.rows[5]
    assert first["samples"]["caption"].startswith("step 2: psnr ") and "(baseline " in first["samples"]["caption"]
    assert last["psnr and its baseline_table"]["nrows"] == 4 and "train/model/grad_norm" in sent.rows[0]
    (model,) = [one for one in service.artifacts if one["artifactTypeName"] == "model"]
    assert {"model.safetensors", "config.yaml"} < set(model["files"]) and model["artifactCollectionName"] == "it"
    assert "best" in [alias["alias"] for alias in model["aliases"]]
    command(*RUN, "--steps", 6, "--wandb", "online")
    check_whole(service, run)
    assert run_of(service).summary["best/step"] == 6


def test_what_is_missing_is_said_and_sent(service: Service, command: Command, launchbay: Launchbay) -> None:
    """The service loses rows: they are counted. An offline run is sent by `launchbay sync`, once."""
    service.take = 3
    done = command(*RUN, "--steps", 4, "--wandb", "online")
    assert "W&B has 3 of 6 rows: its service has taken no more so far" in done.stdout, done.stdout
    service.take = 10**9
    code, said = launchbay("sync", "it")
    assert code == 0 and "W&B has all 6 rows of runs/it" in said, said
    check_whole(service, Path("runs/it"))
    command(*RUN[:-1], "other", "--steps", 2, "--wandb", "offline")
    service.runs.clear()
    for _ in range(2):
        assert launchbay("sync", "other")[0] == 0
        check_whole(service, Path("runs/other"))


def test_a_sweep_of_wandb(service: Service, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its agent starts runs with its own command; they are online, in its sweep, with the values that it says."""
    Path("sweep.yaml").write_text(SWEEP)
    made = command(sys.executable, "-m", "wandb", "sweep", "--project", "launchbay", "sweep.yaml")
    assert made.returncode == 0, made.stdout + made.stderr
    values: dict[str, Any] = {"lr": {"value": 0.01}, "eval_first": {"value": True}, "width": {"value": 4}}
    service.commands.append({"type": "run", "run_id": "chosen", "program": "launchbay", "args": values})
    service.commands.append({"type": "exit"})
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = command(sys.executable, "-m", "wandb", "agent", "us/launchbay/sweep1")
    assert "chosen" in service.runs, done.stdout + done.stderr
    about = service.runs["chosen"].about
    assert about["sweep"] == "sweep1" and json.loads(about["config"])["lr"]["value"] == 0.01
    assert json.loads(about["config"])["eval_first"]["value"] is True


SWEEP = """
program: launchbay
method: random
metric: {name: val/psnr, goal: maximize}
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-2}
  width: {values: [4, 8]}
  eval_first: {values: [true, false]}
command: [launchbay, train, denoise, --steps, "2", "${args}"]
"""
