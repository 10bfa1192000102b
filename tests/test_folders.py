"""Folders as people have them: splits, classes, strays, links, names, and what is wrong with their pictures."""

import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launchbay import UserError
from launchbay.data import count_classes, decode, find_pictures, listing
from launchbay.data.base import digest
from launchbay.data.files import DamagedPictures
from launchbay.data.folder import Folder
from launchbay.data.formats import endings
from launchbay.data.sources import Source
from launchbay.launch.config.assembly import open_dataset

Launchbay = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]
Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]


def draw(*paths: str | Path, size: tuple[int, int] = (24, 24)) -> None:
    """Write a small picture to each path."""
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(str(path))).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def opened(root: str) -> tuple[Folder, Folder, str]:
    """The pictures to train and to validate on, and what is said of the folder."""
    source = Source(Folder, Path(root))
    train, validation = source.open("train"), source.open("val")
    assert isinstance(train, Folder) and isinstance(validation, Folder)
    (said,) = source.describe()
    return train, validation, said


def labels(folder: Folder) -> dict[str, str]:
    """The class of each picture, by its path below the root."""
    found = [folder.label(index) for index in range(len(folder))]
    return {
        name: folder.classes[label] for name, label in zip(folder.files.names, found, strict=True) if label is not None
    }


@pytest.mark.parametrize("names", ["train val", "Training valid", "TRAIN validation", "train eval", "train testing"])
def test_sub_folders_are_splits(names: str) -> None:
    learned, validated = names.split()
    draw(*(f"imgs/{learned}/{kind}/{n}.png" for kind in ("cat", "dog") for n in range(6)))
    draw(f"imgs/{validated}/cat/1.png", f"imgs/{validated}/dog/2.png", f"imgs/{validated}/dog/deep/3.png")
    train, validation, said = opened("imgs")
    assert train.classes == validation.classes == ("cat", "dog")
    assert Counter(labels(train).values()) == {"cat": 6, "dog": 6}
    assert labels(validation) == {
        f"{validated}/cat/1.png": "cat", f"{validated}/dog/2.png": "dog", f"{validated}/dog/deep/3.png": "dog"
    }  # fmt: skip
    assert said.startswith("imgs: 2 classes (cat, dog), 12 to train, 3 to validate")
    assert ("figures are of testing/" in said) == (validated == "testing")
    assert len(Folder("all", Path("imgs"))) == 15


def test_splits_without_classes_and_with_a_test_set() -> None:
    draw(
        *(f"imgs/{part}/{n}.png" for part in ("train", "val", "test") for n in range(3)),
        "imgs/other/9.png",
        "imgs/1.png",
    )
    train, validation, said = opened("imgs")
    assert [name.split("/")[0] for name in (*train.files.names, *validation.files.names)] == ["train"] * 3 + ["val"] * 3
    assert not train.classes and not train.unlabelled
    assert said == "imgs: 3 to train, 3 to validate; 3 in test/ not used; left out: 2 beside test/, train/, val/"
    assert labels(Folder("all", Path("imgs"))) == {} and len(Folder("all", Path("imgs/test"))) == 3
    whole = Source(Folder, Path("imgs"), Folder, Path("imgs"))
    whole.open("train")
    whole.open("val")
    assert whole.describe() == [
        "imgs: 3 to train, 6 not used; left out: 2 beside test/, train/, val/",
        "imgs: 9 to validate; from test/, train/, val/; left out: 2 beside test/, train/, val/",
    ]


