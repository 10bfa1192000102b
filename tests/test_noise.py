"""Random numbers of samples: the same bits on every device, in every batch, and distributed as they should be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from launchbay.data import noise
from launchbay.tasks import Batch

Draw = Callable[[list[int], int, int, torch.device], Tensor]
CPU = torch.device("cpu")
KEYS = [0, 1, 2**63, 2**64 - 1, 1234567]


@pytest.mark.parametrize("draw", [noise.normal, noise.uniform])
def test_a_device_draws_the_bits_that_the_host_draws(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    for call, count in ((0, 1), (3, 301), (2, noise.BLOCK + 7)):
        here = draw(KEYS, call, count, CPU)
        assert here.shape == (5, count) and here.dtype == torch.float32
        with monkeypatch.context() as patch:
            patch.setattr(noise, "draws_there", lambda *_: True)
            assert torch.equal(here, draw(KEYS, call, count, CPU))


@pytest.mark.parametrize("draw", [noise.normal, noise.uniform])
def test_a_sample_has_its_numbers_in_whatever_batch(draw: Draw) -> None:
    count = 2 * noise.BLOCK + 5
    together, alone = draw(KEYS, 7, count, CPU), draw(KEYS[3:4], 7, count, CPU)
    assert torch.equal(together[3:4], alone)
    assert torch.equal(draw(KEYS, 7, 11, CPU)[3], alone[0, :11])
    assert not torch.equal(draw(KEYS[3:4], 8, count, CPU), alone)


def test_normal_numbers_are_normal() -> None:
    """To 3e-6, from 32 bits each: at all sizes, and in the tails."""
    slopes, offsets = noise.segments()
    sizes = np.unique(np.r_[0:300, np.geomspace(1, 2**31 - 1, 50_000)].astype(np.int64))
    bits = np.r_[-sizes[1:], sizes].astype(np.int32)
    floats = bits.astype(np.float32)
    place = (floats.view(np.int32) >> 16) & (noise.SEGMENTS - 1)
    chance = torch.from_numpy(np.abs(bits.astype(np.float64)).clip(0.25) / 2**31)
    expected = torch.special.ndtri(1 - chance / 2).where(chance > 1e-6, -torch.special.ndtri(chance / 2))
    expected *= torch.from_numpy(np.where(bits < 0, -1, 1))
    assert np.abs(floats * slopes[place] + offsets[place] - expected.numpy()).max() < 4e-6
    drawn = noise.normal(KEYS, 0, 200_000, CPU).double()
    assert drawn.abs().max() < 6.5 and drawn.mean().abs() < 0.004
    assert drawn.pow(2).mean() == pytest.approx(1, abs=0.006) and drawn.pow(4).mean() == pytest.approx(3, abs=0.04)
    assert drawn.corrcoef().fill_diagonal_(0).abs().max() < 0.01  # of the samples with each other


class Sent(TorchDispatchMode):
    """Notes how many numbers of the host go to a device at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_meta:
            given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            self.numbers += [value.numel() for value in given if value.is_cpu and value.ndim]
        return result


def test_noise_as_large_as_pictures_is_drawn_on_the_device() -> None:
    """Stands in for a GPU: the device that has shapes, but no values."""
    batch = Batch({"image": torch.empty(64, 3, 32, 32, device="meta")}, range(64))
    batch.randn(3, 32, 32)  # makes tables
    with Sent() as sent:
        assert batch.randn(3, 32, 32).is_meta and batch.rand(3, 32, 32).is_meta
        assert max(sent.numbers) == 64
        sent.numbers.clear()
        assert batch.rand(2).is_meta  # so little is drawn here
    assert sent.numbers == [128]
