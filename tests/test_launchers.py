"""What starts the processes of a run: how they find each other, what it was told, and on which machines."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from conftest import ROOT
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.run import get_args_parser

from launchbay import UserError
from launchbay.launch.commands import doctor_machines
from launchbay.launch.config.options import TrainOptions
from launchbay.launch.distributed import meeting, network, settings
from launchbay.launch.distributed.accelerator import threads_were_said
from launchbay.launch.distributed.network import INTERFACE, Machine
from launchbay.launch.others import launch_command

Mistake = Callable[..., str]
PAIR = [Machine(0, "first", "127.0.0.1"), Machine(1, "second", "127.0.0.2")]


class Counted(HashStore):
    """A store that counts what it is asked."""

    asked = 0

    def check(self, keys: list[str]) -> bool:
        self.asked += 1
        return super().check(keys)

    def multi_get(self, keys: list[str]) -> list[bytes]:
        self.asked += 1
        return super().multi_get(keys)


def test_a_look_at_who_has_come_does_not_grow_with_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of N processes asking for N others is a million questions at 1,024, ten times a second."""
    monkeypatch.setenv("WORLD_SIZE", "1024")
    store, place = Counted(), meeting.Place("127.0.0.1", 1)
    for rank in reversed(range(1024)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank % 8))
        meeting.introduce_machine(store, place)
        before = store.asked
        assert meeting.all_are_here(store) is (rank == 0) and store.asked - before <= (1 if rank else 4)
    monkeypatch.setenv("RANK", "1023")
    assert meeting.all_are_here(store)
    machines = [Machine(*each) for each in json.loads(store.get(network.here()))]
    assert [machine.rank for machine in machines] == list(range(0, 1024, 8))