def test_a_single_split_and_a_class_of_trains() -> None:
    draw(*(f"one/train/{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)))
    train, validation, said = opened("one")
    assert train.classes == ("cat", "dog") and (len(train), len(validation)) == (9, 1)
    assert said == "one: 2 classes (cat, dog), 9 to train, 1 to validate"
    draw(*(f"voc/{kind}/{n}.png" for kind in ("boat", "train") for n in range(5)))
    assert opened("voc")[0].classes == ("boat", "train")


@pytest.mark.parametrize("top", ["archive", "archive/imgs"])
def test_a_folder_in_a_folder_is_read_as_it_is_unpacked(top: str) -> None:
    """Splits that lie deeper are no classes: validation pictures would be trained on."""
    draw(*(f"imgs/{top}/{part}/{kind}/{n}.png" for part in ("train", "val") for kind in ("cat", "dog") for n in "12"))
    Path("imgs/read me.txt").touch()
    Path("imgs/other").mkdir()
    train, validation, said = opened("imgs")
    assert train.classes == validation.classes == ("cat", "dog") and len(train) == len(validation) == 4
    where = f"imgs/{top}, where all pictures are"
    assert said == f"{where}: 2 classes (cat, dog), 4 to train, 4 to validate; left out: 1 .txt"
    inside = Folder("train", Path("imgs", top))
    assert inside.fingerprint() == train.fingerprint() and inside.files.names == train.files.names
    draw("imgs/sample.png")
    _, _, said = opened("imgs")
    assert said.startswith(f"imgs: 8 to train, 1 to validate; {top}/train/, {top}/val/ are not taken as splits")


def test_splits_may_lie_in_the_folders_of_the_classes() -> None:
    draw(
        *(f"imgs/{kind}/{part}/{n}.png" for part in ("train", "test", "Val") for kind in ("cat", "dog") for n in "123")
    )
    train, validation, said = opened("imgs")
    assert train.classes == validation.classes == ("cat", "dog")
    assert labels(validation) == {f"imgs/{kind}/Val/{n}.png"[5:]: kind for kind in ("cat", "dog") for n in "123"}
    assert said == "imgs: 2 classes (cat, dog), 6 to train, 6 to validate; 6 to test not used"
    draw("imgs/fox/1.png")
    train, validation, said = opened("imgs")
    assert train.classes == ("cat", "dog", "fox") and len(train) == 17
    assert (
        "; cat/Val/, cat/test/, cat/train/ are not taken as splits, with pictures beside cat/: move these away" in said
    )


def test_splits_by_a_word_in_the_name_are_said() -> None:
    draw(*(f"coco/{part}2017/{n}.png" for part in ("train", "val") for n in "1234"), "one/train/cat/1.png")
    Path("coco/annotations").mkdir()
    _, _, said = opened("coco")
    assert said == "coco: 4 to train, 4 to validate; splits are train2017/, val2017/"
    draw("one/train/dog/1.png", "one/unlabelled/1.png")
    assert "; train/ is taken for a class, with pictures beside it" in opened("one")[2]


def test_folders_that_hold_no_classes_say_why() -> None:
    draw(*(f"{root}/train/{kind}/1.png" for root in ("more", "less") for kind in ("cat", "dog")))
    draw("more/val/cat/1.png", "more/val/fox/1.png", "less/val/cat/1.png")
    more = opened("more")[0]
    assert not more.classes
    with pytest.raises(UserError, match=r"no labels: val/fox/1.png is for validation, but no picture of fox to train"):
        count_classes(more)
    less, validation, _ = opened("less")
    assert less.classes == validation.classes == ("cat", "dog") and labels(validation) == {"val/cat/1.png": "cat"}
    draw("stray/cat/1.png", "stray/dog/1.png", "stray/my.png", "only/cat/1.png", "only/cat/2.png")
    assert opened("stray")[0].unlabelled == "my.png is in no folder of a class"
    assert opened("only")[0].unlabelled == "all pictures are of one class, cat"


@pytest.mark.usefixtures("without_heif")
@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("train/1.png", "val/1.png", "valid/1.png"), "imgs has val/ and valid/, which are for the same"),
        (("train/1.png", "Train/1.png", "val/1.png"), "imgs has Train/ and train/, which are for the same"),
        (("val/1.png", "valid/1.png"), "imgs has val/ and valid/, which are for the same"),
        (("train/1.png", "val/1.mov"), "imgs/val holds no picture"),
        (("val/1.png", "test/1.png"), "imgs has test/, val/, but no train/"),
        (("1.png",), "imgs has one picture (1.png), which cannot serve training and validation both"),
        (("1.heic", "2.heic", "3.mov"), "imgs holds no picture, but 2 .heic, 1 .mov"),
    ],
)
def test_folders_that_can_be_read_in_two_ways_or_none(paths: tuple[str, ...], said: str) -> None:
    for path in (Path("imgs", name) for name in paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture")
        if path.suffix == ".png":
            draw(path)
    with pytest.raises(UserError) as raised:
        Folder("train", Path("imgs"))
    assert said in raised.value.message


@pytest.mark.usefixtures("without_heif")
def test_strays_are_no_pictures_and_no_classes(train: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    draw(*(f"imgs/{kind}/{n}.png" for kind in ("cat", "dog") for n in range(10)))
    for stray in (
        ".DS_Store", ".ipynb_checkpoints/1.png", "@eaDir/2.png", "__MACOSX/cat/3.png", "cat/._4.jpg", "cat/Thumbs.db",
        ".Trash/cat/5.png", "cat/6.heic", "dog/7.HEIC", "dog/clip.mov", "read me",
    ):  # fmt: skip
        Path("imgs", stray).parent.mkdir(parents=True, exist_ok=True)
        Path("imgs", stray).write_bytes(b"no picture")
    for name in ("fox/1.png", "dog/10.png", "cat/a.JPG"):  # fox is a class without a picture
        Path("imgs", name).parent.mkdir(exist_ok=True)
        Path("imgs", name).touch()
    run = train("classify", "--data", "folder", "--data-root", "imgs", "--steps", 1, "--batch-size", 2)
    assert (
        "imgs: 2 classes (cat, dog), 18 to train, 2 to validate; no picture in fox; "
        "left out: 7 hidden, 3 empty, 2 .heic, 1 .mov, 1 of no known kind (pip install 'launchbay[heif]' reads .heic)\n"
        in capfd.readouterr().out
    )
    assert "classes: 2" in (run / "config.yaml").read_text()


def test_each_folder_is_visited_once_by_its_own_path() -> None:
    draw(*(f"imgs/{n % 3}/{n}.png" for n in range(7)))
    names = Folder("all", Path("imgs")).files.names
    for link, target in (("imgs/0/up", ".."), ("imgs/1/two", "../2"), ("imgs/00", "2"), ("imgs/2/self", ".")):
        Path(link).symlink_to(target)
    Path("elsewhere").mkdir()
    for name in ("a", "b"):
        Path("imgs", name).symlink_to(Path("elsewhere").resolve())
    draw("elsewhere/8.png")
    Path("elsewhere/back").symlink_to(Path("imgs").resolve())
    Path("imgs/self.png").symlink_to("self.png")
    with pytest.raises(UserError, match=r"imgs/self.png: Too many levels of symbolic links"):
        Folder("all", Path("imgs"))
    Path("imgs/self.png").rename("imgs/self.txt")
    folder = Folder("all", Path("imgs"))
    assert folder.files.names == [*names, "a/8.png"]
    assert folder.layout.left_out == {"linked twice": 6, ".txt": 1}


def test_many_links_and_folders_take_no_quadratic_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(300):
        Path(f"imgs/{n:03}").mkdir(parents=True)
        Path(f"imgs/{n:03}/all").symlink_to(Path("imgs").resolve())
        Path(f"imgs/{n:03}/1.png").write_bytes(b"no picture")
    scanned: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or scandir(path))
    assert len(find_pictures(Path("imgs"))) == 300
    assert len(scanned) == 301


def test_what_is_no_regular_file_is_never_opened() -> None:
    draw("imgs/1.png", "imgs/2.png")
    os.mkfifo("imgs/3.png")
    Path("imgs/4.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("imgs/5.png")
    _, _, said = opened("imgs")
    assert said == "imgs: 1 to train, 1 to validate; left out: 3 no regular files"
    for path in ("imgs/3.png", "imgs/4.png"):
        with pytest.raises(UserError, match="it is no regular file"):
            decode.decode(Path(path))


def test_another_program_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would give EPS to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    asked: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *parts: asked.append(parts))
    Path("imgs").mkdir()
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\nshowpage\n%%EOF\n"
    for suffix in endings():
        Path(f"imgs/1{suffix}").write_bytes(eps)
        with pytest.raises(UserError, match="does not recognise its content as one of AVIF, BMP"):
            decode.decode(Path(f"imgs/1{suffix}"))
    with pytest.raises(DamagedPictures) as raised:
        Folder("train", Path("imgs"))
    assert len(raised.value.lines) == len(endings()) and not asked


def test_each_kind_is_read_whatever_it_is_called() -> None:
    pixels = Image.fromarray(np.full((20, 30, 3), 100, np.uint8))
    kinds = {
        "png": "PNG",
        "jpg": "JPEG",
        "bmp": "BMP",
        "webp": "WEBP",
        "tif": "TIFF",
        "ppm": "PPM",
        "gif": "GIF",
        "avif": "AVIF",
    }
    Path("imgs").mkdir()
    for suffix, kind in kinds.items():
        pixels.save(f"imgs/{suffix}.{suffix}", kind)
        pixels.save(f"imgs/wrong-{suffix}.png", kind)
    folder = Folder("all", Path("imgs"))
    assert len(folder) == 2 * len(kinds) and folder.uniform
    assert all((folder.image(index).int() - 100).abs().max() <= 2 for index in range(len(folder)))


def test_pictures_that_are_too_large_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    draw("imgs/1.png", "imgs/2.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert len(Folder("all", Path("imgs"))) == 2
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(UserError, match=r"imgs/1.png: it has more than 1,400 pixels"):
        Folder("all", Path("imgs"))


def test_names_that_are_no_text(train: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"imgs/c\xff\x1b[31mt")
    draw(*(f"{kind}/{n}.png" for kind in (odd, "imgs/dog") for n in range(3)))
    draw(os.fsdecode(b"imgs/dog/\xe9\nt\xe9.png"))
    folder = Folder("all", Path("imgs"))
    assert folder.name(6) == r"imgs/dog/\xe9\nt\xe9.png"
    assert folder.classes == (r"c\xff\x1b[31mt", "dog") and folder.name(0) == r"imgs/c\xff\x1b[31mt/0.png"
    expected = [part for name in folder.files.names for part in (os.fsencode(name), Path("imgs", name).stat().st_size)]
    assert folder.fingerprint() == digest(*expected), "bytes as they are: those of other names stay what they were"
    train("classify", "--data", "folder", "--data-root", "imgs", "--steps", 1, "--batch-size", 2)
    assert r"2 classes (c\xff\x1b[31mt, dog)" in capfd.readouterr().out
    (Path(odd) / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"imgs/c\\xff\\x1b\[31mt/1.png: Pillow does not recognise"):
        Folder("all", Path("imgs"))


def exif_of(orientation: int | str, *others: tuple[int, int, int, bytes]) -> bytes:
    """EXIF as a file has it, with an orientation as a number or as text, and other tags."""
    as_number = isinstance(orientation, int)
    value = struct.pack("<HH", orientation, 0) if as_number else orientation.encode() + bytes(3)
    entries = [(0x0112, 3 if as_number else 2, 1 if as_number else 2, value), *others]
    packed = b"".join(struct.pack("<HHI", tag, kind, count) + data for tag, kind, count, data in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4)


@pytest.mark.parametrize("orientation", [0, 9, 65535, "6", 6])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_odd_orientations_neither_stop_a_run_nor_turn_half_of_it(orientation: int | str, suffix: str) -> None:
    Path("imgs").mkdir()
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    if suffix == "tif":
        exif = Image.Exif()
        exif[0x0112] = int(orientation)
        image.save("imgs/1.tif", exif=exif)
    else:
        image.save(f"imgs/1.{suffix}", exif=exif_of(orientation))
    folder = Folder("all", Path("imgs"))
    turned = orientation == 6 or (orientation, suffix) == ("6", "tif")
    assert folder.image(0).shape[1:] == folder.size(0) == ((30, 20) if turned else (20, 30))
    source = Source(Folder, Path("imgs"))
    source.open("all")
    is_named = f"an orientation that is none: imgs/1.{suffix}" in " ".join(source.describe())
    assert is_named == (not turned and orientation != 0)


def test_links_to_nowhere_say_so() -> None:
    draw("imgs/1.png", "imgs/2.png")
    Path("imgs/3.png").symlink_to("gone.png")
    Path("there").symlink_to("unplugged")
    with pytest.raises(DamagedPictures, match=r"imgs/3.png: it is a link to gone.png, which is not there"):
        Folder("all", Path("imgs"))
    for opened in (lambda: Folder("all", Path("there")), lambda: open_dataset("there")("train", None)):
        with pytest.raises(UserError, match="there is a link to unplugged, which is not there"):
            opened()


def test_damaged_files_are_named_whatever_their_bytes_are() -> None:
    """Nothing but a UserError, and header and decoder agree on the sides."""
    Path("imgs").mkdir()
    chance, outcomes = random.Random(0), {"read": 0, "named": 0}
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "tif", "webp", "gif", "bmp"):
        path = Path(f"imgs/1.{suffix}")
        Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(path, exif=exif)
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(min(len(whole), 200))] = chance.randrange(256)
            path.write_bytes(damaged[: chance.randint(1, len(whole))] if chance.random() < 0.3 else damaged)
            try:
                folder = Folder("all", Path("imgs"))
            except DamagedPictures as error:
                assert str(path) in error.message
                outcomes["named"] += 1
            else:
                assert folder.image(0).shape[1:] == folder.size(0)
                outcomes["read"] += 1
        path.unlink()
    assert min(outcomes.values()) > 50, outcomes


