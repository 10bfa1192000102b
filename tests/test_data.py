"""Data sets and the order they are visited in."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from launchbay import UserError
from launchbay.data import Index, dihedral
from launchbay.data.crops import Crops, Multiples
from launchbay.data.decode import decode
from launchbay.data.folder import Folder
from launchbay.data.loader import EvaluationOrder, Keyed, TrainingOrder
from launchbay.data.photos import FILES, Photos

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
            for index, counts_it in zip(indices, counts.tolist(), strict=True)
            if counts_it
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
    assert isinstance(batch, tuple) and batch[0]["image"].shape == (2, 3, 30, 40)


def test_a_folder_too_large_for_memory_is_decoded_on_demand(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Folder("all", pictures)
    monkeypatch.setattr("launchbay.data.folder.KEEP_BYTES", 100)
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


def test_a_picture_stands_upright_and_its_size_is_known(pictures: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held sideways
    for path in pictures.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    folder = Folder("all", pictures)
    assert folder.image(0).shape == (3, 40, 30) and folder.uniform


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"no picture", "no picture that Pillow knows"), (b"half", "truncated")],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_is_named(
    pictures: Path, mistake: Mistake, monkeypatch: pytest.MonkeyPatch, *, content: bytes, said: str, workers: int
) -> None:
    if workers:  # so that it is a worker that finds out
        monkeypatch.setattr("launchbay.data.folder.KEEP_BYTES", 0)
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
    (pictures / "0/00.png").rename("one/only.png")
    assert "gone is not a folder" in said("--data", "folder", "--data-root", "gone")
    assert "empty holds no picture" in said("--data", "folder", "--data-root", "empty")
    assert "one has one picture (only.png)" in said("--data", "folder", "--data-root", "one")
    small = "pictures/0/04.png has 40×30 pixels, but 72×72 are needed"
    assert small in said("--data", "folder", "--data-root", pictures)
    Image.new("RGB", (40, 22)).save("one/only.png")
    assert "one/only.png has 40×22 pixels, but 23×23 are needed" in said("--val-root", "one")
    assert not Path("runs").exists()
    assert "empty holds no picture" in said("--val-root", "empty")


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