def tried(machines: list[Machine], addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What all processes are told after each machine has tried the way to the next one."""
    own = threading.local()
    monkeypatch.setattr(network, "process_rank", lambda: own.rank)
    store = HashStore()

    def try_it(rank: int) -> None:
        own.rank = rank
        network.try_way(store, machines, addresses[rank], "verdict")

    threads = [threading.Thread(target=try_it, args=(rank,)) for rank in range(len(machines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return store.get("verdict").decode()


def test_each_machine_tries_the_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    three = [*PAIR, Machine(2, "third", "127.0.0.3")]
    addresses = [machine.address for machine in three]
    assert tried(three, addresses, monkeypatch) == ""
    reach = socket.create_connection

    def behind_a_firewall(place: tuple[str, int], **more: Any) -> socket.socket:
        if place[0] == "127.0.0.3":
            raise TimeoutError
        return reach(place, **more)

    monkeypatch.setattr(socket, "create_connection", behind_a_firewall)
    said = tried(three, addresses, monkeypatch)
    assert said.startswith("third (127.0.0.3) cannot be reached from ") and "(127.0.0.2): no answer within 10 s" in said


def test_what_is_wrong_between_many_machines_is_told_in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is: the last of 200 counts as the first."""
    monkeypatch.setenv("RANK", "0")
    machines = [Machine(rank, f"n{rank}", "127.0.0.1") for rank in range(200)]
    for wrong, said in (
        (range(199, 200), "way 199"),
        (range(190, 200), "; ".join(f"way {n}" for n in range(190, 198))),
    ):
        store = HashStore()
        with socket.create_server(("127.0.0.1", 0)) as door:
            store.set("verdict/door/1", json.dumps(door.getsockname()))
            for rank in range(1, 200):
                store.set(f"verdict/way/{rank}", f"way {rank}" if rank in wrong else "")
            network.try_way(store, machines, "127.0.0.1", "verdict")
        assert store.get("verdict").decode() == said + "; and 2 more" * (len(wrong) > 8)


def test_the_interface_is_that_of_the_way_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a machine, which gloo would look up, is often that of a loopback; on the first machine the way to
    process 0 is one too."""
    outside = next((own[0] for own in network.interfaces().values() if ":" not in own[0]), "")
    if not outside:
        pytest.skip("this machine has no network but the loopback")
    machines = [Machine(0, "first", "127.0.0.1"), Machine(2, "second", outside)]
    assert network.own_address("127.0.0.1", machines) == network.own_address(outside, machines) == outside
    assert network.own_address("127.0.0.1", PAIR[:1]) == "127.0.0.1"
    store = HashStore()
    store.set(network.here(), json.dumps(machines))
    store.set(f"{network.here()}/ways", "")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv(INTERFACE, raising=False)
    network.connect_machines(store)
    assert outside in network.interfaces()[os.environ.pop(INTERFACE)]
    store.set(f"{network.here()}/ways", "b cannot be reached from a")
    with pytest.raises(UserError, match="b cannot be reached from a") as error:
        network.connect_machines(store)
    assert f"{INTERFACE}=" in error.value.hint
    monkeypatch.setenv(INTERFACE, "ib7")
    with pytest.raises(UserError, match=r"GLOO_SOCKET_IFNAME=ib7: .* has no interface ib7"):
        network.connect_machines(store)


def test_what_is_wrong_with_the_way_to_process_0_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert meeting.Place("no-such-machine.invalid", 29500).open() == (
        "no machine is known here by the name no-such-machine.invalid"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = meeting.Place("127.0.0.1", port)
    assert "nothing listens there" in meeting.line(place.open(), place)  # pyright: ignore[reportArgumentType]
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError) as error:
        monkeypatch.setenv("RANK", "0")
        meeting.Place("127.0.0.1", taken.getsockname()[1]).open()
    assert error.value.message.startswith("process 0 cannot wait for the others at 127.0.0.1:")
    assert "MASTER_PORT to a free port" in error.value.hint
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500x"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="MASTER_PORT is '29500x'"):
        meeting.place_to_meet()


def test_doctor_tries_the_way_to_machines_and_gives_each_its_command(
    launchbay: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command is understood by its launcher and gives our options on, --run too, which torchrun has one like."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    code, said = launchbay("doctor", "--machines", "127.0.0.1", "no-such-machine.invalid")
    assert code == 2 and "no machine is known here by the name no-such-machine.invalid" in said
    assert f"{Path('runs').resolve()} (" in said
    monkeypatch.setattr(doctor_machines, "trouble_at", lambda *_: network.REFUSED)
    monkeypatch.setattr(doctor_machines, "addresses_of", {"a": ["127.0.0.1"], "b": ["192.0.2.7"]}.__getitem__)
    monkeypatch.setattr(network, "interfaces", lambda: {"eth7": ["192.0.2.1"]})
    monkeypatch.setattr(doctor_machines, "interfaces", network.interfaces)
    code, said = launchbay("doctor", "--machines", "a", "b")
    assert code == 0 and "this machine, by eth7; port " in said and "a is a loopback here" in said
    for rank in (0, 1):
        place = ("--master_addr", "192.0.2.1", "--node_rank", str(rank))
        words = shlex.split(doctor_machines.command(rank, 2, 1, "192.0.2.1", 29500, gpus=False))
        assert shlex.join(words) in said and words[0] == "torchrun"
        asked = get_args_parser().parse_args(words[1:])
        assert (asked.master_addr, asked.node_rank) == (place[1], rank) and "--run" in asked.training_script_args
    Path("accelerate_configs").symlink_to(ROOT / "accelerate_configs")
    words = shlex.split(launchbay("doctor", "--machines", "a", "b")[1].partition("on b: ")[2])
    asked = launch_command_parser().parse_args(words[2:])
    assert (asked.main_process_ip, asked.machine_rank, asked.num_processes) == ("192.0.2.1", 1, 2)
    assert "name at least two machines" in launchbay("doctor", "--machines", "a", "a")[1]


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("fe80::1", "name the interface that leads there, fe80::1%"),
        ("a..b", "no machine is known here by the name a..b"),
        ("a" * 64, "no machine is known here by the name a"),
    ],
)
def test_doctor_has_words_for_what_is_no_address(
    host: str, said: str, launchbay: Callable[..., tuple[int, str]]
) -> None:
    code, output = launchbay("doctor", "--machines", "127.0.0.1", host)
    assert code == 2 and said in " ".join(output.split())


ENGINES = [{"distributed_type": name} for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM")]
DEVICES = [{"distributed_type": name} for name in ("MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_HPU", "XLA")]


@pytest.mark.parametrize("told", [*ENGINES, *DEVICES], ids=lambda told: told["distributed_type"])
def test_what_accelerate_is_configured_for_and_is_not_done_is_refused(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would compute on the CPU, or leave networks whole, without a word."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    Path("accelerate.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(UserError) as error:
        settings.check_settings(TrainOptions(), ["accelerate", "launch", "--config_file", "accelerate.yaml"])
    said = "to use " * (told in ENGINES) + told["distributed_type"]
    assert error.value.message.startswith(f"accelerate was told {said}") and error.value.hint
    Path("accelerate.yaml").write_text(yaml.safe_dump({**told, "use_cpu": True}))
    if told in DEVICES:
        settings.check_settings(TrainOptions(), ["accelerate", "launch", "--config_file", "accelerate.yaml"])


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "accelerate was told to use DEEPSPEED"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "accelerate was told to use MEGATRON_LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "accelerate was told to use PARALLELISM_CONFIG"),
        ("ACCELERATE_DYNAMO_BACKEND", "EAGER", "accelerate was told to compile with eager (its dynamo_backend)"),
        ("ACCELERATE_MIXED_PRECISION", "FP8", "accelerate was told fp8, which launchbay does not compute in"),
    ],
)
def test_variables_of_accelerate_for_what_is_not_done_are_refused(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError) as error:
        settings.check_settings(TrainOptions(), [])
    assert error.value.message.startswith(said)


@pytest.mark.parametrize(
    ("command", "is_launcher"),
    [
        ("python /usr/bin/torchrun --nproc_per_node 2 -- run.py", True),
        ("python -m torch.distributed.run --nproc_per_node 2 -- run.py", True),
        ("python -W ignore -u -m accelerate.commands.launch --cpu run.py", True),
        ("bash -c torchrun.sh", False),
    ],
)
def test_torchrun_is_a_launcher_as_accelerate_is(
    command: str, is_launcher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes end with it, and share the cores unless a person has said otherwise."""
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: command.split())
    monkeypatch.setattr(psutil.Process, "environ", lambda _: {})
    assert bool(launch_command()) is is_launcher
    assert not is_launcher or not threads_were_said(launch_command())


