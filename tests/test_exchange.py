"""What the processes of a run exchange, with torch's fake process group: 64 of them in this one."""

from typing import Any

import pytest
import torch
import toys
from conftest import ROOT, forget_accelerator

OPTIONS = ("--wandb", "off", "--steps", "4", "--log-every", "4", "--eval-every", "4", "--save-every", "4")
LOSS = WHETHER_TO_STOP = ("allreduce", 4)


@pytest.fixture(autouse=True)
def with_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def exchange_of(world: int, task: str, *options: str) -> Any:
    """What the first process of a run of `world` has exchanged with the others."""
    from exchanged import first_of, train

    forget_accelerator()
    with first_of(world) as exchange:
        train(["--task", task, "--batch-size", "64", "--run", f"of-{world}", *OPTIONS, *options])
    return exchange


def bytes_of(network: torch.nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("world", [2, 64])
def test_a_step_exchanges_gradients_and_four_bytes_for_each_loss_and_nothing_else(world: int) -> None:
    size = bytes_of(toys.Single(toys.NoOptions()).model)
    exchange = exchange_of(world, "toys:Single")
    assert exchange.of("step", 3) == [LOSS, ("bucket", size), WHETHER_TO_STOP]
    assert [one for one in exchange.messages if one.step == 3 and one.phase != "step"] == []


def test_each_network_has_a_bucket_and_each_loss_its_bytes() -> None:
    gan = toys.Gan(toys.GanConfig())
    one, other = bytes_of(gan.discriminator), bytes_of(gan.generator)
    step = exchange_of(64, "toys:Gan").of("step", 3)
    assert step == [LOSS, ("bucket", one), LOSS, ("bucket", other), WHETHER_TO_STOP]


@pytest.mark.parametrize("options", [(), ("--sync-batchnorm",)])
def test_nothing_grows_with_the_processes_but_what_a_validation_collects(options: tuple[str, ...]) -> None:
    """Of 8 and of 64, with BatchNorm, a teacher and a queue. The rows that a validation collects are one for each of
    its pictures, though at least one for each process.
    """
    few, many = (exchange_of(world, "stateful_tasks:Queue", *options) for world in (8, 64))
    for phase in ("step", "log", "check", "save"):
        assert few.of(phase) == many.of(phase) and few.of(phase), phase
    assert sum(size for phase in ("log", "check", "save") for _, size in many.of(phase)) < 300
    both = zip(few.of("validation"), many.of("validation"), strict=True)
    assert {kind for (kind, size), other in both if (kind, size) != other} <= {"allgather", "gather"}
