"""Mixup and CutMix: a sample is mixed with its neighbour in the order of the training, which is a random one.
Neighbours are on one process, however many there are: nothing is fetched or sent for it, and one process mixes as two.
"""

import torch
from torch import Tensor

from launchbay import UserError


def partners(rows: Tensor) -> Tensor:
    """Return N rows, those of neighbours swapped: row 1 where row 0 was, 0 for 1, 3 for 2.

    Raises:
        UserError: N is odd.
    """
    if len(rows) % 2:
        raise UserError(
            f"mixup and CutMix take samples in pairs, and a process computes {len(rows)} of the batch at once",
            "choose a --batch-size that is a multiple of 2 × the number of processes × --accumulate",
        )
    return rows.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def beta(chance: Tensor, alpha: float) -> Tensor:
    """Return what is Beta(`alpha`, `alpha`) distributed where `chance` is uniform on [0, 1): its quantiles."""
    from scipy.special import betaincinv

    quantiles = betaincinv(alpha, alpha, chance.double().cpu().numpy())
    return torch.from_numpy(quantiles).to(chance.device, chance.dtype)


def mixup(image: Tensor, share: Tensor) -> Tensor:
    """Return each picture, weighted by its `share`, plus the rest of its partner (Zhang et al., 2018,
    https://arxiv.org/abs/1710.09412).

    Args:
        image: N×C×H×W.
        share: N numbers in [0, 1].
    """
    share = share[:, None, None, None]
    return image * share + partners(image) * (1 - share)


def cutmix(image: Tensor, share: Tensor, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Return each picture with a rectangle of its partner's, and the share of it that is left (Yun et al., 2019,
    https://arxiv.org/abs/1905.04899). The rectangle has the picture's form, but for what is beyond its border.

    Args:
        image: N×C×H×W.
        share: N numbers in [0, 1]: what would be left without a border.
        down, across: N numbers in [0, 1): where the middle of the rectangle is.
    """
    height, width = image.shape[-2:]
    half = (1 - share).sqrt() / 2
    rows, columns = (
        inside((middle * side).floor(), (half * side).floor(), side)
        for middle, side in ((down, height), (across, width))
    )
    cut = rows[:, :, None] & columns[:, None, :]
    left = 1 - cut.sum(dim=(1, 2)).to(share.dtype) / (height * width)
    return torch.where(cut[:, None], partners(image), image), left


def inside(middle: Tensor, half: Tensor, side: int) -> Tensor:
    """Return which of `side` places are less than `half` from `middle`, or are `half` before it: N×side."""
    places = torch.arange(side, device=middle.device)
    return (places >= (middle - half)[:, None]) & (places < (middle + half)[:, None])
