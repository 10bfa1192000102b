"""Processes that wait for each other: for how long, for whom, and what each then says. Without machines of their own;
those are in test_machines.py.
"""

import ast
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from forked import Forked, fork_processes
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from launchbay.launch import others
from launchbay.launch.distributed import collectives
from launchbay.launch.distributed.watchdog import Watch

pytestmark = pytest.mark.fault("a process is gone")
OPTIONS = ("--log-every", 1, "--save-every", 5, "--eval-every", 1000, "--wandb", "off", "--run", "it")


def wait_for_checkpoint() -> None:
    end = time.monotonic() + 60
    while not Path("runs/it/checkpoints/last").is_file():
        assert time.monotonic() < end
        time.sleep(0.02)


def words(process: Forked) -> str:
    return " ".join(process.said().replace("│", " ").split())


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_who_loses_the_others_ends_and_the_same_command_goes_on(number: signal.Signals) -> None:
    """With exit code 75, and a word of whom. The processes that go on read no checkpoint, but for the first."""
    task = ("--task", "held_toys:OneReader", *OPTIONS)
    first, second = fork_processes(2, (*task, "--steps", 100_000, "--timeout", "3s"))
    wait_for_checkpoint()
    second.send(number)
    assert first.wait(60) == 75, first.said()
    said = words(first)
    expected = "process 1 (pid" if number == signal.SIGKILL else "no answer from process 1"
    assert said.count("╭") == 1 and "╭─ stopped on process 0 of 2" in said and expected in said, said
    assert "was killed" in said if number == signal.SIGKILL else "--timeout" in said
    assert "gloo" not in said and "the same command with --run it continues from step-" in said
    summary = json.loads(Path("runs/it/summary.json").read_text())
    assert summary["status"] == "stopped" and "process 1" in summary["reason"]
    second.send(signal.SIGKILL)
    second.wait()
    if number == signal.SIGKILL:
        last = int(Path("runs/it/checkpoints/last").read_text().removeprefix("step-"))
        again = fork_processes(2, (*task, "--steps", last + 2))
        assert [process.wait(60) for process in again] == [0, 0], [process.said() for process in again]
        assert f"continues from step {last}:" in words(again[0])


def test_slow_work_on_one_process_does_not_end_the_run() -> None:
    """It draws for more than twice as long as a step may take."""
    slow = ("--place", "preview", "--seconds", 5, "--timeout", "2s", "--steps", 2, "--eval-every", 2, "--shown", 1)
    processes = fork_processes(2, ("--task", "held_toys:Held", *OPTIONS, *slow))
    assert [process.wait(60) for process in processes] == [0, 0], [process.said() for process in processes]


def test_another_folder_of_the_same_name_is_told_before_the_first_step() -> None:
    for folder in ("left", "right/runs/it"):
        Path(folder).mkdir(parents=True)
    Path("right/runs/it/.lock").touch()
    processes = fork_processes(2, ("--task", "toys:Slow", *OPTIONS, "--steps", 2), folders=["left", "right"])
    assert [process.wait(60) for process in processes] == [2, 2], [process.said() for process in processes]
    for process in processes:  # each machine has a terminal of its own
        assert "the machines do not share the run's folder" in words(process)
        assert f"sees another folder, {Path('right/runs/it').resolve()}" in words(process)
    assert not Path("left/runs/it").exists() and list(Path("right/runs/it").iterdir()) == [Path("right/runs/it/.lock")]


def test_other_data_under_the_same_name_are_told_before_the_first_step() -> None:
    processes = fork_processes(2, ("--task", "held_toys:OtherData", *OPTIONS, "--steps", 2))
    assert processes[0].wait(60) == 2, processes[0].said()
    processes[1].send(signal.SIGKILL)  # it would give the first one time to speak for both
    processes[1].wait(60)
    assert "the training pictures of process 1 (" in words(processes[0])
    assert not Path("runs/it").exists()


class Counting:
    """A store that counts what it is asked, and how many bytes it answers."""

    def __init__(self, store: TCPStore):
        self.store, self.calls, self.bytes = store, 0, 0

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            answer = getattr(self.store, name)(*given)
            self.calls += 1
            self.bytes += len(answer) if isinstance(answer, bytes) else 0
            return answer

        return call


def test_what_a_stuck_report_asks_grows_with_the_processes_not_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one of 40 say where they are; one speaks, once, until it goes on."""
    count, store = 40, Counting(TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False))
    monkeypatch.setattr(others, "store", lambda: store)
    found: dict[int, dict[int, Any]] = {}
    watches = {rank: Watch(0.1, None, rank, count) for rank in range(1, count)}

    def ask(rank: int) -> None:
        found[rank] = watches[rank].answers({"waits": True, "place": ["at x"]})

    def ask_all() -> list[dict[int, Any]]:
        found.clear()
        threads = [threading.Thread(target=ask, args=(rank,)) for rank in watches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answers for answers in found.values() if answers]

    (answers,) = ask_all()
    assert answers.keys() == watches.keys() and store.calls <= 3 * count and store.bytes < 100 * count
    assert watches[1].lines(answers) == ["process 0 does not answer: it is frozen, or out of reach"]
    for rank, watch in watches.items():
        if rank != 5:
            watch.take_back()
    (answers,) = [watches[5].answers({"waits": False, "place": ["at y"]})]
    assert answers.keys() == {5}
    assert watches[5].lines(answers)[0].startswith("processes 0, 1, 2, 3, 4, 6, 7, 8, ... do not answer")


@pytest.mark.parametrize(("wait", "left"), [(lambda wait: wait(), True), (collectives.on_main_process, False)])
def test_what_nothing_interrupts_is_left_in_time(wait: Callable[[Callable[[], None]], None], left: bool) -> None:
    """Waiting for others in a step, as on GPUs; not what is waited for aside."""
    gone, names = threading.Event(), dict[str, Any](sleep=time.sleep)
    exec(compile("def all_reduce(): sleep(1)", "/x/torch/distributed/distributed_c10d.py", "exec"), names)
    with Watch(60, None, 0, 2, timeout=0.2, leave=gone.set):
        wait(names["all_reduce"])
    assert gone.is_set() is left


def test_what_waits_aside_is_known_to_the_watchdog() -> None:
    tree = ast.parse((ROOT / "launch/distributed/collectives.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    waiting = {function.name for function in functions if "aside()" in ast.unparse(function)}
    assert waiting == {function.__name__ for function in collectives.WAIT_ASIDE}