def test_settings_that_no_command_line_names_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in accelerate's cache changes each start; a variable that nothing reads changes none."""
    default = Path("default.yaml")
    default.write_text("{}")
    monkeypatch.setattr("accelerate.commands.config.config_args.default_config_file", str(default))
    monkeypatch.setenv("ACCELERATE_GRADIENT_CLIPPING", "1.0")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(settings, "launch_command", lambda: ["accelerate", "launch", "run.py"])
    named, unused = settings.describe_settings()
    assert str(default) in named and unused == "note: ACCELERATE_GRADIENT_CLIPPING is set, and not used"
    for command in (["accelerate", "launch", "--config_file", "default.yaml", "run.py"], ["torchrun", "run.py"]):
        monkeypatch.setattr(settings, "launch_command", lambda launcher=command: launcher)
        assert settings.describe_settings() == [unused]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"RANK": "3", "WORLD_SIZE": "2"}, "RANK=3, but WORLD_SIZE=2: ranks go from 0 to 1"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x is not a number"),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "2"}, "RANK=5, but WORLD_SIZE=2"),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "x"}, "SLURM_NTASKS=x is not a number"),
    ],
)
def test_a_process_that_cannot_be_says_so(told: dict[str, str], said: str) -> None:
    """Whatever its number: otherwise process 0 alone speaks, and this one would end without a word."""
    command = [sys.executable, "-m", "launchbay.launch.run", "--task", "superres", "--steps", "1"]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stdout + done.stderr and "Traceback" not in done.stderr
