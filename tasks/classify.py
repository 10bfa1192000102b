"""Classification: say which kind of thing is in a picture.

Reached on CIFAR-10's test set on 2 CPU cores: 84.1 % with the three-block CNN (24 epochs, 10 minutes; the best of ten
checkpoints by these pictures, the last is within 0.1 %), 94.0 % with airbench (13 epochs, 13 minutes;
examples/records/cifar10-94.yaml), 94.7 % with a wider one (17 epochs; cifar10-95.yaml there). On the embedded glyphs
all answers are right after a minute.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from launchbay import UserError
from launchbay.data import ImageSet, Load, LoadOptions, count_classes, side_of, warp
from launchbay.data.augment import color_jitter, cutout, dihedral
from launchbay.data.mixing import beta, mixed, partners, rectangles
from launchbay.data.policies import BINS, OPERATIONS, RANDAUGMENT, TRIVIALAUGMENT, change
from launchbay.data.random_parts import RATIO
from launchbay.data.transforms import fit, resize
from launchbay.models.classify import build_classifier
from launchbay.tasks.answers import Answer, Classes
from launchbay.tasks.base import Batch, Datasets, Losses, Task
from launchbay.tasks.figures.plots import answer_picture, confusion_matrix
from launchbay.tasks.options import Mark, SizeOptions, check_unused


@dataclass(frozen=True)
class ClassifyConfig(SizeOptions):
    model: str = "cnn"
    """cnn: three blocks of convolution and pooling, two fully connected layers. resnet9: small and residual.
    airbench: the network of the fast CIFAR-10 records. timm/NAME: any network of timm, such as timm/resnet18
    (--weights timm/resnet18 starts it from its published weights)."""
    width: Annotated[int, Gt(0)] = 32
    """Channels of resnet9's first layer, which has four times as many in the end; airbench has twice, and eight times
    as many."""
    flip: bool | None = None
    """Mirror half of the training pictures. Default: where pictures have colours; digits stay as they are."""
    shift: Annotated[int, Ge(0)] = 2
    """Shift training pictures by up to so many pixels (4 is usual for CIFAR-10)."""
    rotate: Annotated[float, Ge(0), Le(90)] = 0.0
    """Turn training pictures by up to so many degrees, either way; at most 90."""
    jitter: Annotated[float, Ge(0), Le(1)] = 0.0
    """Change brightness, contrast and saturation by up to this share, and the hue by a quarter of it; at most 1."""
    flip_vertically: bool = False
    """Flip half of the training pictures upside down as well: for what has no up and down, such as tissue."""
    cutout: Annotated[int, Ge(0)] = 0
    """Side of a grey square in each training picture, in pixels."""
    crop_area: tuple[float, float] | None = None
    """Train on random parts of pictures, brought to --size (random resized crop: Szegedy et al., 2015): the least and
    the largest share of a picture's area, such as 0.08 1. Default: whole pictures."""
    crop_ratio: tuple[float, float] = RATIO
    """With --crop-area: the least and the largest width / height of these parts."""
    auto_augment: Literal["randaugment", "trivialaugment"] | None = None
    """Change each training picture by random operations, as torchvision does: turn, shear, shift, colour, contrast,
    sharpness, equalize... randaugment: several, equally strong (Cubuk et al., 2019). trivialaugment: one of any
    strength, with nothing to tune (Müller and Hutter, 2021)."""
    operations: Annotated[int, Gt(0)] = 2
    """Operations of randaugment, one after the other."""
    magnitude: Annotated[int, Ge(0), Lt(BINS)] = 9
    """Strength of randaugment's operations, from 0 to 30."""
    mixup: Annotated[float, Ge(0)] = 0.0
    """Mix each training picture with another, and its label: a share of each, drawn from Beta(mixup, mixup) (Zhang et
    al., 2018). 0.2 is usual. With --cutmix, each sample gets either, by chance."""
    cutmix: Annotated[float, Ge(0)] = 0.0
    """Cut a rectangle of another picture into each training picture, and mix the labels by area, which is drawn from
    Beta(cutmix, cutmix) (Yun et al., 2019). 1 is usual. The loss is then called mixed_cross_entropy: of two labels for
    each picture it cannot become 0, and validation's, of whole pictures, may be lower."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of certainty that the target gives to all classes alike (0.1 is usual)."""
    tta: Annotated[bool, Mark.EVALUATION, Mark.APPLY] = False
    """Test-time augmentation: answer by the mean over each picture, moved by a pixel and, with --flip, mirrored."""
    metrics: Annotated[tuple[Literal["top5", "precision", "recall"], ...], Mark.EVALUATION] = ()
    """More figures beside accuracy. top5: the share of pictures whose class is among the five best answers. precision
    and recall: the mean over the classes of the share of right answers among those that say the class, and among its
    pictures, both 0 to 1; where classes are equally frequent, recall is accuracy."""
    classes: Annotated[int | None, Gt(0)] = None
    """Number of classes. Default: as the training pictures have them."""


