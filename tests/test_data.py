"""Data sets and the order they are visited in."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    hflip,
    rotate,
)

from launchbay import UserError
from launchbay.data import Index, LoadOptions, dihedral, transforms
from launchbay.data.augment import color_jitter, cutout, warp
from launchbay.data.decode import decode
from launchbay.data.folder import Folder
from launchbay.data.glyphs import Glyphs
from launchbay.data.loader import EvaluationOrder, Keyed, Samples, TrainingOrder
from launchbay.data.mixture import Mixture
from launchbay.data.photos import FILES, Photos
from launchbay.data.randomness import splitmix64
from launchbay.data.sources import Source
from launchbay.data.test_sets import open_test_set
from launchbay.data.transforms import Crops, Fitted, Multiples, at_once

Mistake = Callable[..., str]


@pytest.fixture
def pictures() -> Path:
    """Twelve pictures of 40×30 in sub-folders."""
    for number in range(12):
        path = Path(f"pictures/{number % 2}/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return Path("pictures")


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_training_order_does_not_depend_on_processes_or_parts(world: int, accumulate: int) -> None:
    def batches(world: int, accumulate: int) -> list[list[tuple[int, int]]]:
        orders = [
            iter(
                TrainingOrder(size=7, batch_size=12, steps=range(5), seed=3, rank=r, world=world, accumulate=accumulate)
            )
            for r in range(world)
        ]
        one = lambda: [(int(i), i.key) for _ in range(accumulate) for order in orders for i in next(order)]  # noqa: E731
        return [sorted(one()) for _ in range(5)]

    assert batches(world, accumulate) == batches(1, 1)


def test_random_bits_are_those_of_splitmix64() -> None:
    """As published: http://prng.di.unimi.it/splitmix64.c, seeded with 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert splitmix64(np.uint64(1234567), np.arange(4, dtype=np.uint64)).tolist() == published


