"""Whatever W&B does, training goes on and its record is whole; what W&B lacks is said, and sent by the same command."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from conftest import ROOT, Command, lines, wandb_rows
from test_stop import started, wait_for_step

from launchbay.launch.record import trackers, tracking

Train = Callable[..., Path]
Stub = Callable[[str], None]
SLOW = pytest.mark.slow
OFFLINE = ("--wandb", "offline", "--log-every", 1)
RUN = (sys.executable, ROOT / "launch/run.py", "--task", "toys:Dropout", "--run", "it", *OFFLINE)
LONG = (*RUN, "--steps", 300, "--eval-every", 150)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stub:
    """Put something else in the place of W&B, for the process that writes to it; waiting for it ends early."""
    monkeypatch.setattr(trackers, "PATIENCE", (2, 2))

    def stub(source: str) -> None:
        module = tmp_path / "stub/wandb/__init__.py"
        (module.parent / "sdk/lib").mkdir(parents=True)
        (module.parent / "sdk/lib/runid.py").write_text("generate_id = lambda: 'abcdefgh'\n")
        module.write_text(f"import time\nfrom types import SimpleNamespace as New\n{STUB}{source}\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "stub"), os.environ.get("PYTHONPATH", "")]))

    return stub


STUB = """
setup = teardown = lambda: New(settings=New(project=None, run_name=None, run_group=None, run_tags=None))
Settings, Image = New, lambda *_, **__: None
plot = New(line_series=lambda *_: None)
run = New(define_metric=lambda *_, **__: None, log=lambda *_, **__: None, finish=lambda **_: None)
run.summary, run.offline = {}, True
init = lambda **_: run
"""


@pytest.mark.parametrize("call", ["init = ", "run.log = ", "run.finish = "])
def test_a_call_that_never_returns(call: str, stub: Stub, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """Training does not wait for it; the end of the run does for a while, and says what W&B has."""
    stub(f"{call}lambda *_, **__: time.sleep(999)")
    run = train("Single", *OFFLINE, "--steps", 300, "--eval-every", 100)
    assert len(lines(run)) == 303
    said = capfd.readouterr()
    assert said.out.count("W&B does not answer: it has") == 1 and "of 303 rows" in said.out, said
    assert "The same command sends what is missing" in said.out
    assert not [child for child in psutil.Process().children() if "tracker_writer" in " ".join(child.cmdline())]


@pytest.mark.parametrize("call", ["init = ", "run.log = ", "run.finish = "])
def test_a_call_that_fails(call: str, stub: Stub, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    stub(f"def fail(*_, **__): raise RuntimeError('no such thing')\n{call}fail")
    assert len(lines(train("Single", *OFFLINE, "--steps", 4, "--eval-every", 2))) == 6
    said = capfd.readouterr()
    assert (said.out + said.err).count("no such thing") == 1 and "metrics.jsonl has all" in said.out


def check_complete(run: Path) -> None:
    assert [row["step"] for row in wandb_rows(run)] == [line["step"] for line in lines(run)]


@SLOW
def test_its_disk_is_full(train: Train, command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    """No file may be larger than 100 KiB, which W&B's is at some 170 rows. The same command, of a finished run, sends
    the rest; and once more it has nothing to send."""
    done = command("bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = len(wandb_rows(Path("runs/it")))
    assert 0 < rows < 302 == len(lines(Path("runs/it")))
    said = f"W&B has {rows} of 302 rows: file too large. runs/it/metrics.jsonl has all"
    assert done.stdout.count(said) == 1, done.stdout
    train("Dropout", *LONG[6:])
    assert "this run is finished" in capfd.readouterr().out
    check_complete(Path("runs/it"))
    parts = list(Path("runs/it/wandb").glob("offline-run-*"))
    train("Dropout", *LONG[6:])
    assert parts == list(Path("runs/it/wandb").glob("offline-run-*"))
    assert "W&B has" not in capfd.readouterr().out


@SLOW
def test_its_disk_is_full_and_has_room_again(train: Train, command: Command) -> None:
    train("Dropout", *LONG[6:], "--steps", 1, "--wandb", "off")
    Path("runs/it/wandb").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", "runs/it/wandb"]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        done = command(*LONG)
        assert done.returncode == 0 and "rows: no space left on device" in done.stdout, done.stdout
        subprocess.run(["mount", "-o", "remount,size=9m", "runs/it/wandb"], check=True)
        command(*LONG)
        check_complete(Path("runs/it"))
    finally:
        subprocess.run(["umount", "runs/it/wandb"], check=True)


@pytest.mark.parametrize("name", [pytest.param("tracker_writer", marks=SLOW), pytest.param("wandb-core", marks=SLOW)])
def test_its_process_is_killed(name: str, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    real = tracking.Record.line

    def line(record: tracking.Record, line: tracking.Line) -> None:
        real(record, line)
        children = psutil.Process().children(recursive=True)
        for child in [child for child in children if line["step"] == 50 and name in " ".join(child.cmdline())]:
            child.kill()

    monkeypatch.setattr(tracking.Record, "line", line)
    run = train("Slow", *OFFLINE, "--steps", 60, "--eval-every", 30)
    said = capfd.readouterr().out
    assert said.count("The same command sends what is missing".lower()[4:]) == 1 and len(lines(run)) == 62, said
    train("Slow", *OFFLINE, "--steps", 60, "--eval-every", 30)
    check_complete(run)


@SLOW
def test_its_service_is_frozen() -> None:
    """The real one, while it trains: the run ends, and takes it along."""
    with started(*LONG[:-4], "--steps", 2000, "--eval-every", 1000) as process:
        wait_for_step(Path("runs/it"), 1)
        frozen: list[psutil.Process] = []
        while not frozen:
            children = psutil.Process(process.pid).children(recursive=True)
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # one that ends meanwhile
                frozen = [child for child in children if "wandb-core" in " ".join(child.cmdline())]
        frozen[0].suspend()
        output = process.communicate(timeout=200)[0]
    assert process.returncode == 0 and "W&B does not answer" in output, output
    assert not frozen[0].is_running()


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address on which somebody listens and never answers, and what was heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            kept = []
            while True:
                try:
                    kept.append(server.accept()[0])
                    heard.append(kept[-1].recv(200))
                except OSError:
                    return

        Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard


def test_offline_nothing_leaves_this_machine(listener: Any, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B would report its own use, and that of its reader."""
    address, heard = listener
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, address)
        monkeypatch.setenv(name.lower(), address)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    train("Single", *OFFLINE, "--steps", 2)
    train("Single", *OFFLINE, "--steps", 4)
    assert not heard


