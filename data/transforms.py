"""Parts of pictures: random squares for training, sizes cut to a multiple, or everything fitted to one size. Whatever a
data set names in `pictures` and `masks` is cut and fitted alike.
"""

from collections.abc import Callable, Sequence
from math import lcm, prod

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from launchbay import number_of
from launchbay.data.base import ImageSet, picture_and_label
from launchbay.data.colours import luminance
from launchbay.data.randomness import Index
from launchbay.data.samples import Values, check, declared, join
from launchbay.data.unsuitable import UnsuitablePictures, check_one_size, check_sizes


class Transformed(ImageSet):
    """Parts of the pictures and masks of `images`; what else that set gives stays as it is."""

    def __init__(self, images: ImageSet):
        self.images, self.classes, self.uniform = images, images.classes, images.uniform
        self.names, self.pictures, self.masks = declared(images), images.pictures, images.masks
        self.scales, self.essential, self.shards = images.scales, images.essential, images.shards
        self.source: ImageSet = images.source if isinstance(images, Transformed) else images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return self.images.channels

    def image(self, index: int) -> Tensor:
        return self.apart([index])[0]["image"][0]

    def label(self, index: int) -> int | None:
        return self.images.label(index)

    def name(self, index: int) -> str:
        return self.images.name(index)

    def fingerprint(self) -> str:
        return self.images.fingerprint()

    def cut(self, pictures: Tensor, scale: int = 1) -> Tensor:
        """Of N×C×H×W, all of one size, `scale` times smaller than `image`; of masks too (N×H×W as well), unless
        `cut_masks` says otherwise.
        """
        return pictures

    def cut_masks(self, masks: Tensor) -> Tensor:
        return self.cut(masks)

    def change(self, values: Values) -> Values:
        """Return `values` with its pictures and masks cut."""
        return {
            **values,
            **{name: self.cut(values[name], self.scales.get(name, 1)) for name in self.pictures},
            **{name: self.cut_masks(values[name]) for name in self.masks},
        }

    def apart(self, indices: Sequence[int]) -> list[Values]:
        """Return a batch of one for each of `indices`."""
        return [self.change(part) for part in apart(self.images, indices)]

    def to(self, device: torch.device) -> None:
        """Only where a whole batch is cut at once: pictures one by one are slower there."""
        if self.images.uniform:
            self.images.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Values:
        if not self.images.uniform:
            return join(self.source, indices, self.apart(indices))
        return self.change(together(self.images, indices))


def together(images: ImageSet, indices: Sequence[int]) -> Values:
    """Return what `images` gives for `indices`, checked where a data set of an author gives it."""
    values = images.__getitems__(indices)
    return values if isinstance(images, Transformed) else check(images, indices, values)


def apart(images: ImageSet, indices: Sequence[int]) -> list[Values]:
    """Return a batch of one for each of `indices`. No picture is copied before it is cut, if that can be."""
    if isinstance(images, Transformed):
        return images.apart(indices)
    if type(images).__getitems__ is ImageSet.__getitems__:
        parts = [picture_and_label(images, index) for index in indices]
        for index, part in zip(indices, parts, strict=True) if parts[0]["image"].is_floating_point() else ():
            check(images, [index], part)  # each has values of its own
        check(images, indices[:1], parts[0])
        return parts
    if not images.uniform:
        return [together(images, [index]) for index in indices]
    values = together(images, indices)
    return [{name: value[n : n + 1] for name, value in values.items()} for n in range(len(indices))]


