"""Data sets that are one tensor in memory: a batch is one gather."""

from collections.abc import Sequence

import torch
from torch import Tensor

from launchbay.data.base import ImageSet
from launchbay.devices import can_pin, free_memory
from launchbay.exact import exact_device


class Resident(ImageSet):
    """`pixels`, uint8 N×C×H×W, and their `labels`, integers of `classes`."""

    def __init__(self, pixels: Tensor, labels: Tensor, classes: Sequence[str]):
        # Channels last, as networks get them: a batch of CIFAR-10 is ready in a fifth of the time.
        self.pixels = pixels.contiguous(memory_format=torch.channels_last)
        self.labels, self.classes = labels.long(), tuple(classes)

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        return self.pixels[index]

    def label(self, index: int) -> int | None:
        return int(self.labels[index])

    def to(self, device: torch.device) -> None:
        """Move the pictures to `device`, unless they would fill more than half of what is free there, or it lacks the
        float64 in which they are augmented.
        """
        if exact_device(device) != device:
            return
        free = free_memory(device)
        if free is None or self.pixels.nbytes <= free // 2:
            self.pixels, self.labels = self.pixels.to(device), self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        # From pinned memory: copying anything else to a GPU would wait for it.
        chosen = torch.tensor(indices, pin_memory=can_pin(self.pixels.device)).to(self.pixels.device, non_blocking=True)
        # Seen as N×H×W×C, as they lie in memory, each picture is one piece to copy.
        pixels = self.pixels.permute(0, 2, 3, 1).index_select(0, chosen).permute(0, 3, 1, 2)
        return {"image": pixels, "label": self.labels[chosen]}


class Unlabelled(Resident):
    """Pictures alone; `why` they have no classes."""

    def __init__(self, pixels: Tensor, why: str):
        super().__init__(pixels, torch.zeros(len(pixels)), ())
        self.unlabelled = why

    def label(self, index: int) -> None:
        return None

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return {"image": super().__getitems__(indices)["image"]}
