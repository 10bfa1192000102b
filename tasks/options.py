"""Options that several tasks have: groups to derive a task's options from, and a check that each given one is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Protocol, TypeVar

from annotated_types import Ge, Gt, Le

from launchbay import UserError
from launchbay.data import ImageSet, patch_of
from launchbay.data.chains import Degraded, expand
from launchbay.models.spandrel_names import PREFIX, PUBLISHED, Size
from launchbay.tasks.figures.metrics import ImageMetric

LARGEST_PATCH = 64
"""Side of the squares cropped for training, in pixels, where nobody says otherwise."""
O = TypeVar("O", bound="PatchOptions")  # noqa: E741
D = TypeVar("D", bound="DegradeOptions")
S = TypeVar("S", bound="Sized")


class Mark(Enum):
    """What launchbay has to know of an option, said in its type: `tta: Annotated[bool, Mark.EVALUATION] = False`."""

    EVALUATION = "evaluation"
    """Figures and pictures depend on it, training does not: `launchbay evaluate` takes it too."""
    APPLY = "apply"
    """What is made of a picture depends on it: `launchbay apply` takes it too."""
    RUN = "run"
    """It may be the name of a run in --output-dir: the task then gets the run's folder."""


@dataclass(frozen=True)
class ChannelOptions:
    """For tasks that take pictures of any number of channels."""

    channels: Annotated[int | None, Gt(0)] = None
    """Channels of the pictures; 1 makes colour pictures grey. Default: as the training pictures have them; folders are
    read in colour."""


@dataclass(frozen=True)
class SizeOptions(ChannelOptions):
    """For tasks that bring pictures to squares of one size."""

    size: Annotated[int | None, Gt(0)] = None
    """Side that pictures are brought to, in pixels. Default: theirs if they are squares of one size, otherwise 32."""


@dataclass(frozen=True)
class PatchOptions(ChannelOptions):
    """For tasks that train on random squares of pictures."""

    patch: Annotated[int | None, Gt(0)] = None
    """Side of the squares cropped for training, in pixels. Default: 64, or less if all pictures have one smaller
    size."""


@dataclass(frozen=True)
class ImageMetricOptions:
    """For tasks whose output is compared with a target picture."""

    metrics: Annotated[tuple[ImageMetric, ...], Mark.EVALUATION] = ("psnr", "ssim")
    """Figures of the output pictures (on RGB), beside those of the baseline. ssim does not see the outermost five
    pixels. lpips needs AlexNet's weights. pyiqa:NAME, such as pyiqa:niqe: any figure of pyiqa (an extra)."""


@dataclass(frozen=True)
class DegradeOptions:
    """For tasks that restore pictures."""

    degrade: tuple[str, ...] = ()
    """What is done to pictures, which the network is to undo, by chance anew for each: light (a little blur, noise and
    JPEG), real-esrgan (blur, resize, noise and JPEG, twice: Wang et al., 2021), a YAML file of such operations, or
    operations: "blur: {sigma: [0.2, 3]}" "jpeg: {quality: [30, 95]}". Validation pictures get the same each time."""


@dataclass(frozen=True)
class EnsembleOptions:
    """For tasks whose network restores a picture in any position."""

    tta: Annotated[bool, Mark.EVALUATION, Mark.APPLY] = False
    """Self-ensemble: in validation and use, average what the network makes of the picture in its eight positions (Lim
    et al., 2017). Eight times the work; `launchbay apply` takes it too."""


@dataclass(frozen=True)
class JudgeOptions:
    """For tasks that draw samples, which a classifier can judge."""

    judge: Annotated[str | None, Mark.EVALUATION, Mark.RUN] = None
    """Network that judges samples: a run of classify on the same data, by its name or folder, timm/NAME (ImageNet's
    weights), or inception (the one of papers). Default: none, or timm/resnet18 if metrics of samples need one."""
    samples: Annotated[int | None, Ge(2), Le(1_000_000), Mark.EVALUATION] = None
    """Samples to draw in each validation. Default: as many as there are validation pictures."""


