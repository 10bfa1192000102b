"""Data sets and a task for tests, with pictures and masks that show whether they still belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from launchbay.data import ImageSet, generator
from launchbay.tasks import Batch, ImageToImage

COUNT = {"train": 8, "val": 3}


class Scenes(ImageSet):
    """Noise of differing sizes. `input` is its half, `kinds` (uint8 N×1×H×W) its red and `mask` (int64 N×H×W) its green
    channel.
    """

    uniform = False
    pictures = ("image", "input")
    masks = ("mask", "kinds")

    def __init__(self, split: str, root: Path | None = None):
        self.count = COUNT[split]

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> Tensor:
        height, width = (112, 104) if self.uniform else (104 + 2 * int(index), 120 - int(index))
        return torch.randint(0, 256, (3, height, width), generator=generator("scene", int(index)), dtype=torch.uint8)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__(indices)
        return batch | {
            "input": batch["image"] // 2,
            "kinds": batch["image"][:, :1],
            "mask": batch["image"][:, 1].long(),
            "place": torch.tensor(indices, dtype=torch.uint8),
            "caption": [f"scene {int(index)}" for index in indices],
            "boxes": [{"corners": torch.ones(int(index) % 3, 4)} for index in indices],
        }


class EqualScenes(Scenes):
    """The same, all of one size."""

    uniform = True


def check_fit(batch: Batch) -> None:
    """Assert that all of a batch of scenes belongs together, and came along as it should."""
    bytes_ = {name: (batch[name] * 255).round().byte() for name in Scenes.pictures}
    assert torch.equal(bytes_["image"] // 2, bytes_["input"])
    assert batch["kinds"].dtype == torch.uint8 and torch.equal(bytes_["image"][:, :1], batch["kinds"])
    assert batch["mask"].dtype == torch.int64 and torch.equal(bytes_["image"][:, 1].long(), batch["mask"])
    places = batch["place"].tolist()
    assert batch["place"].dtype == torch.uint8 and batch["caption"] == [f"scene {place}" for place in places]
    assert [len(boxes["corners"]) for boxes in batch["boxes"]] == [place % 3 for place in places]


@dataclass(frozen=True)
class RestoreConfig:
    pass


class Restore(ImageToImage[RestoreConfig]):
    """A paired task: what is degraded comes from the data set."""

    defaults: ClassVar = {"data": "pair_toys:Scenes", "batch_size": 4, "steps": 4, "log_every": 1, "warmup": 0}

    def __init__(self, config: RestoreConfig):
        super().__init__(config)
        self.model = nn.Conv2d(3, 3, 1)

    def degrade(self, batch: Batch) -> Tensor:
        check_fit(batch)
        return batch["input"]
