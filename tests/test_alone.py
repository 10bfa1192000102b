"""What the processes of a run do together, done by one that is a group by itself."""

import threading
from collections.abc import Generator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import deep_toys
import pytest
import torch
from accelerate import Accelerator
from timm.layers.norm_act import BatchNormAct2d
from torch import distributed, nn
from torch.distributed import (
    HashStore,  # pyright: ignore[reportPrivateImportUsage]
    distributed_c10d,
)

from launchbay import UserError
from launchbay.launch.checkpoint.storage import TrainedState
from launchbay.launch.distributed import groups
from launchbay.launch.distributed.guest import as_guest
from launchbay.launch.engine import sharding
from launchbay.launch.engine.sharding import Sharded, check_shareable
from launchbay.launch.engine.shared_saver import SharedSaver
from launchbay.launch.engine.sync_batchnorm import synchronize_batchnorm


@pytest.fixture
def alone() -> Generator[Accelerator]:
    """One process that is a group by itself."""
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield Accelerator(cpu=True)
    distributed.destroy_process_group()


def test_each_tensor_is_handed_to_the_others_once(alone: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of blocks too, buffers among them."""
    brought = list[int]()
    network = deep_toys.deep(3, 3, 0.0, nn.BatchNorm2d)
    expected = sorted(map(id, [*network.parameters(), *network.buffers()]))
    monkeypatch.setattr(sharding, "broadcast", lambda tensor: brought.append(id(tensor)))
    Sharded({"model": network}, alone.device)
    assert sorted(brought) == expected


def test_a_training_leaves_no_group_or_thread_behind_for_the_next(alone: Accelerator) -> None:
    network = nn.Linear(2, 2)
    state = TrainedState(nn.Module(), {"model": network}, {}, {"model": torch.optim.Adam(network.parameters())})
    groups, threads = set(distributed_c10d._world.pg_map), threading.active_count()
    saver = SharedSaver(Path("checkpoints"), state, 1, None, alone, timeout=5)
    saver.save(1, {}, best=False)
    assert set(distributed_c10d._world.pg_map) > groups
    saver.close()
    assert set(distributed_c10d._world.pg_map) == groups and threading.active_count() == threads
    with suppress(UserError):  # no run could go on from so little
        saver.finish()


@pytest.mark.usefixtures("alone")
def test_a_guest_lets_go_of_its_groups_also_where_there_was_one_before() -> None:
    with as_guest():
        groups.meet_aside(5)
    assert groups.aside() is None and distributed.is_initialized()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("layer", "sides"), [(nn.BatchNorm1d, 1), (nn.BatchNorm2d, 2), (nn.BatchNorm3d, 3), (BatchNormAct2d, 2)]
)
def test_each_kind_of_batchnorm_is_synchronised(layer: type[nn.Module], sides: int) -> None:
    """That of timm too, which has an activation in it: most of its networks have that one."""
    plain = nn.Sequential(layer(3)).double()
    shared, image = deepcopy(plain), torch.randn(4, 3, *[5] * sides, dtype=torch.float64)
    synchronize_batchnorm("model", shared)
    synchronize_batchnorm("model", shared)
    assert "Synchronised" in type(shared[0]).__name__
    for training in (True, False):
        results = [network.train(training)(image.clone()) for network in (plain, shared)]
        torch.testing.assert_close(*results)
    torch.testing.assert_close(plain.state_dict(), shared.state_dict())


def test_a_batchnorm_that_nobody_knows_is_refused() -> None:
    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match=r"--sync-batchnorm: model\.1 is a Own"):
        synchronize_batchnorm("model", nn.Sequential(nn.ReLU(), Own(3)))


def test_parameters_that_have_no_rows_in_common_are_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).bfloat16())
    with pytest.raises(UserError, match=r"'model' has parameters of several types \(bfloat16, float32\)"):
        check_shareable("model", network)
    network.register_parameter("gain", nn.Parameter(torch.ones(())))
    with pytest.raises(UserError, match=r"--shard: model\.gain is a single number"):
        check_shareable("model", network)