class Crops(Transformed):
    """One random `side`×`side` square of each picture of `images`; where it lies is drawn anew at every visit."""

    def __init__(self, images: ImageSet, side: int):
        super().__init__(images)
        self.crop, self.uniform, self.step = side, True, lcm(*images.scales.values())
        if side % self.step:
            said = (
                f"squares of {side}×{side} pixels are no whole number of pixels of pictures {self.step} times smaller"
            )
            raise UnsuitablePictures(said, f"choose a multiple of {self.step}", "crop")
        self.whole = images.uniform and images.size(0) == (side, side)
        check_sizes(images, side, "crop")

    def size(self, index: int) -> tuple[int, int]:
        return self.crop, self.crop

    def apart(self, indices: Sequence[int]) -> list[Values]:
        parts = apart(self.images, indices)
        return parts if self.whole else [self.square(*both) for both in zip(parts, indices, strict=True)]

    def square(self, part: Values, index: int) -> Values:
        assert isinstance(index, Index)
        height, width = part["image"].shape[-2:]
        down, across = torch.rand(2, generator=index.generator()).tolist()
        step = self.step  # so that the square begins and ends between pixels of smaller pictures, too
        top, left = (
            int(share * (length // step - self.crop // step + 1)) * step
            for share, length in ((down, height), (across, width))
        )
        squares = {name: self.square_of(part[name], top, left, self.scales.get(name, 1)) for name in self.names}
        return {**part, **squares}

    def square_of(self, picture: Tensor, top: int, left: int, scale: int) -> Tensor:
        """Return of a picture, `scale` times smaller than `image`, the square that is at `top` and `left` of this."""
        rows, columns = (slice(start // scale, (start + self.crop) // scale) for start in (top, left))
        return picture[..., rows, columns]

    def to(self, device: torch.device) -> None:
        if self.whole:
            super().to(device)

    def __getitems__(self, indices: Sequence[int]) -> Values:
        return super().__getitems__(indices) if self.whole else join(self.source, indices, self.apart(indices))


LONGEST_SIDE = 2048
"""Pixels in height and width of a picture that is evaluated whole, which takes a network some 3 GiB. Those of DIV2K are
smaller."""


def at_once(images: ImageSet, most: int) -> int:
    """Return how many pictures are evaluated together: at most as many as `most`, and as memory is taken for one of the
    largest.
    """
    if not images.uniform:
        return 1
    return min(most, max(1, LONGEST_SIDE**2 // prod(images.size(0)))) if isinstance(images, Transformed) else most


class Multiples(Transformed):
    """The pictures of `images`, cut at the right and the bottom to multiples of `multiple` pixels; the middle of those
    that are larger than `LONGEST_SIDE`.
    """

    def __init__(self, images: ImageSet, multiple: int, smallest: int):
        super().__init__(images)
        self.multiple = lcm(multiple, *images.scales.values())
        check_sizes(images, max(self.multiple, smallest))

    def size(self, index: int) -> tuple[int, int]:
        height, width = (self.middle(length // self.multiple)[1] * self.multiple for length in self.images.size(index))
        return height, width

    def middle(self, units: int) -> tuple[int, int]:
        """Return where what is taken of a length begins, and how long it is, in multiples of pixels."""
        taken = min(units, LONGEST_SIDE // self.multiple)
        return (units - taken) // 2, taken

    def cut(self, pictures: Tensor, scale: int = 1) -> Tensor:
        multiple = self.multiple // scale
        (top, height), (left, width) = (self.middle(length // multiple) for length in pictures.shape[-2:])
        return pictures[..., top * multiple : (top + height) * multiple, left * multiple : (left + width) * multiple]

    def remark(self) -> str:
        """Return what to say of those that are cut to their middle; empty if none is."""
        large = [index for index in range(len(self)) if max(self.images.size(index)) >= LONGEST_SIDE + self.multiple]
        if not large:
            return ""
        verb = "is" if len(large) == 1 else "are"
        what = f"{number_of(len(large), 'picture')} {verb} larger than {LONGEST_SIDE}×{LONGEST_SIDE} pixels"
        return f"{what}, such as {self.name(large[0])}: of these the middle is used"


class Fitted(Transformed):
    """The pictures of `images`, `image` with `channels` channels, and shrunk or enlarged to squares of `size` pixels.
    One channel is repeated, and of RGB the luminance is taken; of other pictures that have as many channels, too.

    Raises:
        UserError: they have another number of channels.
    """

    def __init__(self, images: ImageSet, *, size: int | None = None, channels: int | None = None):
        super().__init__(images)
        self.side, self.uniform = size, images.uniform or size is not None
        if size is not None:
            check_one_size(images)
        self.wanted = None if channels == images.channels else channels
        if self.wanted is not None and images.channels != 1 and (images.channels, channels) != (3, 1):
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

    def cut(self, pictures: Tensor, scale: int = 1) -> Tensor:
        if self.wanted is not None and pictures.shape[1] == self.images.channels:
            pictures = luminance(pictures) if self.wanted == 1 else pictures.expand(-1, self.wanted, -1, -1)
        return fit(pictures, self.side, resize)

    def cut_masks(self, masks: Tensor) -> Tensor:
        return fit(masks, self.side, nearest)


def fit(pictures: Tensor, side: int | None, resized: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """Return ...×side×side of ...×H×W: `resized` so that the shorter side fits, and the middle of the longer one."""
    if side is None or pictures.shape[-2:] == (side, side):
        return pictures
    height, width = (side * length // min(pictures.shape[-2:]) for length in pictures.shape[-2:])
    top, left = round((height - side) / 2), round((width - side) / 2)
    return resized(pictures, height, width)[..., top : top + side, left : left + side]


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """What torchvision's `resize` gives, which takes as long to import as torch."""
    return interpolate(pictures, [height, width], mode="bilinear", antialias=True)


def nearest(masks: Tensor, height: int, width: int) -> Tensor:
    """...×height×width of ...×H×W, of any type: each pixel that which lies where its middle does."""
    rows, columns = (
        (2 * torch.arange(new, device=masks.device) + 1) * old // (2 * new)
        for new, old in zip((height, width), masks.shape[-2:], strict=True)
    )
    return masks[..., rows[:, None], columns]
