"""The manifest for Kubernetes: what the API takes, and what its pods run. No cluster is needed, and none was there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import ROOT, lines

MANIFEST: Any = yaml.safe_load((ROOT / "launch/trainjob.yaml").read_text())
SCHEMA = json.loads((ROOT / "tests/trainjob.schema.json").read_text())


def test_the_manifest_is_what_the_api_takes() -> None:
    jsonschema.validate(MANIFEST, SCHEMA)
    pod = pod_of(MANIFEST)
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    broken = json.loads(json.dumps(MANIFEST))
    pod_of(broken)["terminationGracePeriod"] = 300
    with pytest.raises(jsonschema.ValidationError, match="terminationGracePeriod"):
        jsonschema.validate(broken, SCHEMA)


def pod_of(manifest: Any) -> Any:
    (patch,) = manifest["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]


@contextmanager
def pods() -> Generator[list[subprocess.Popen[str]]]:
    """What the pods run, with the variables that the operator sets; with another task, which needs no GPU."""
    trainer = MANIFEST["spec"]["trainer"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    told = {"NNODES": trainer["numNodes"], "NPROC_PER_NODE": trainer["numProcPerNode"], "MASTER_ADDR": "127.0.0.1"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PET_MASTER_PORT": port}
    environment |= {f"PET_{name}": str(value) for name, value in told.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"--task=superres": "--task=toys:Slow", "--steps=20000": "--steps=60", "--batch-size=64": "--log-every=1"}
    args = [str(own.get(word, word)).replace("/shared", str(Path.cwd())) for word in trainer["args"]]
    started = [
        subprocess.Popen(
            [*trainer["command"], *args, "--wandb", "off"],
            env={**environment, "PET_NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(trainer["numNodes"])
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.slow
def test_pods_are_one_run_which_goes_on_after_one_of_them_had_to_go() -> None:
    """The end of each pod tells the operator that it is not done, also of those that have stopped with the one."""
    with pods() as (first, second):
        end = time.monotonic() + 60
        while not Path("runs/superres/metrics.jsonl").exists() or not lines(Path("runs/superres")):
            assert time.monotonic() < end
            time.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=60)[0] for process in (first, second)]
        assert first.returncode and second.returncode, said
        assert json.loads(Path("runs/superres/summary.json").read_text())["status"] == "stopped"
    with pods() as both:
        said = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
    assert "continues from step" in said[0]
    assert [line["step"] for line in lines(Path("runs/superres"), "train")] == list(range(1, 61))