def test_each_epoch_visits_each_sample_once_in_an_order_of_its_own() -> None:
    visits = [int(i) for batch in TrainingOrder(size=6, batch_size=4, steps=range(9), seed=0) for i in batch]
    epochs = [visits[start : start + 6] for start in range(0, 36, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_training_can_start_at_any_step() -> None:
    whole = list(TrainingOrder(size=7, batch_size=4, steps=range(8), seed=1))
    assert list(TrainingOrder(size=7, batch_size=4, steps=range(5, 8), seed=1)) == whole[5:]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_evaluation_counts_each_sample_once_in_equally_many_batches(world: int, batch_size: int) -> None:
    for size in range(1, 18):
        orders = [EvaluationOrder(size=size, batch_size=batch_size, seed=0, rank=r, world=world) for r in range(world)]
        counted = [
            int(index)
            for order in orders
            for indices, counts in zip(order, order.counts(), strict=True)
            for index in indices[:counts]
        ]
        assert sorted(counted) == list(range(size))
        assert len({len(list(order)) for order in orders}) == 1


def test_photos_train_and_validate_on_different_pixels() -> None:
    train, validation = Photos("train"), Photos("val")
    assert len(train) == len(FILES) == len(train.classes)
    assert set(train.labels) == set(validation.labels)
    for index in range(len(validation)):
        tile = validation.image(index)
        assert tile.shape == (3, 96, 96)
        region = train.image(validation.label(index))
        rows = region.unfold(2, 96, 1)[:, :, :, :]  # every run of 96 pixels in a row of the training region
        middle = tile[:, 48]
        assert not (rows == middle[:, None, None]).all(dim=(0, 3)).any()


def test_crops_differ_between_visits_and_repeat_with_the_key() -> None:
    crops = Crops(Photos("train"), 32)
    first, again, other = (crops.image(Index(0, key)) for key in (1, 1, 2))
    assert first.shape == (3, 32, 32)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_crops_reach_every_corner(pictures: Path) -> None:
    images = Folder("all", pictures)
    crops = Crops(images, 29)
    places = Counter()
    for key in range(400):
        crop = crops.image(Index(0, key))
        windows = images.image(0).unfold(1, 29, 1).unfold(2, 29, 1)
        matches = (windows == crop[:, None, None]).all(dim=(0, 3, 4)).nonzero().tolist()
        places[tuple(matches[0])] += 1
    assert set(places) == {(top, left) for top in range(2) for left in range(12)}


def test_multiples_cut_right_and_bottom(pictures: Path) -> None:
    whole, cut = Folder("all", pictures), Multiples(Folder("all", pictures), 4, 1)
    assert cut.image(0).shape == (3, 28, 40)
    assert torch.equal(cut.image(0), whole.image(0)[:, :28])


def test_a_folder_holds_out_every_tenth_picture(pictures: Path) -> None:
    train, validation, everything = (Folder(split, pictures) for split in ("train", "val", "all"))
    assert (len(train), len(validation), len(everything)) == (10, 2, 12)
    assert set(train.files) | set(validation.files) == set(everything.files)
    batch = Keyed(validation).__getitems__([Index(0, 1), Index(1, 2)])
    assert isinstance(batch, Samples) and batch.values["image"].shape == (2, 3, 30, 40)


def test_a_folder_too_large_for_memory_is_decoded_on_demand(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Folder("all", pictures)
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 100)
    lazy = Folder("all", pictures)
    assert not lazy.kept
    assert torch.equal(lazy.image(3), kept.image(3))


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
        ("I;16", 25700, (100, 100, 100)),
        ("1", 1, (255,) * 3),
    ],
)
def test_every_kind_of_picture_becomes_rgb(mode: str, value: int | tuple[int, ...], expected: tuple[int, ...]) -> None:
    Image.new(mode, (3, 2), value).save("picture.png")
    picture = decode(Path("picture.png"))
    assert picture.shape == (3, 2, 3) and picture.dtype == torch.uint8
    assert tuple(picture[:, 0, 0].tolist()) == expected


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1), ("I", 100)])
def test_a_picture_whose_values_have_no_known_range_is_refused(mode: str, value: float) -> None:
    Image.new(mode, (3, 2), value).save("picture.tif")
    with pytest.raises(UserError, match="which do not say what is black and what white"):
        decode(Path("picture.tif"))


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_picture_stands_upright_and_its_size_is_known(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, orientation: int
) -> None:
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)  # a picture has to be as its header says
    exif = Image.Exif()
    exif[0x0112] = orientation  # 6: a camera held sideways
    for path in pictures.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(suffix), exif=exif)
        path.unlink()
    folder = Folder("all", pictures)
    upright = (40, 30) if orientation == 6 else (30, 40)
    assert folder.size(0) == upright and folder.image(0).shape == (3, *upright) and folder.uniform


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no picture", "Pillow does not recognise"), (b"half", "truncated")],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_is_named(
    pictures: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch, *, content: bytes, said: str, workers: int
) -> None:
    if workers:  # so that it is a worker that finds out
        monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    victim = pictures / "1/05.png"
    victim.write_bytes(victim.read_bytes()[:1500] if content == b"half" else content)
    said_there = mistake(
        "--task",
        "superres",
        "--data",
        "folder",
        "--data-root",
        pictures,
        "--patch",
        24,
        "--steps",
        3,
        "--workers",
        workers,
    )
    assert "pictures/1/05.png" in said_there and said in said_there


def test_folders_that_cannot_be_trained_on(pictures: Path, mistake: Mistake) -> None:
    def said(*options: object) -> str:
        return mistake("--task", "superres", "--steps", 2, *options)

    Path("empty").mkdir()
    Path("one").mkdir()
    Path("file").touch()
    assert "file is not a folder" in said("--data", "folder", "--data-root", "file")
    assert "MNIST is not in file and cannot be put there: [Errno 17] File exists: 'file'" in mistake(
        "--task", "classify", "--data", "mnist", "--data-root", "file"
    )
    (pictures / "0/00.png").rename("one/only.png")
    assert "gone is not a folder" in said("--data", "folder", "--data-root", "gone")
    assert "empty holds no picture" in said("--data", "folder", "--data-root", "empty")
    assert "one has one picture (only.png)" in said("--data", "folder", "--data-root", "one")
    small = "pictures/0/04.png has 40×30 pixels, but 72×72 are needed"
    here = ("--data", "folder", "--data-root", pictures)
    assert f"{small} → choose smaller crops with --patch, or leave small pictures out" in said(*here)
    assert "but 96×96 are needed → leave small pictures out" in mistake("--task", "toys:Deblur", *here)
    Image.new("RGB", (40, 22)).save("one/only.png")
    assert "one/only.png has 40×22 pixels, but 23×23 are needed" in said("--val-root", "one")
    assert not Path("runs").exists()
    assert "empty holds no picture" in said("--val-root", "empty")


