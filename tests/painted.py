"""Pictures of noise, for tests that need files by the dozen."""

from pathlib import Path

import numpy as np
from PIL import Image


def paint(path: Path, side: int = 8, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def paint_thirty() -> Path:
    """Write thirty pictures of two classes. Return their folder."""
    for number in range(30):
        paint(Path(f"pictures/{'ab'[number % 2]}/{number:02}.png"), seed=number)
    return Path("pictures")