def test_a_folder_is_looked_through_once_for_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(*(f"imgs/{n}.png" for n in range(20)))
    looked: list[Path] = []
    monkeypatch.setattr(
        "launchbay.data.folder.list_folder", lambda root: looked.append(root) or listing.list_folder(root)
    )
    source = Source(Folder, Path("imgs"))
    source.open("train")
    draw("imgs/0a.png")  # would be held out, and move all others
    train, validation = source.open("train"), source.open("val")
    assert looked == [Path("imgs")] and isinstance(validation, Folder) and isinstance(train, Folder)
    assert not set(train.files) & set(validation.files) and len(train) + len(validation) == 20


def test_pixels_are_kept_once() -> None:
    draw(*(f"imgs/{n}.png" for n in range(5)))
    draw("imgs/6.png", size=(9, 30))
    folder = Folder("all", Path("imgs"))
    assert folder.kept is not None and folder.kept.nbytes == 3 * (5 * 24 * 24 + 9 * 30)
    for index, path in enumerate(folder.files):
        assert (folder.image(index) == decode.decode(path)).all()


def test_the_fingerprint_of_a_folder_is_what_it_was() -> None:
    draw(*(f"imgs/{n % 2}/{n}.png" for n in range(12)))
    known = [
        part
        for place, path in enumerate(sorted(Path("imgs").rglob("*.png")))
        if place % 10
        for part in (str(path.relative_to("imgs")), path.stat().st_size)
    ]
    assert Folder("train", Path("imgs")).fingerprint() == digest(*known)


@pytest.mark.usefixtures("without_heif")
def test_figures_of_another_folder_are_told_apart(
    train: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    draw(*(f"imgs/{n}.png" for n in range(20)), "others/1.png", "others/2.png", "others/3.heif.png")
    Path("others/4.heif").touch()
    train("superres", "--data", "folder", "--data-root", "imgs", "--val-root", "others", "--patch", 24, "--steps", 1)
    said = capfd.readouterr().out
    assert "imgs: 18 to train, 2 not used\n" in said
    assert "others: 3 to validate; left out: 1 .heif (pip install 'launchbay[heif]' reads .heif)\n" in said


def test_an_exif_tag_that_cannot_be_written_back_is_no_reason_to_stop() -> None:
    """A resolution as text, of a picture that is turned: Pillow's own way to turn it fails."""
    Path("imgs").mkdir()
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    image.save("imgs/1.jpg", exif=exif_of(6, (0x011A, 2, 3, b"72\0\0")))
    assert Folder("all", Path("imgs")).size(0) == (30, 20)