class Classify(Task[ClassifyConfig]):
    """The loss of `evaluate` is plain cross-entropy, whatever was smoothed in training."""

    defaults: ClassVar = {"data": "glyphs", "batch_size": 128, "epochs": 5.0, "optimizer": "adamw", "lr": 2e-3}
    monitor: ClassVar = "accuracy"
    baseline_name: ClassVar = "chance"

    def __init__(self, config: ClassifyConfig):
        super().__init__(config)
        check_unused(config, "model", {"width": ["resnet9", "airbench"]})
        assert config.channels and config.size and config.classes
        if config.jitter and config.channels != 3:
            raise UserError("--jitter changes colours, and these pictures have none", "leave it out")
        self.model = build_classifier(
            config.model, config.channels, config.size, config.classes, config.width, pretrained=False
        )
        for name, value in (("shift", config.shift), ("cutout", config.cutout)):
            if value >= config.size:
                said = f"--{name} {value} can leave nothing of pictures of {config.size}×{config.size}"
                raise UserError(said, f"at most {config.size - 1}")
        check_augmentation(config)
        self.names = tuple(map(str, range(config.classes)))

    @classmethod
    def infer_options(cls, config: ClassifyConfig, images: ImageSet) -> ClassifyConfig:
        channels = config.channels or images.channels
        return replace(
            config,
            channels=channels,
            size=config.size or side_of(images) or 32,
            classes=config.classes or count_classes(images),
            flip=channels > 1 if config.flip is None else config.flip,
        )

    def datasets(self, load: Load) -> Datasets:
        config = self.config
        how: LoadOptions = {"size": config.size, "channels": config.channels, "classes": config.classes or 0}
        parts: LoadOptions = {**how, "area": config.crop_area, "ratio": config.crop_ratio}
        train, validation = load("train", **parts), load("val", **how)
        self.names = validation.classes
        return train, validation

    def augment(self, batch: Batch) -> Batch:
        config = self.config
        chances = batch.rand(11).T  # one call: what it costs is each sample's generator
        turn, mirror, down, across = chances[:4]
        if config.flip or config.shift or config.rotate:
            shift = 2 * config.shift + 1
            place = (
                (2 * turn - 1) * config.rotate,
                (mirror < 0.5) & bool(config.flip),
                (down * shift).floor() - config.shift,
                (across * shift).floor() - config.shift,
            )
            batch = batch.map_pictures(lambda picture: warp(picture, *place))
        if config.flip_vertically:
            batch = batch.map_pictures(lambda picture: dihedral(picture, (chances[10] < 0.5).long()))
        image = batch.image
        if config.auto_augment:
            image = apply_policy(batch, config)
        if config.jitter:
            brightness, contrast, saturation, hue = (2 * chances[4:8] - 1) * config.jitter
            image = color_jitter(image, 1 + brightness, 1 + contrast, 1 + saturation, hue / 4)
        return batch.with_image(cutout(image, config.cutout, *chances[8:10]) if config.cutout else image)

    def training_step(self, batch: Batch) -> Losses:
        batch, smoothing = self.augment(batch), self.config.label_smoothing
        image, share = self.mix(batch)
        logits = self.model(image)
        if share is None:
            yield "model", {"cross_entropy": cross_entropy(logits, batch.label, label_smoothing=smoothing)}
            return
        # The same as one cross-entropy with the mixed labels, smoothed once: it is linear in them.
        own, other = (
            cross_entropy(logits, label, label_smoothing=smoothing, reduction="none")
            for label in (batch.label, partners(batch.label))
        )
        yield "model", {"mixed_cross_entropy": (share * own + (1 - share) * other).mean()}

    def mix(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return pictures as the network gets to see them, and what share of its own label each keeps, if not all."""
        if not self.config.mixup and not self.config.cutmix:
            return batch.image, None
        return mix(batch, self.config.mixup, self.config.cutmix)

    def answer(self, image: Tensor) -> Tensor:
        """Return the logits N×classes of pictures as they are evaluated. With --tta half the weight is that of the
        picture, and half that of two that are moved by a pixel, towards either end of the diagonal (Jordan, 2024, 3.5).
        """
        if not self.config.tta:
            return self.model(image)
        height, width = image.shape[-2:]
        around = pad(image, (1, 1, 1, 1), mode="replicate")
        moved = self.on_both_sides(around[..., :height, :width]) + self.on_both_sides(around[..., 2:, 2:])
        return self.on_both_sides(image) / 2 + moved / 4

    def on_both_sides(self, image: Tensor) -> Tensor:
        """Return the mean of the logits of pictures and, where mirrored ones are trained on, of their mirror images."""
        return (self.model(image) + self.model(image.flip(-1))) / 2 if self.config.flip else self.model(image)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Return the pictures beside the most probable classes of each."""
        probabilities = self.answer(batch.image).softmax(dim=1)
        answers = [
            answer_picture(of, int(label), self.names)
            for of, label in zip(probabilities.cpu(), batch.label, strict=True)
        ]
        return {"picture": batch.image, "answer": torch.stack(answers)}

    def preview_training(self, batch: Batch) -> dict[str, Tensor]:
        return {"picture": self.mix(self.augment(batch))[0].clamp(0, 1)}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        logits, classes = self.answer(batch.image), len(self.names)
        answer = logits.argmax(dim=1)
        chance = torch.full_like(batch.label, 1 / classes, dtype=torch.float32)
        figures: dict[str, Tensor] = {}
        if "top5" in self.config.metrics:
            best = logits.topk(min(5, classes), dim=1).indices
            figures["top5"] = (best == batch.label[:, None]).any(dim=1).float()
            figures["baseline/top5"] = chance * min(5, classes)
        return figures | {
            "accuracy": (answer == batch.label).float(),
            "cross_entropy": cross_entropy(logits, batch.label, reduction="none"),
            "baseline/accuracy": chance,
            "baseline/cross_entropy": -chance.log(),
            "answers": torch.stack([answer, batch.label], dim=1),
        }

    def reply(self, image: Tensor) -> Answer:
        """Return the probability of each class, of pictures that are fitted as those of validation are."""
        assert self.config.size
        pixels = (image * 255).round().byte().cpu()
        fitted = fit(pixels, self.config.size, resize).to(image) / 255
        return Classes(self.answer(fitted).softmax(dim=1))

    def summarize(self, collected: dict[str, Tensor]) -> dict[str, float]:
        names = [name for name in dict.fromkeys(self.config.metrics) if name in ("precision", "recall")]
        if not names:
            return {}
        from torchmetrics.functional.classification import multiclass_precision, multiclass_recall

        functions = {"precision": multiclass_precision, "recall": multiclass_recall}
        answer, label = collected["answers"].T
        return {name: float(functions[name](answer, label, len(self.names))) for name in names}

    def gallery(self, collected: dict[str, Tensor]) -> dict[str, Tensor]:
        answer, label = collected["answers"].T
        return {"confusion": confusion_matrix(answer, label, self.names)}


def check_augmentation(config: ClassifyConfig) -> None:
    """Raise a UserError if an option of augmentation changes nothing, or cannot be."""
    check_unused(config, "auto_augment", {"operations": ["randaugment"], "magnitude": ["randaugment"]})
    if config.auto_augment and config.channels not in (1, 3):
        said = f"--auto-augment is for grey or colour pictures, and these have {config.channels} channels"
        raise UserError(said, "leave it out")
    area, (narrow, wide) = config.crop_area, config.crop_ratio
    if area is None and config.crop_ratio != RATIO:
        raise UserError("--crop-ratio changes nothing without --crop-area", "give both, or --crop-area 0.08 1 alone")
    if area is not None and not 0 < area[0] <= area[1] <= 1:
        said = f"--crop-area {area[0]:g} {area[1]:g}: the least and the largest share are above 0 and at most 1"
        raise UserError(said, "try --crop-area 0.08 1")
    if not 0 < narrow <= wide < math.inf:
        said = f"--crop-ratio {narrow:g} {wide:g}: the least and the largest width / height are above 0"
        raise UserError(said, "leave it out, or try --crop-ratio 0.75 1.33")


def apply_policy(batch: Batch, config: ClassifyConfig) -> Tensor:
    """Return the pictures of `batch` as RandAugment or TrivialAugment changes them."""
    image, several = batch.image, config.auto_augment == "randaugment"
    for _ in range(config.operations if several else 1):
        operation, magnitude, sign = batch.rand(3).T
        strength = torch.full_like(magnitude, config.magnitude) if several else magnitude * BINS
        space = RANDAUGMENT if several else TRIVIALAUGMENT
        image = change(image, space, (operation * len(OPERATIONS)).long(), strength.long(), sign < 0.5)
    return image


def mix(batch: Batch, mixup_alpha: float, cutmix_alpha: float) -> tuple[Tensor, Tensor]:
    """Return the pictures of `batch`, each mixed with its partner by mixup or CutMix (of both, by either), and what
    share of its own label each keeps.
    """
    choice, chance, down, across = batch.rand(4).T
    weight = torch.ones_like(chance)[:, None, None, None]
    is_mixup = (choice < (0.5 if cutmix_alpha else 1))[:, None, None, None] & bool(mixup_alpha)
    if cutmix_alpha:
        height, width = batch.image.shape[-2:]
        weight = rectangles(beta(chance, cutmix_alpha), down, across, (height, width))
    if mixup_alpha:
        weight = torch.where(is_mixup, beta(chance, mixup_alpha)[:, None, None, None], weight)
    # What is left of each: the mean of the same number from each pixel, or of ones and zeros.
    return mixed(batch.image, weight), weight.mean(dim=(1, 2, 3))