def test_links_to_folders_are_followed_but_not_in_circles(pictures: Path, mistake: Mistake) -> None:
    (pictures / "1").rename("elsewhere")
    (pictures / "1").symlink_to(Path("elsewhere").resolve())
    (pictures / "1/back").symlink_to(pictures.resolve())
    (pictures / "0/self").symlink_to(".")
    Path("link").symlink_to("pictures")
    assert len(Folder("all", pictures)) == len(Folder("all", Path("link"))) == 12
    assert Folder("all", pictures).classes == ("0", "1")
    (pictures / "1/gone.png").symlink_to("nowhere")
    assert "pictures/1/gone.png: it is a link to" in mistake(
        "--task", "superres", "--data", "folder", "--data-root", pictures
    )


@pytest.mark.parametrize("code", range(8))
def test_the_dihedral_group(code: int) -> None:
    image = torch.arange(2 * 9.0).view(2, 1, 3, 3)
    expected = image[:1].clone()
    expected = expected.flip(-2) if code & 1 else expected
    expected = expected.flip(-1) if code & 2 else expected
    expected = expected.transpose(-2, -1) if code & 4 else expected
    result = dihedral(image, torch.tensor([code, 0]))
    assert torch.equal(result[:1], expected) and torch.equal(result[1:], image[1:])


def test_a_data_set_without_labels_says_so() -> None:
    from launchbay.tasks import Batch

    with pytest.raises(UserError, match="gives no 'label', only image"):
        _ = Batch({"image": torch.zeros(1, 3, 2, 2)}, [1]).label


@pytest.mark.parametrize("angle", [-90.0, 0.0, 37.0, 90.0])
@pytest.mark.parametrize("mirror", [False, True])
def test_warp_is_torchvisions_flip_and_rotation(angle: float, mirror: bool) -> None:
    image = photos_batch(2, 33)
    expected = rotate(hflip(image) if mirror else image, angle)
    ours = warp(image, torch.full((2,), angle), torch.full((2,), mirror), torch.zeros(2), torch.zeros(2))
    assert (ours - expected).abs().gt(1e-6).float().mean() < 0.01  # rounding at half pixels


def test_warp_shifts_in_black() -> None:
    image = photos_batch(1, 8)
    moved = warp(image, torch.zeros(1), torch.zeros(1).bool(), torch.tensor([2.0]), torch.tensor([-3.0]))
    assert torch.equal(moved[..., 2:, :5], image[..., :6, 3:])
    assert not moved[..., :2, :].any() and not moved[..., 5:].any()


def test_color_jitter_is_torchvisions() -> None:
    image = photos_batch(3, 16) * 0.5 + 0.25  # nothing is clipped on the way
    ones, zeros = torch.ones(3), torch.zeros(3)
    for factor in (0.8, 1.0, 1.2):
        factors = torch.full((3,), factor)
        assert torch.allclose(color_jitter(image, factors, ones, ones, zeros), adjust_brightness(image, factor))
        saturated = color_jitter(image, ones, ones, factors, zeros)
        assert torch.allclose(saturated, adjust_saturation(image, factor), atol=1e-4)
        contrasted = torch.cat([adjust_contrast(one[None], factor) for one in image])
        assert torch.allclose(color_jitter(image, ones, factors, ones, zeros), contrasted, atol=1e-4)
    grey = image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    turned = color_jitter(grey, ones, ones, ones, torch.tensor([0.1, 0.25, 0.5]))
    assert torch.allclose(turned, grey, atol=5e-3), "grey has no hue"
    assert torch.allclose(color_jitter(image, ones, ones, ones, ones), image, atol=1e-4), "a whole turn is none"
    turn = torch.tensor([0.02, -0.02, 0.04])
    theirs = torch.cat([adjust_hue(one[None], float(part)) for one, part in zip(image, turn, strict=True)]) - image
    ours = color_jitter(image, ones, ones, ones, turn) - image
    alike = torch.cosine_similarity(ours.flatten(1), theirs.flatten(1))
    assert alike.min() > 0.2, "not by the circle of HSV, but the same way round"


def test_cutout_covers_a_square() -> None:
    image = torch.ones(2, 1, 8, 8)
    cut = cutout(image, 4, torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.99]))
    assert [(one == 0.5).sum().item() for one in cut] == [16, 4]
    assert (cut[0, 0, 2:6, 2:6] == 0.5).all()


def photos_batch(count: int, side: int) -> torch.Tensor:
    photos = Photos("val")
    return torch.stack([photos.image(index)[:, :side, :side] for index in range(count)]) / 255


