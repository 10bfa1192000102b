"""Parts of pictures: random squares for training, sizes cut to a multiple for networks that need one."""

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index


class Crops(ImageSet):
    """One random `size`×`size` square of each picture of `images`; where it lies is drawn anew at every visit."""

    def __init__(self, images: ImageSet, size: int):
        self.images, self.size, self.classes = images, size, images.classes

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        image = self.images.image(index)
        height, width = image.shape[-2:]
        if min(height, width) < self.size:
            raise UserError(
                f"picture {int(index)} has {width}×{height} pixels, too few for a crop of {self.size}×{self.size}",
                "choose a smaller --patch, or leave small pictures out",
            )
        assert isinstance(index, Index)
        top, left = (
            torch.rand(2, generator=index.generator()) * torch.tensor([height, width]).sub(self.size - 1)
        ).long()
        return image[:, top : top + self.size, left : left + self.size]

    def label(self, index: int) -> int | None:
        return self.images.label(index)


class Multiples(ImageSet):
    """The pictures of `images`, cut at the right and the bottom to multiples of `multiple` pixels."""

    def __init__(self, images: ImageSet, multiple: int):
        self.images, self.multiple = images, multiple
        self.uniform, self.classes = images.uniform, images.classes

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        image = self.images.image(index)
        height, width = (length // self.multiple * self.multiple for length in image.shape[-2:])
        return image[:, :height, :width]

    def label(self, index: int) -> int | None:
        return self.images.label(index)
