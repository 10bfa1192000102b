"""The networks of spandrel that can be trained here, by name, with their published sizes. Without torch.

Left out are those with weights that training does not reach (SPAN, FDAT, SwiftSRGAN), that take no batches (SeemoRe),
that take squares or give more than a picture (Uformer, FBCNN), of one size (DCTLSA), or for other tasks (faces, haze).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

PREFIX = "spandrel/"
SpandrelSuperRes = Literal[
    "spandrel/ATD", "spandrel/CRAFT", "spandrel/Compact", "spandrel/DAT", "spandrel/DITN", "spandrel/DRCT",
    "spandrel/ESRGAN", "spandrel/HAT", "spandrel/MoSR", "spandrel/OmniSR", "spandrel/PLKSR",
    "spandrel/RCAN", "spandrel/RGT", "spandrel/RealPLKSR", "spandrel/SAFMN", "spandrel/Swin2SR", "spandrel/SwinIR",
    "spandrel/SwinIR-light",
]  # fmt: skip
"""Those that enlarge pictures."""
SpandrelDenoise = Literal[
    "spandrel/Compact", "spandrel/DnCNN", "spandrel/ESRGAN", "spandrel/NAFNet", "spandrel/SCUNet", "spandrel/SwinIR"
]
"""Those that restore pictures of any channels, and leave them as large."""


class Size(NamedTuple):
    """The size of a network: its channels, and its blocks or, where these are grouped, groups of them."""

    width: int
    blocks: int


PUBLISHED: Mapping[str, Size] = {
    "spandrel/ATD": Size(210, 6),
    "spandrel/CRAFT": Size(48, 4),
    "spandrel/Compact": Size(64, 16),
    "spandrel/DAT": Size(180, 6),
    "spandrel/DITN": Size(60, 1),
    "spandrel/DRCT": Size(180, 6),
    "spandrel/DnCNN": Size(64, 17),
    "spandrel/ESRGAN": Size(64, 23),
    "spandrel/HAT": Size(180, 6),
    "spandrel/MoSR": Size(64, 24),
    "spandrel/NAFNet": Size(32, 12),
    "spandrel/OmniSR": Size(64, 5),
    "spandrel/PLKSR": Size(64, 28),
    "spandrel/RCAN": Size(64, 10),
    "spandrel/RGT": Size(180, 8),
    "spandrel/RealPLKSR": Size(64, 28),
    "spandrel/SAFMN": Size(36, 8),
    "spandrel/SCUNet": Size(64, 4),
    "spandrel/Swin2SR": Size(180, 6),
    "spandrel/SwinIR": Size(180, 6),
    "spandrel/SwinIR-light": Size(60, 4),
}
"""By name: the sizes that --width and --blocks stand for where they are not given."""