def test_fitted_pictures_have_one_size_and_the_channels_asked_for(pictures: Path) -> None:
    fitted = Fitted(Folder("all", pictures), size=16)
    assert fitted.__getitems__([Index(0, 1), Index(3, 1)])["image"].shape == (2, 3, 16, 16)
    coloured = Fitted(Glyphs("val"), channels=3)
    batch = coloured.__getitems__([Index(0, 1)])
    assert torch.equal(batch["image"][0, 0], batch["image"][0, 2]) and batch["label"].tolist() == [0]
    with pytest.raises(UserError, match="have 3 channels, the network takes 2"):
        Fitted(Folder("all", pictures), channels=2)


def test_of_huge_pictures_the_middle_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """At whole multiples, also of what is beside them, smaller by a scale; and it is said."""
    monkeypatch.setattr(transforms, "LONGEST_SIDE", 14)
    Path("imgs").mkdir()
    rows, columns = np.mgrid[:29, :22]
    Image.fromarray(np.stack([rows, columns, rows], axis=2).astype(np.uint8)).save("imgs/0.png")
    Image.fromarray(np.zeros((13, 12, 3), np.uint8)).save("imgs/1.png")
    source = Source(Folder, Path("imgs"), Folder, Path("imgs"))
    images = source("val", multiple=4)
    assert images.size(0) == (12, 12) and images.size(1) == (12, 12)
    middle = images.image(0)
    assert middle[0, :, 0].tolist() == list(range(8, 20)) and middle[1, 0].tolist() == list(range(4, 16))
    assert isinstance(images, Multiples)
    assert images.cut(torch.arange(14)[:, None].expand(1, 14, 11), 2)[0, :, 0].tolist() == list(range(4, 10))
    assert [at_once(Fitted(images, size=side), 8) for side in (2, 7, 14, 28)] == [8, 4, 1, 1]
    assert "1 picture is larger than 14×14 pixels, such as imgs/0.png: of these the middle" in source.describe()[-1]


@pytest.mark.parametrize(
    ("how", "moved"),
    [
        ({}, True),
        ({"crop": 28}, True),
        ({"channels": 3}, True),
        ({"size": 28, "channels": 3}, True),
        ({"size": 16}, False),  # torch resizes 8-bit pictures on CPUs only
        ({"crop": 16}, False),  # one by one
        ({"size": 28, "area": (0.5, 1.0)}, False),
    ],
)
def test_pictures_in_memory_can_live_on_a_device(how: LoadOptions, moved: bool) -> None:
    """Stands in for a GPU: the device that has shapes, but no values."""
    images = Source(Glyphs, None)("val", **how)
    shape = images.__getitems__([Index(0, 0), Index(5, 0)])["image"].shape
    images.to(torch.device("meta"))
    batch = images.__getitems__([Index(0, 0), Index(5, 0)])
    assert {name: tensor.device.type for name, tensor in batch.items()} == dict.fromkeys(
        ("image", "label"), "meta" if moved else "cpu"
    )
    assert batch["image"].shape == shape


def test_pairs_and_their_mean() -> None:
    train, validation = (Mixture(Glyphs("val"), Photos("val"), shuffle=shuffle) for shuffle in (True, False))
    for images in (train, validation):
        batch = images.__getitems__([Index(3, 1), Index(4, 2)])
        pictures = dict.fromkeys(("image", "first", "second"), (2, 3, 32, 32))
        labels = dict.fromkeys(("first_label", "second_label"), (2,))
        assert {name: tensor.shape for name, tensor in batch.items()} == pictures | labels
        both = batch["first"].double() + batch["second"].double()
        assert torch.allclose(batch["image"].double() * 510, both, atol=1e-3)
    partners = {train.partner(Index(0, key)) for key in range(20)}
    assert len(partners) > 10 and validation.partner(Index(3, 1)) == 3


def test_test_sets_are_found_by_name(pictures: Path, mistake: Mistake) -> None:
    options = ("--task", "superres", "--steps", 1, "--val-data", "set5")
    assert "put the 5 high-resolution pictures of Set5" in mistake(*options, "--val-root", ".")
    pictures.rename("Set5")
    assert "Set5 holds 12 pictures, Set5 has 5" in mistake(*options, "--val-root", ".")
    assert "is a validation set, not for training" in mistake("--task", "superres", "--data", "set5")
    for path in sorted(Path("Set5").rglob("*.png"))[5:]:
        path.unlink()
    assert len(open_test_set("Set5", "all", Path())) == len(open_test_set("Set5", "all", Path("Set5"))) == 5