@SLOW
def test_a_server_that_does_not_answer(listener: Any, command: Command) -> None:
    """The run ends, and is kept offline."""
    done = command(*RUN, "--steps", 4, "--wandb", "online", WANDB_BASE_URL=listener[0], WANDB_API_KEY="0" * 40)
    assert done.returncode == 0 and done.stdout.count("W&B does not start online") == 1, done.stdout + done.stderr
    assert listener[1]
    check_complete(Path("runs/it"))


@SLOW
def test_a_server_that_cannot_be_reached(command: Command) -> None:
    done = command(*RUN, "--steps", 4, "--wandb", "online", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    assert done.returncode == 0 and done.stdout.count("W&B does not start online") == 1, done.stdout + done.stderr
    check_complete(Path("runs/it"))


@SLOW
def test_no_login_is_asked_for_on_a_terminal() -> None:
    """Online, without a key: the run is kept offline."""
    import pty

    mine, its = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "HOME": str(Path.cwd())}
    argv = [str(word) for word in (*RUN, "--steps", 4, "--wandb", "online")]
    process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)
    output = b""
    while process.poll() is None or output[-1:] != b"\n":
        try:
            output += os.read(mine, 4096)
        except OSError:
            break
    os.close(mine)
    assert process.wait(60) == 0 and b"W&B does not start online" in output, output.decode()
    assert json.loads(Path("runs/it/summary.json").read_text())["status"] == "done"
    check_complete(Path("runs/it"))
