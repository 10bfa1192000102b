"""Random crops, policies and mixtures: what torchvision gives for the same pictures, drawn per sample."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import difference, forget_accelerator, lines
from pair_toys import Scenes
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resized_crop

from launchbay import UserError
from launchbay.data import Index, LoadOptions, policies
from launchbay.data.glyphs import Glyphs
from launchbay.data.loader import TrainingOrder, fetch
from launchbay.data.mixing import beta, mixed, partners, rectangles
from launchbay.data.photos import Photos
from launchbay.data.random_parts import RATIO, draw_box
from launchbay.data.sources import Source
from launchbay.data.transforms import nearest
from launchbay.launch.engine.batches import to_batch
from launchbay.launch.train import main
from launchbay.tasks.classify import Classify, ClassifyConfig, mix

Train = Callable[..., Path]
EVERYTHING: tuple[object, ...] = (
    *("--crop-area", 0.3, 1, "--auto-augment", "randaugment", "--mixup", 0.4, "--cutmix", 1, "--label-smoothing", 0.1),
)
SMALL: dict[str, Any] = {"channels": 3, "size": 8, "classes": 2, "shift": 0}
TORCHVISION = dict(zip(policies.OPERATIONS, v2.RandAugment._AUGMENTATION_SPACE, strict=True))
POLICIES = {policies.RANDAUGMENT: v2.RandAugment(), policies.TRIVIALAUGMENT: v2.TrivialAugmentWide()}


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Five 32×24 parts of photographs, noise and one flat: uint8."""
    images = Photos("train")
    parts = [images.image(n % len(images))[:, 40 * n : 40 * n + 32, 50 * n : 50 * n + 24] for n in range(3)]
    random = torch.randint(0, 256, (3, 32, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.stack([*parts, random, torch.full_like(random, 77)])


@pytest.mark.parametrize("name", policies.OPERATIONS)
def test_operations_are_those_of_torchvision(name: str, photos: Tensor) -> None:
    for space, transform in POLICIES.items():
        function, signed = transform._AUGMENTATION_SPACE[TORCHVISION[name]]
        theirs = function(policies.BINS, 32, 24)
        assert theirs is None or torch.equal(theirs.float(), policies.magnitudes(name, space, 32, 24))
        for magnitude in range(0, 31, 3):
            for sign in (False, True):
                amount = 0.0 if theirs is None else float(theirs[magnitude]) * (-1 if sign and signed else 1)
                apply: Any = transform._apply_image_or_video_transform
                for pixels in (photos, photos[:, :1]):
                    wanted = torch.stack([apply(one, TORCHVISION[name], amount, "nearest", {}) for one in pixels])
                    number = torch.full((5,), list(policies.OPERATIONS).index(name))
                    strength, signs = torch.full((5,), magnitude), torch.full((5,), sign)
                    given = policies.change(pixels / 255, space, number, strength, signs) * 255
                    # In the middle between two pixels, and between two means, the last digit decides.
                    close = (given.round() - wanted).abs() <= (1 if name == "contrast" else 0)
                    assert close.float().mean() >= (0.98 if name.startswith("shear") else 1), (magnitude, sign)


def test_each_picture_of_a_batch_is_changed_by_itself(photos: Tensor) -> None:
    image, random = (photos / 255).repeat(14, 1, 1, 1), torch.Generator().manual_seed(1)
    drawn = torch.rand(3, 70, generator=random)
    given = (drawn[0] * 14).long(), (drawn[1] * 31).long(), drawn[2] < 0.5
    together = policies.change(image, policies.TRIVIALAUGMENT, *given)
    alone = [
        policies.change(image[n : n + 1], policies.TRIVIALAUGMENT, *(one[n : n + 1] for one in given))
        for n in range(70)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_random_parts_are_resized_as_torchvision_does() -> None:
    images = Photos("train")
    load = Source(lambda split, root: images, None)
    parts = load("train", size=40, area=(0.1, 0.6), ratio=(0.5, 2.0))
    index = Index(2, key=7)
    box = draw_box(*images.size(2), (0.1, 0.6), (0.5, 2.0), index.generator())
    wanted = resized_crop(images.image(2), box.top, box.left, box.height, box.width, [40, 40])
    assert torch.equal(parts.__getitems__([index])["image"][0], wanted)
    other = parts.__getitems__([Index(2, key=8)])["image"][0]
    assert other.shape == wanted.shape and not torch.equal(other, wanted)


def test_random_parts_of_masks_are_cut_at_the_same_place() -> None:
    images, index = Scenes("train"), Index(4, key=9)
    how: LoadOptions = {"size": 24, "area": (0.2, 0.6)}
    given = Source(lambda split, root: images, None)("train", **how).__getitems__([index])
    whole = images.__getitems__([index])
    height, width = whole["image"].shape[-2:]
    box = draw_box(height, width, (0.2, 0.6), RATIO, index.generator())
    for name in images.masks:
        assert torch.equal(given[name], nearest(box.of(whole[name]), 24, 24))
    images.scales = {"input": 2}
    with pytest.raises(UserError, match="gives input in another size than its pictures"):
        Source(lambda split, root: images, None)("train", **how)
    with pytest.raises(UserError, match="lacks size"):
        Source(lambda split, root: images, None)("train", area=(0.2, 0.6))


def test_random_parts_have_the_area_and_the_form_asked_for() -> None:
    random = torch.Generator().manual_seed(0)
    boxes = [draw_box(300, 400, (0.2, 0.5), (0.75, 4 / 3), random) for _ in range(400)]
    shares = torch.tensor([box.height * box.width / (300 * 400) for box in boxes])
    forms = torch.tensor([box.width / box.height for box in boxes])
    assert 0.19 < shares.min() < 0.22 and 0.48 < shares.max() < 0.51 and abs(shares.mean() - 0.35) < 0.02
    assert 0.74 < forms.min() < 0.78 and 1.28 < forms.max() < 1.35
    assert all(box.top + box.height <= 300 and box.left + box.width <= 400 for box in boxes)
    assert {box.top for box in boxes} > {0} and {box.left for box in boxes} > {0}
    for height, width, middle in ((10, 100, (10, 13)), (100, 10, (13, 10)), (10, 11, (10, 11))):
        box = draw_box(height, width, (1.0, 1.0), (0.75, 4 / 3), random)  # which no part has: the largest in the middle
        assert (box.height, box.width) == middle and (box.top, box.left) == (
            (height - box.height) // 2,
            (width - box.width) // 2,
        )


def test_mixtures_are_those_of_torchvision() -> None:
    """Whose partner is the sample before: of two, the other one."""
    image, random = torch.rand(2, 3, 20, 30), torch.Generator().manual_seed(0)
    transform: Any = v2.CutMix(num_classes=2)
    for share, down, across in torch.rand(20, 3, generator=random).tolist():
        params = {"labels": None, "batch_size": 2}
        wanted = v2.MixUp(num_classes=2).transform(image, {**params, "lam": share})
        assert torch.allclose(mixed(image, torch.full((2, 1, 1, 1), share)), wanted, atol=1e-6)

        tall, wide = (int((1 - share) ** 0.5 / 2 * side) for side in (20, 30))
        top, left, y, x = 0, 0, int(down * 20), int(across * 30)
        top, bottom, left, right = max(y - tall, 0), min(y + tall, 20), max(x - wide, 0), min(x + wide, 30)
        wanted = transform.transform(image, {**params, "box": (left, top, right, bottom)})
        drawn = (torch.tensor([share] * 2), torch.tensor([down] * 2), torch.tensor([across] * 2))
        weight = rectangles(*drawn, (20, 30))
        assert torch.equal(mixed(image, weight), wanted)
        assert torch.allclose(weight.mean(dim=(1, 2, 3)), torch.tensor(1 - (bottom - top) * (right - left) / 600))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    drawn = beta((torch.arange(10_000) + 0.5) / 10_000, alpha)
    assert drawn.min() >= 0 and drawn.max() <= 1 and abs(drawn.mean() - 0.5) < 1e-3
    assert abs(drawn.var() - 1 / (4 * (2 * alpha + 1))) < 1e-3


def test_samples_are_mixed_in_pairs_that_no_process_divides() -> None:
    """The same rows for one process and for two, each with its own share and its own kind of mixture."""
    images = Glyphs("val")
    task = Classify(ClassifyConfig(channels=1, size=28, classes=10, auto_augment="trivialaugment", cutout=4))

    def rows(world: int) -> list[Tensor]:
        orders = [
            TrainingOrder(size=50, batch_size=64, steps=range(1), seed=0, rank=r, world=world) for r in range(world)
        ]
        batches = [task.augment(to_batch(fetch(images, next(iter(order))), torch.device("cpu"))) for order in orders]
        parts = [(*mix(batch, 0.4, 1.0), batch.label, partners(batch.label)) for batch in batches]
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    one, two = rows(1), rows(2)
    assert all(torch.equal(*both) for both in zip(one, two, strict=True))
    _, share, label, partner = one
    assert len(set(share.tolist())) > 40 and not torch.equal(label, partner)
    assert torch.equal(partner[::2], label[1::2]) and torch.equal(partner[1::2], label[::2])


def test_the_loss_is_that_of_soft_labels() -> None:
    """Those of torchvision and timm: the mixture of the two, smoothed once."""
    task = Classify(ClassifyConfig(channels=1, size=28, classes=10, mixup=0.4, label_smoothing=0.1, shift=0)).eval()
    images = Glyphs("val")
    order = TrainingOrder(size=50, batch_size=8, steps=range(1), seed=0)
    batch = lambda: to_batch(fetch(images, next(iter(order))), torch.device("cpu"))  # noqa: E731
    (_, terms) = next(task.training_step(batch()))
    augmented = task.augment(batch())
    image, share = mix(augmented, 0.4, 0.0)
    own, other = (one_hot(label, 10) for label in (augmented.label, partners(augmented.label)))
    soft = (share[:, None] * own + (1 - share[:, None]) * other) * 0.9 + 0.1 / 10
    assert torch.allclose(terms["mixed_cross_entropy"], cross_entropy(task.model(image), soft), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop_area": (0, 1)}, "--crop-area 0 1: the least and the largest share are above 0 and at most 1"),
        ({"crop_area": (0.5, 0.2)}, "--crop-area 0.5 0.2: the least"),
        ({"crop_area": (0.5, 1), "crop_ratio": (2, 1)}, "--crop-ratio 2 1: the least"),
        ({"crop_ratio": (1, 2)}, "--crop-ratio changes nothing without --crop-area"),
        ({"magnitude": 3}, "--magnitude 3 changes nothing without --auto-augment"),
        (
            {"auto_augment": "trivialaugment", "operations": 1},
            "--operations 1 changes nothing with --auto-augment trivialaugment",
        ),
        ({"auto_augment": "randaugment", "channels": 2}, "these have 2 channels"),
    ],
)
def test_options_that_cannot_be_or_change_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        Classify(ClassifyConfig(**{**SMALL, **options}))


def test_an_odd_number_of_samples_is_not_mixed() -> None:
    with pytest.raises(UserError, match="a process computes 7 of the batch at once") as raised:
        partners(torch.zeros(7, 2))
    assert "a multiple of 2 × the number of processes × --accumulate" in raised.value.hint


def test_a_run_with_everything_goes_on_bit_for_bit(train: Train) -> None:
    options = (
        "--steps",
        4,
        "--batch-size",
        8,
        "--log-every",
        1,
        "--eval-every",
        4,
        "--data",
        "toys:Digits",
        *EVERYTHING,
    )
    whole = train("classify", *options).rename("whole")
    forget_accelerator()
    argv = ("--task", "classify", "--run", "it", "--wandb", "off", "--max-time", "0.001s", *options)
    assert main(list(map(str, argv))) == 75
    again = train("classify", *options)
    assert difference(whole, again) == 0
    weights = [run / "checkpoints/step-00000004/model.safetensors" for run in (whole, again)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--crop-area", 0.3, 1),
        ("--auto-augment", "randaugment"),
        ("--auto-augment", "trivialaugment"),
        ("--mixup", 0.2),
        ("--cutmix", 1),
        EVERYTHING,
    ],
)
def test_a_run_with_each_option_learns(options: tuple[object, ...], train: Train) -> None:
    run = train("classify", "--steps", 150, "--lr", "5e-3", *options)
    assert lines(run, "val")[-1]["accuracy"] > 0.8