def infer_patch(config: O, images: ImageSet) -> O:
    """Return `config` with the channels of the training `images`, and a patch that fits them."""
    channels, patch = config.channels or images.channels, config.patch or patch_of(images, LARGEST_PATCH)
    return replace(config, channels=channels, patch=patch)


def infer_degrade(config: D, channels: int) -> D:
    """Return `config` with the operations that --degrade names, for pictures of so many `channels`. A run keeps them,
    whatever becomes of a file.
    """
    if config.degrade and channels not in (1, 3):
        said = f"--degrade is for grey or colour pictures, and these have {channels} channels"
        raise UserError(said, "leave it out")
    return replace(config, degrade=expand(config.degrade))


def degraded(
    train: ImageSet, validation: ImageSet, config: DegradeOptions, scale: int = 1
) -> tuple[ImageSet, ImageSet]:
    """Return both sets as --degrade says: beside each picture an "input", `scale` times smaller. Where validation
    pictures come with one, that is what figures are of.

    Raises:
        UserError: training pictures come with one.
    """
    if not config.degrade:
        return train, validation
    if "input" in train.pictures:
        said = "--degrade makes what the network gets, but the data have that already"
        raise UserError(said, "leave it out, or choose other --data")
    given = "input" in validation.pictures
    return Degraded(train, config.degrade, scale), validation if given else Degraded(validation, config.degrade, scale)


def check_unused(config: object, choice: str, uses: Mapping[str, Sequence[str]]) -> None:
    """Raise a UserError if an option was given that the choice made for option `choice`, such as "model", does not use.

    Args:
        config: a task's options, a dataclass.
        uses: the values of `choice` that use an option, by the option's name.
    """
    chosen = getattr(config, choice)
    for option, users in uses.items():
        value = getattr(config, option)
        if value != getattr(type(config), option) and chosen not in users:
            choosing = "--" + choice.replace("_", "-")
            given = f"without {choosing}" if chosen is None else f"with {choosing} {chosen}"
            raise UserError(
                f"--{option.replace('_', '-')} {value} changes nothing {given}",
                f"leave it out, or choose {choosing} {' or '.join(users)}",
            )


class Sized(Protocol):
    """Options of a network that may be one of spandrel's. The size is None where nobody says it."""

    @property
    def model(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def blocks(self) -> int | None: ...


def with_sizes(config: S, own: Size) -> S:
    """Return `config` with a size: that which it has, or the published one of spandrel's networks, or our `own`."""
    size = PUBLISHED.get(config.model, own)
    width, blocks = (config.width or size.width, size.blocks if config.blocks is None else config.blocks)
    return replace(config, width=width, blocks=blocks)  # pyright: ignore


def check_sizes(config: S, own: Size, uses: Mapping[str, Sequence[str]]) -> S:
    """Return `config` with a size, after `check_unused` of what our networks use; those of spandrel use both."""
    sized = with_sizes(config, own)
    if not config.model.startswith(PREFIX):  # runs have a size, also of networks that have no use for it
        same = {name: None for name in own._fields if getattr(sized, name) == getattr(own, name)}
        check_unused(replace(config, **same), "model", uses)  # pyright: ignore
    else:
        check_unused(config, "model", {name: users for name, users in uses.items() if name not in own._fields})
    return sized


def size_of(config: Sized) -> Size:
    """Return the size in `config`, which has one."""
    assert config.width is not None and config.blocks is not None
    return Size(config.width, config.blocks)


def refuse_changed(config: object, options: Sequence[str], why: str) -> None:
    """Raise a UserError if one of `options` was given, all of which change nothing, `why` says in a few words."""
    for option in options:
        value = getattr(config, option)
        if value != getattr(type(config), option):
            raise UserError(f"--{option} {value} changes nothing, {why}", "leave it out, or choose other --data")
