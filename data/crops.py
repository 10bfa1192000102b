"""Parts of pictures: random squares for training, sizes cut to a multiple for networks that need one."""

import torch
from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index


def refuse_small(images: ImageSet, smallest: int, remedy: str) -> None:
    """Name the first picture that is below `smallest` pixels in width or height.

    Raises:
        UserError: there is one.
    """
    for index in range(1 if images.uniform else len(images)):
        height, width = images.size(index)
        if min(height, width) < smallest:
            raise UserError(
                f"{images.name(index)} has {width}×{height} pixels, but {smallest}×{smallest} are needed", remedy
            )


class Part(ImageSet):
    """Parts of the pictures of `images`."""

    def __init__(self, images: ImageSet):
        self.images, self.classes, self.uniform = images, images.classes, images.uniform

    def __len__(self) -> int:
        return len(self.images)

    def label(self, index: int) -> int | None:
        return self.images.label(index)

    def name(self, index: int) -> str:
        return self.images.name(index)


class Crops(Part):
    """One random `side`×`side` square of each picture of `images`; where it lies is drawn anew at every visit."""

    def __init__(self, images: ImageSet, side: int):
        super().__init__(images)
        self.side, self.uniform = side, True
        refuse_small(images, side, "choose smaller crops, or leave small pictures out")

    def image(self, index: int) -> Tensor:
        assert isinstance(index, Index)
        image = self.images.image(index)
        room = torch.tensor(image.shape[-2:]) - self.side + 1
        top, left = (torch.rand(2, generator=index.generator()) * room).long()
        return image[:, top : top + self.side, left : left + self.side]


class Multiples(Part):
    """The pictures of `images`, cut at the right and the bottom to multiples of `multiple` pixels."""

    def __init__(self, images: ImageSet, multiple: int, smallest: int):
        super().__init__(images)
        self.multiple = multiple
        refuse_small(images, max(multiple, smallest), "leave small pictures out")

    def image(self, index: int) -> Tensor:
        image = self.images.image(index)
        height, width = (length // self.multiple * self.multiple for length in image.shape[-2:])
        return image[:, :height, :width]
