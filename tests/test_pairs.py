"""Pictures and masks beside `image`, other tensors, and lists: cut and turned together, or handed on untouched."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pair_toys import EqualScenes, Restore, RestoreConfig, Scenes, check_fit
from torch import Tensor
from torch.nn.functional import interpolate
from toys import Noise

from launchbay import UserError
from launchbay.data import ImageSet, Index, LoadOptions, dihedral, warp
from launchbay.data.base import digest
from launchbay.data.glyphs import Glyphs
from launchbay.data.loader import TrainingOrder, fetch, samples
from launchbay.data.mixture import Mixture
from launchbay.data.sources import Source
from launchbay.data.transforms import Fitted
from launchbay.launch.check.bench import Bench
from launchbay.launch.check.figures import odd_sizes_are_restored_or_refused
from launchbay.launch.check.options import samples_repeat_and_travel
from launchbay.launch.check.suite import outcome
from launchbay.launch.engine.batches import to_batch
from launchbay.tasks import Batch
from launchbay.tasks.classify import Classify, ClassifyConfig

CPU = torch.device("cpu")
SETS = pytest.mark.parametrize("kind", [Scenes, EqualScenes])


Kind = Callable[[str], ImageSet]


def load(kind: Kind, **how: Any) -> ImageSet:
    return Source(lambda split, root: kind(split), None)("train", **how)


def batch_of(images: ImageSet, *indices: int) -> Batch:
    return to_batch(fetch(images, [Index(index, 3 * index) for index in indices]), CPU)


@SETS
@pytest.mark.parametrize("how", [{}, {"crop": 24}, {"multiple": 16}])
def test_all_is_cut_at_one_place(kind: Kind, how: LoadOptions) -> None:
    images = load(kind, **how)
    for indices in [(4,), (5, 2)] if images.uniform else [(4,)]:
        batch = batch_of(images, *indices)
        check_fit(batch)
        assert all(length % how.get("multiple", 1) == 0 for length in batch.image.shape[-2:])
        assert "crop" not in how or batch.image.shape[-2:] == (24, 24)


@SETS
def test_masks_are_resized_by_nearest_neighbour(kind: Kind) -> None:
    whole, small = batch_of(load(kind), 4), batch_of(load(kind, size=31), 4)
    height, width = (31 * length // min(whole["mask"].shape[-2:]) for length in whole["mask"].shape[-2:])
    for name in Scenes.masks:
        mask = whole[name].view(1, -1, *whole[name].shape[-2:]).double()
        expected = interpolate(mask, (height, width), mode="nearest-exact")
        top, left = round((height - 31) / 2), round((width - 31) / 2)
        assert small[name].dtype == whole[name].dtype
        assert torch.equal(small[name].double().view(1, 1, 31, 31), expected[..., top : top + 31, left : left + 31])
    assert (small["input"] - small.image / 2).abs().max() <= 2 / 255


def test_pictures_beside_a_grey_one_become_as_colourful_as_it_does() -> None:
    class Grey(EqualScenes):
        def image(self, index: int) -> Tensor:
            return super().image(index)[:1]

        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            grey = ImageSet.__getitems__(self, indices)
            return grey | {"input": grey["image"], "mask": grey["image"][:, 0], "kinds": grey["image"]}

    class Colouring(EqualScenes):
        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            return super().__getitems__(indices) | {"input": super().__getitems__(indices)["kinds"]}

    class Moving(Grey):
        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            batch = super().__getitems__(indices)
            return batch | {"input": batch["image"].repeat(1, 2, 1, 1)}

    for kind, channels in ((Grey, 3), (Colouring, 1), (Moving, 2)):
        batch = Fitted(kind("train"), size=16, channels=3).__getitems__([Index(0, 0)])
        shapes = {name: tuple(batch[name].shape[1:]) for name in ("image", "input", "kinds", "mask")}
        assert shapes == {"image": (3, 16, 16), "input": (channels, 16, 16), "kinds": (1, 16, 16), "mask": (16, 16)}


@pytest.mark.parametrize("workers", [0, 1])
def test_lists_come_through_the_loader(workers: int) -> None:
    images = load(Scenes, crop=24)
    order = TrainingOrder(size=len(images), batch_size=4, steps=range(2), seed=0)
    for item in samples(images, order, workers=workers, device=CPU):
        check_fit(to_batch(item, CPU))


@SETS
def test_a_paired_task_trains_validates_and_shows_pairs(
    kind: type[ImageSet], train: Callable[..., Path], launchbay: Callable[..., tuple[int, str]]
) -> None:
    """Its `degrade` looks at each batch."""
    data = ("--data", f"pair_toys:{kind.__name__}")
    run = train("pair_toys:Restore", *data, "--eval-every", 2)
    grids = {f"step-0000000{step}.png" for step in (0, 2, 4)} | {"step-00000000-training.png"}
    assert {path.name for path in run.glob("samples/step-*")} == grids
    assert launchbay("evaluate", run, "--task", "pair_toys:Restore", *data)[0] == 0


def test_checks_of_tasks_know_masks_and_lists() -> None:
    bench = Bench(Restore)
    for check in (samples_repeat_and_travel, odd_sizes_are_restored_or_refused):
        assert outcome(bench, check).state == "ok", str(outcome(bench, check))


def gives(**values: Any) -> Kind:
    class Gives(Scenes):
        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            return super().__getitems__(indices) | values

    return Gives


def has(**attributes: object) -> Kind:
    return type("Has", (Scenes,), attributes)


class Odd(ImageSet):
    """One size is promised; labels are there or not."""

    def __init__(self, split: str, root: Path | None = None):
        pass

    def __len__(self) -> int:
        return 4

    def image(self, index: int) -> Tensor:
        return torch.zeros(3, 112 + int(index == 2), 112, dtype=torch.uint8)

    def label(self, index: int) -> int | None:
        return None if index == 1 else 0


class Forgetful(Odd):
    masks = ("mask",)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Forgetful, "Forgetful names 'mask' in `masks`, but gives only image, label"),
        (gives(mask=torch.zeros(1, 7, 9)), "Gives gives 'mask' with 9×7 pixels for picture 0, which has 120×104"),
        (gives(input=torch.zeros(1, 3, 7, 9)), "Gives gives 'input' with 9×7 pixels for picture 0"),
        (gives(input=torch.zeros(1, 104, 120)), "names 'input' in `pictures`, but gives it as 1×104×120 (float32)"),
        (gives(input=torch.zeros(1, 3, 104, 120).long()), "'input' in `pictures`, but gives it as 1×3×104×120 (int64)"),
        (
            gives(input=torch.full((1, 3, 104, 120), 255.0)),
            "'input' with values from 255 to 255 for picture 0 → give uint8",
        ),
        (gives(input=torch.full((1, 3, 104, 120), -0.5)), "'input' with values from -0.5 to -0.5 for picture 0"),
        (gives(input=torch.full((1, 3, 104, 120), torch.nan)), "'input' with values from nan to nan for picture 0"),
        (
            gives(mask=torch.zeros(1, 104, 120, dtype=torch.complex64)),
            "'mask' in `masks`, but gives it as 1×104×120 (c",
        ),
        (gives(mask=torch.zeros(1, 104, 120).to_sparse()), "'mask' in `masks`, but gives it as 1×104×120 (float32)"),
        (gives(mask=["a"]), "names 'mask' in `masks`, but gives it as a list of 1"),
        (gives(caption=["a", "b"]), "gives 'caption' as a list of 2 for a batch of 1"),
        (gives(place=torch.tensor(1)), "gives 'place' as a single number (int64) for a batch of 1"),
        (gives(place="here"), "gives 'place' as something of type str for a batch of 1"),
        (has(masks=("mask", "edges")), "Has names 'edges' in `masks`, but gives only image, input, kinds, mask, place"),
        (has(pictures=[Path("a.png")]), "Has has a list of 1 as `pictures`, which names what it gives"),
        (has(masks=lambda self: None), "Has has something of type method as `masks`"),
        (has(pictures=("input",)), "Has has ('input',) as `pictures`"),
        (has(masks=("input",)), "Has has ('image', 'input') as `pictures` and ('input',) as `masks`"),
    ],
)
@pytest.mark.parametrize("loaded", [True, False])
def test_what_cannot_be_right_is_the_fault_of_the_data_set(kind: Kind, said: str, *, loaded: bool) -> None:
    with pytest.raises(UserError) as raised:
        fetch(load(kind, crop=24) if loaded else kind("train"), [Index(0, 1)])
    told = f"{raised.value.message} → {raised.value.hint}"
    assert said in told and told.startswith("the data set ")


@pytest.mark.parametrize("how", [{}, {"crop": 24}, {"size": 24}])
def test_a_sample_with_values_of_its_own_kind_is_named(how: LoadOptions) -> None:
    class Bright(Noise):
        def __init__(self, split: str):
            super().__init__(8)

        def image(self, index: int) -> Tensor:
            return torch.full((3, 32, 32), 1.0 + 2e-4 + int(index == 5))

    images = load(Bright, **how)
    assert len(batch_of(images, 0, 1)) == 2
    with pytest.raises(UserError, match=r"Bright gives 'image' with values from 2.0002 to 2.0002 for picture 5"):
        batch_of(images, 0, 5)


def test_samples_that_make_no_batch_are_named() -> None:
    def said(images: ImageSet, *indices: int) -> str:
        with pytest.raises(UserError) as raised:
            batch_of(images, *indices)
        return raised.value.message

    class Deep(Scenes):
        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            return super().__getitems__(indices) | {"depth": self.image(indices[0])[None]}

    sizes = "Odd gives 'image' as 1×3×112×112 (uint8) for picture 0 and 1×3×113×112 (uint8) for picture 2"
    assert sizes in said(Odd("train"), 0, 2)
    assert "Odd gives image, label for picture 0, image for picture 1" in said(load(Odd, crop=24), 0, 1)
    assert "'depth' as 1×3×104×120 (uint8) for picture 0 and" in said(load(Deep, crop=24), 0, 1)


def test_a_mistake_in_a_data_set_ends_a_run_with_its_name(mistake: Callable[..., str]) -> None:
    said = mistake("--task", "pair_toys:Restore", "--data", "test_pairs:Short")
    assert "the data set Short gives 'caption' as a list of 0 for a batch of 1 → give a tensor" in said


class Short(Scenes):
    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return super().__getitems__(indices) | {"caption": []}


def test_a_pair_of_data_sets_is_cut_together() -> None:
    images = Source(lambda split, root: Mixture(Glyphs("val"), Glyphs("val"), shuffle=True), None)("train", crop=16)
    batch = batch_of(images, 0, 5)
    assert torch.allclose(batch.image, (batch["first"] + batch["second"]) / 2, atol=1e-6)


@pytest.mark.parametrize("form", [(3, 8, 8), (8, 8)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float64])
def test_masks_are_turned_as_pictures_are(form: tuple[int, ...], dtype: torch.dtype) -> None:
    mask = torch.randint(0, 200, (8, *form), generator=torch.Generator().manual_seed(0)).to(dtype)
    picture = mask.double().view(8, -1, 8, 8)
    angle, shift = torch.linspace(-40, 40, 8), torch.arange(8.0) - 4
    for change in (
        lambda image: dihedral(image, torch.arange(8)),
        lambda image: warp(image, angle, shift > 0, shift, -shift),
    ):
        turned = change(mask)
        assert turned.dtype == dtype and turned.shape == mask.shape
        assert torch.equal(turned.double().view_as(picture), change(picture))


def test_pictures_that_are_not_square_are_flipped_and_not_turned() -> None:
    wide = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(dihedral(wide, torch.tensor([3])), wide.flip(2, 3))
    with pytest.raises(UserError, match="pictures of 4×3 pixels, which are not square, cannot swap rows and columns"):
        dihedral(wide, torch.tensor([4]))
    batch, seen = batch_of(load(EqualScenes), *range(8)), set[bytes]()
    for _ in range(4):
        augmented = Restore(RestoreConfig()).augment(batch)
        check_fit(augmented)
        seen |= {one.numpy().tobytes() for one in augmented.image}
    assert len(seen) > 16


def test_augmentation_turns_masks_along() -> None:
    batch = batch_of(load(Scenes, crop=32), *range(8))
    turned = Restore(RestoreConfig()).augment(batch)
    check_fit(turned)
    assert not torch.equal(turned.image, batch.image)
    classify = Classify(ClassifyConfig(channels=3, size=32, classes=2, rotate=20.0, flip=True))
    turned = classify.augment(batch)
    check_fit(turned)
    assert not torch.equal(turned.image, batch.image)


def test_a_run_goes_on_only_with_the_masks_that_it_began_with() -> None:
    class Other(EqualScenes):
        def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
            batch = super().__getitems__(indices)
            return batch | {"mask": batch["mask"] + (torch.tensor(indices) == 2)[:, None, None]}

    assert load(Other, crop=24).fingerprint() != load(EqualScenes, crop=24).fingerprint()
    noise = Noise(8)
    assert noise.fingerprint() == digest(8, *(noise.image(index).numpy().tobytes() for index in range(8)))
