"""What a GPU is asked and given, shown without one: torch's fake tensors have a device and shapes, but no values."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import toys
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.distributed import ReduceOp
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from launchbay import devices
from launchbay.launch.config.options import OptimizationOptions, TrainOptions
from launchbay.launch.distributed.collectives import all_reduce_async, mean_terms
from launchbay.launch.engine import step
from launchbay.launch.engine.evaluation import ask_for_all
from launchbay.launch.engine.optimizers import average, update_average
from launchbay.launch.engine.sharding import place
from launchbay.launch.engine.step import Learner
from launchbay.tasks import Batch

NVIDIA, APPLE = torch.device("cuda", 0), torch.device("mps")


class Waits(TorchDispatchMode):
    """Notes operations for which the host waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        result = func(*args, **(kwargs or {}))
        kinds = {value.device.type for value in (*given, *tree_leaves(result)) if isinstance(value, Tensor)}
        at_once = (kwargs or {}).get("non_blocking") or (func._opname == "copy_" and True in args[2:])
        copies = "copy" in func._opname and {"cpu", "cuda"} <= kinds and not at_once
        asks = func._opname in ("_local_scalar_dense", "nonzero", "is_nonzero") and "cuda" in kinds
        if copies or asks:
            self.found.append(func._opname)
        return result


@pytest.fixture
def waits() -> Iterator[Waits]:
    with FakeTensorMode(), Waits() as waits:
        yield waits


class Log(list[str]):
    """What was done with the streams of a GPU, in order."""

    def stream(self, _: torch.device) -> Any:
        log = self

        class Side:
            def wait_stream(self, other: str) -> None:
                log.append(f"side waits for {other}")

            def __enter__(self) -> None:
                log.append("side")

            def __exit__(self, *_: object) -> None:
                log.append("end of side")

        return Side()

    def noting(self, what: str) -> Any:
        return lambda *_, **__: self.append(what)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_loss_is_on_all_processes_is_no_barrier(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream that computes waits for nothing; the host only where the answer is asked for."""
    log = Log()
    event = SimpleNamespace(record=log.noting("copied"), synchronize=log.noting("host waits"))
    monkeypatch.setattr(torch, "Stream", log.stream)
    monkeypatch.setattr(torch, "Event", lambda _: event)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda _: "compute")
    monkeypatch.setattr(Tensor, "record_stream", log.noting("kept"))
    monkeypatch.setattr(distributed, "all_reduce", log.noting("reduced"))
    step.all_reduce_async.__globals__["side_stream"].cache_clear()
    with FakeTensorMode():
        loss = torch.ones((), device=NVIDIA)
        answer = all_reduce_async(loss, ReduceOp.SUM, cast(Accelerator, SimpleNamespace(num_processes=processes)))
        inside = ["kept", *["reduced"] * (processes - 1), "copied"]
        assert log == ["side waits for compute", "side", *inside, "end of side"]
        with pytest.raises(DataDependentOutputException):
            answer()
    assert log[-1] == "host waits"
    step.all_reduce_async.__globals__["side_stream"].cache_clear()


def test_a_validation_does_not_wait_for_a_gpu_at_each_batch(waits: Waits) -> None:
    with NVIDIA:
        task = toys.Single(toys.NoOptions())
    batch = Batch({"image": torch.rand(4, 3, 8, 8, device=NVIDIA)}, range(4))
    waits.found.clear()
    sums, _, kept = ask_for_all(task, [(batch, 4), (batch, 1), (batch, 0)], NVIDIA, lambda *_: None, each=True)
    assert waits.found == []
    assert sums["error"].is_cuda and len(kept["error"]) == 3


def test_an_average_does_not_wait_for_a_gpu(waits: Waits) -> None:
    network = nn.Conv2d(3, 4, 3, device=NVIDIA)
    own = SimpleNamespace(module=nn.Conv2d(3, 4, 3, device=NVIDIA), n_averaged=1)
    own.multi_avg_fn = get_ema_multi_avg_fn(0.9)
    averaged = cast(AveragedModel, own)
    waits.found.clear()
    update_average(averaged, network)
    assert waits.found == []


def test_the_count_of_an_average_is_known_without_asking_a_gpu() -> None:
    task = toys.Single(toys.NoOptions())
    averaged = average(task.model, 0.9)
    accelerator = cast(Accelerator, SimpleNamespace(device=torch.device("meta"), num_processes=1))
    place(task, {"model": averaged}, TrainOptions(), accelerator)
    assert averaged.module.weight.is_meta and averaged.n_averaged.is_cpu


def test_copies_to_save_are_waited_for_once(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = list[torch.device]()
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    empty = torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *shape, pin_memory=False, **how: pinned.append(pin_memory) or empty(*shape, **how)
    )
    pinned = list[bool]()
    tensors = {str(size): torch.rand(size, device=NVIDIA) for size in range(5)} | {"here": torch.ones(1)}
    waits.found.clear()
    copies = devices.to_host(tensors)
    assert waits.found == [] and waited == [NVIDIA]
    assert pinned.count(True) == 5 and all(copy.is_cpu for copy in copies.values())
    again = devices.to_host(tensors, copies)
    assert all(again[name] is copies[name] for name in copies) and pinned.count(True) == 5


def test_a_log_line_needs_no_float64_of_a_gpu_that_has_none() -> None:
    from test_elsewhere import NoFloat64

    accelerator = cast(Accelerator, SimpleNamespace(reduce=lambda value, how: value))
    with FakeTensorMode(), NoFloat64(), pytest.raises(DataDependentOutputException):
        mean_terms({"l1": torch.ones((), device=APPLE)}, accelerator)  # all but the numbers themselves


def test_generators_of_apples_gpus_are_seeded_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, states = list[int](), [torch.ones(1)]
    monkeypatch.setattr(torch.mps, "manual_seed", seeds.append)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", states.append)
    devices.seed_device(APPLE, 7)
    assert seeds == [7] and torch.default_generator.initial_seed() == 7
    before = torch.get_rng_state()
    with devices.random_state_kept(APPLE):
        torch.rand(1)
    assert states[-1] is states[0] and len(states) == 2 and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("norm", [0.2, 5.0, float("nan")])
def test_gradients_are_scaled_only_where_that_changes_them(norm: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = list[float]()
    monkeypatch.setattr(step, "clip_grads_with_norm_", lambda _, most, norm: scaled.append(most))
    optimizer = SimpleNamespace(step=lambda: None, zero_grad=lambda: None)
    options = TrainOptions(optimization=OptimizationOptions(clip_norm=1.0))
    placed = SimpleNamespace(updated=lambda _: None)
    own = {"parameters": {"model": []}, "optimizers": {"model": optimizer}}
    learner = SimpleNamespace(options=options, placed=placed, **own)
    Learner.update(cast(Learner, learner), "model", torch.tensor(norm), norm)
    assert scaled == [1.0] * (not norm < 1)
