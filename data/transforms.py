"""Parts of pictures: random squares for training, sizes cut to a multiple, or everything fitted to one size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.randomness import Index


class UnsuitablePictures(UserError):
    """Pictures that are not as `load` was asked for: `option` is what it was asked for, "crop", "channels" or nothing
    that a task chooses. Who knows the task's own options can give a better hint.
    """

    def __init__(self, message: str, hint: str, option: str = "", channels: int = 0, split: str = ""):
        super().__init__(message, hint)
        self.option, self.channels, self.split = option, channels, split


def check_sizes(images: ImageSet, smallest: int, option: str = "") -> None:
    """Raise UnsuitablePictures if a picture has fewer than `smallest` pixels in width or height; the first is named."""
    for index in range(1 if images.uniform else len(images)):
        height, width = images.size(index)
        if min(height, width) < smallest:
            name = images.name(index)
            raise UnsuitablePictures(
                f"{name} has {width}×{height} pixels, but {smallest}×{smallest} are needed",
                "leave small pictures out",
                option,
            )


class Transformed(ImageSet):
    """Parts of the pictures of `images`; what else that set gives stays as it is."""

    def __init__(self, images: ImageSet):
        self.images, self.classes, self.uniform = images, images.classes, images.uniform

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.channels

    def image(self, index: int) -> Tensor:
        return self.cut(self.images.image(index))

    def label(self, index: int) -> int | None:
        return self.images.label(index)

    def name(self, index: int) -> str:
        return self.images.name(index)

    def fingerprint(self) -> str:
        return self.images.fingerprint()

    def cut(self, image: Tensor) -> Tensor:
        """Of one picture or, where all have one size, of a batch."""
        return image

    def to(self, device: torch.device) -> None:
        """Only where a whole batch is cut at once: pictures one by one are slower there."""
        if self.images.uniform:
            self.images.to(device)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        if not self.images.uniform:
            return super().__getitems__(indices)
        batch = self.images.__getitems__(indices)
        return {**batch, "image": self.cut(batch["image"])}


class Crops(Transformed):
    """One random `side`×`side` square of each picture of `images`; where it lies is drawn anew at every visit."""

    def __init__(self, images: ImageSet, side: int):
        super().__init__(images)
        self.crop, self.uniform = side, True
        self.whole = images.uniform and images.size(0) == (side, side)
        check_sizes(images, side, "crop")

    def size(self, index: int) -> tuple[int, int]:
        return self.crop, self.crop

    def image(self, index: int) -> Tensor:
        image = self.images.image(index)
        if self.whole:
            return image
        assert isinstance(index, Index)
        height, width = image.shape[-2:]
        down, across = torch.rand(2, generator=index.generator()).tolist()
        top, left = int(down * (height - self.crop + 1)), int(across * (width - self.crop + 1))
        return image[:, top : top + self.crop, left : left + self.crop]

    def to(self, device: torch.device) -> None:
        if self.whole:
            super().to(device)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return super().__getitems__(indices) if self.whole else ImageSet.__getitems__(self, indices)


class Multiples(Transformed):
    """The pictures of `images`, cut at the right and the bottom to multiples of `multiple` pixels."""

    def __init__(self, images: ImageSet, multiple: int, smallest: int):
        super().__init__(images)
        self.multiple = multiple
        check_sizes(images, max(multiple, smallest))

    def cut(self, image: Tensor) -> Tensor:
        height, width = (length // self.multiple * self.multiple for length in image.shape[-2:])
        return image[..., :height, :width]


class Fitted(Transformed):
    """The pictures of `images` with `channels` channels, and shrunk or enlarged to squares of `size` pixels.

    Raises:
        UserError: they have another number of channels, and not a single one, which could be repeated.
    """

    def __init__(self, images: ImageSet, *, size: int | None = None, channels: int | None = None):
        super().__init__(images)
        self.side, self.wanted = size, channels
        self.uniform = images.uniform or size is not None
        if channels is not None and images.channels not in (1, channels):
            message = f"the pictures have {images.channels} channels, the network takes {channels}"
            raise UnsuitablePictures(message, "choose other pictures", "channels", images.channels)

    @property
    def channels(self) -> int:
        return self.wanted or self.images.channels

    def size(self, index: int) -> tuple[int, int]:
        return (self.side, self.side) if self.side is not None else self.images.size(index)

    def to(self, device: torch.device) -> None:
        """Only where nothing is resized: torch does that with 8-bit pictures on CPUs alone."""
        if self.side is None or self.images.size(0) == (self.side, self.side):
            super().to(device)

    def cut(self, image: Tensor) -> Tensor:
        if self.wanted is not None and image.shape[-3] != self.wanted:
            image = image.expand(*image.shape[:-3], self.wanted, *image.shape[-2:])
        if self.side is not None and image.shape[-2:] != (self.side, self.side):
            image = fit_square(image, self.side)
        return image


def fit_square(image: Tensor, side: int) -> Tensor:
    """...×C×H×W shrunk or enlarged to `side` pixels, and of that the middle square: what torchvision's `resize` and
    `center_crop` give, which take as long to import as torch.
    """
    height, width = (side * length // min(image.shape[-2:]) for length in image.shape[-2:])
    resized = interpolate(image.view(-1, *image.shape[-3:]), [height, width], mode="bilinear", antialias=True)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return resized.view(*image.shape[:-2], height, width)[..., top : top + side, left : left + side]
