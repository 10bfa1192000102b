"""Mixup and CutMix: a sample is mixed with its neighbour in the order of the training, which is a random one.
Neighbours are on one process, however many there are: nothing is fetched or sent for it, and one process mixes as two.
"""

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.exact import exact


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

    quantiles = betaincinv(alpha, alpha, exact(chance).cpu().numpy())
    return torch.from_numpy(quantiles).to(chance.device, chance.dtype)


def mixed(image: Tensor, weight: Tensor) -> Tensor:
    """Return each picture times its `weight`, plus its partner times the rest.

    Args:
        image: N×C×H×W.
        weight: in [0, 1], N×1×1×1 for mixup (Zhang et al., 2018, https://arxiv.org/abs/1710.09412), or N×1×H×W.
    """
    others = partners(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # channels last, as they lie in memory
    return torch.lerp(others, image, weight)


def rectangles(share: Tensor, down: Tensor, across: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the weights of CutMix (Yun et al., 2019, https://arxiv.org/abs/1905.04899), N×1×H×W: 0 in a rectangle of
    the picture's form, as far as it is in the picture, and 1 around it.

    Args:
        share: N numbers in [0, 1]: what is left around a rectangle, if all of it is in the picture.
        down, across: N numbers in [0, 1): where its middle is.
        size: (H, W).
    """
    height, width = size
    half = (1 - share).sqrt() / 2
    rows, columns = (
        inside((middle * side).floor(), (half * side).floor(), side)
        for middle, side in ((down, height), (across, width))
    )
    return 1 - (rows[:, :, None] & columns[:, None, :])[:, None].to(share.dtype)


def inside(middle: Tensor, half: Tensor, side: int) -> Tensor:
    """Return which of `side` places are less than `half` from `middle`, or are `half` before it: N×side."""
    places = torch.arange(side, device=middle.device)
    return (places >= (middle - half)[:, None]) & (places < (middle + half)[:, None])
