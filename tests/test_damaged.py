"""Damaged and small pictures: all are told at one start, or left out and counted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import lines
from PIL import Image
from test_folders import draw

from launchbay import UserError
from launchbay.data import Pairs, reading
from launchbay.data.files import DamagedPictures, without_damaged
from launchbay.launch.config.assembly import open_dataset

Launchbay = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]
Train = Callable[..., Path]
SMALL = ("--steps", 1, "--patch", 16, "--width", 8, "--blocks", 1, "--batch-size", 2)


def damage(*names: str) -> None:
    for name in names:
        Path(name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def test_all_that_is_wrong_is_told_at_one_start(mistake: Mistake) -> None:
    draw(*(f"imgs/{n:02}.png" for n in range(40)), size=(80, 80))
    for n in (0, 1, 2):  # one held out, two to train
        Path(f"imgs/{n:02}.png").write_bytes(b"no picture")
    Path("imgs/03.png").write_bytes(Path("imgs/03.png").read_bytes()[:2000])
    draw("imgs/04.png", size=(9, 9))
    here = ("--task", "superres", "--data", "folder", "--data-root", "imgs", "--steps", 1)
    said = mistake(*here)
    assert "cannot use 5 pictures" in said and "repair them or take them out of the folder" in said
    assert all(f"imgs/0{n}.png" in said for n in range(5)), said
    assert (
        "imgs/03.png: image file is truncated" in said and "imgs/04.png has 9×9 pixels, but 72×72 are needed" in said
    ), said
    for n in range(5):
        draw(f"imgs/{n:02}.png", size=(80, 80))
    draw(*(f"imgs/{n:02}.png" for n in range(11, 39)), size=(30, 30))
    said = mistake(*here)
    assert "26 pictures have fewer than the 72×72 pixels needed" in said and "and 16 more" in said


def test_damaged_pictures_can_be_left_out_and_are_counted(
    train: Train, mistake: Mistake, launchbay: Launchbay, capfd: pytest.CaptureFixture[str]
) -> None:
    """In training, also when it goes on, and in an evaluation; a folder of nothing else is refused."""
    for number in range(20):
        draw(f"imgs/{number:02}.png")
    shutil.copytree("imgs", "whole")
    for name in ("imgs/09.png", "imgs/20.jpg", "imgs/00a.png"):  # of training and of validation
        Path(name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    given = ("--steps", 2, "--patch", 16, "--width", 8, "--blocks", 1)
    refused = mistake("--task", "denoise", "--data", "imgs", "--run", "it", *given)
    assert "cannot use 3 pictures" in refused and "--skip-damaged leaves out what is damaged" in refused
    train("denoise", "--data", "whole", *given).rename("runs/whole")
    capfd.readouterr()
    run = train("denoise", "--data", "imgs", "--skip-damaged", *given)
    said = " ".join(capfd.readouterr().out.split())
    assert "left out: 3 damaged (imgs/00a.png: " in said, said
    assert "17 to train, 2 to validate" in said
    train("denoise", "--data", "imgs", "--skip-damaged", *given[2:], "--steps", 3)
    assert lines(run, "val")[-1]["step"] == 3
    code, said = launchbay("evaluate", "it")
    assert code == 0 and "3 damaged" in said
    run.rename("runs/first")
    train("denoise", "--data", "imgs", "--skip-damaged", *given, "--hold-out", 0.2)
    assert "imgs: 14 to train, 2 to validate; left out: 3 damaged" in " ".join(capfd.readouterr().out.split())
    code, said = launchbay("evaluate", "whole", "--val-root", "imgs")
    assert code == 2 and "cannot use 3 pictures" in said
    code, said = launchbay("evaluate", "whole", "--val-root", "imgs", "--skip-damaged")
    assert code == 0 and "3 damaged" in said
    for name in Path("imgs").iterdir():
        name.write_bytes(b"nothing")
    said = mistake("--task", "denoise", "--data", "imgs", "--run", "none", "--skip-damaged")
    assert "no picture is left without those that are damaged" in said and "and 12 more" in said


def test_what_is_wrong_with_any_set_is_told_at_one_start(mistake: Mistake) -> None:
    """Of the training pictures and of each folder to validate on: damaged ones and those that are too small."""
    draw(*(f"{root}/{n}.png" for root in ("imgs", "one", "two") for n in range(4)))
    damage("imgs/1.png", "one/2.png", "two/0.png", "two/3.png")
    draw("one/3.png", size=(9, 9))
    here = ("--task", "denoise", "--data", "imgs", "--val-root", "one", "two", *SMALL)
    said = mistake(*here)
    assert "cannot use 5 pictures" in said
    for name in ("imgs/1.png: ", "one/2.png: ", "two/0.png: ", "two/3.png: ", "one/3.png has 9×9 pixels, but 11×11"):
        assert name in said, name
    draw("imgs/1.png", "imgs/2.png", "one/2.png", "two/0.png", "two/3.png")
    draw("imgs/2.png", size=(12, 12))
    said = mistake(*here)
    assert "2 pictures are too small: imgs/2.png has 12×12 pixels, but 16×16 are needed one/3.png has 9×9" in said
    draw("imgs/2.png")
    draw("two/2.png", size=(8, 30))
    said = mistake(*here)
    assert "2 pictures have fewer than the 11×11 pixels needed: one/3.png has 9×9 pixels two/2.png has 30×8" in said


def test_damaged_pairs_can_be_left_out_and_are_counted(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    """Either picture of a pair, of training and of validation; pairs at several scales too."""
    for number in range(11):
        draw(f"imgs/HR/{number}.png", size=(48, 48))
        for scale in (2, 4):
            draw(f"imgs/LR/X{scale}/{number}.png", size=(48 // scale, 48 // scale))
    damage("imgs/HR/0.png", "imgs/LR/X2/3.png", "imgs/LR/X4/5.png")
    here = ("--data", "pairs", "--data-root", "imgs", "--scale", 2, *SMALL, "--patch", 24)
    said = mistake("--task", "superres", *here)
    assert "cannot use 2 pictures" in said and "imgs/HR/0.png: " in said and "--skip-damaged leaves out" in said
    train("superres", *here, "--skip-damaged")
    said = " ".join(capfd.readouterr().out.split())
    assert "2 times smaller: 8 to train, 1 to validate; left out: 2 damaged (imgs/" in said, said
    draw("imgs/HR/11.png", size=(48, 48))
    assert "HR/11.png has no partner" in mistake("--task", "superres", *here, "--skip-damaged", "--run", "other")


def test_damaged_pictures_of_a_table_and_of_a_mixture_can_be_left_out(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        draw(f"imgs/{number}.png", f"others/{number}.png", size=(32, 32))
    damage("imgs/0.png", "imgs/3.png", "others/4.png")
    rows = [f"imgs/{number}.png,{('cat', 'dog')[number % 2]}" for number in range(12)]
    Path("t.csv").write_text("\n".join(["file,label", *rows]))
    here = ("--data", "t.csv", "--size", 16, "--steps", 1, "--batch-size", 2)
    said = mistake("--task", "classify", *here)
    assert "cannot use 2 pictures" in said and "take them out of the table; --skip-damaged leaves out" in said
    train("classify", *here, "--skip-damaged").rename("runs/table")
    assert "t.csv: 2 classes (cat, dog), 9 to train, 1 to validate; left out: 2 damaged (imgs/0.png: " in " ".join(
        capfd.readouterr().out.split()
    )
    said = open_dataset("imgs+others", skip_damaged=True)("train").note
    assert "imgs: 9 pictures; left out: 2 damaged (imgs/0.png: " in said, said
    assert "others: 9 pictures; left out: 1 damaged (others/4.png: " in said, said
    Path("t.csv").write_text("\n".join(["file,label", *rows, "gone.png,cat"]))
    assert "gone.png is not there" in mistake("--task", "classify", *here, "--skip-damaged", "--run", "none")


def test_damaged_masks_are_told_with_their_pictures() -> None:
    for number in range(10):
        draw(f"imgs/images/{number}.png")
        Path("imgs/masks").mkdir(exist_ok=True)
        Image.new("L", (24, 24), number).save(f"imgs/masks/{number}.png")
    damage("imgs/masks/4.png", "imgs/images/6.png", "imgs/masks/6.png")
    with pytest.raises(DamagedPictures) as raised:
        Pairs("train", Path("imgs"))
    assert [line.partition(": ")[0] for line in raised.value.lines] == ["imgs/masks/4.png", "imgs/images/6.png"]
    images = without_damaged(lambda: Pairs("train", Path("imgs")))
    assert len(images) == 7 and [int(images.__getitems__([n])["mask"][0, 0, 0]) for n in (2, 3, 4)] == [3, 5, 7]
    Image.new("RGB", (24, 24), (1, 2, 3)).save("imgs/masks/8.png")
    with pytest.raises(UserError, match=r"masks/8.png: it has colours") as refused:
        Pairs("train", Path("imgs"))
    assert not isinstance(refused.value, DamagedPictures), "nor does --skip-damaged leave out what is whole"


def test_a_pack_can_leave_out_damaged_pictures_and_counts_them(launchbay: Launchbay) -> None:
    draw(*(f"imgs/{kind}/{n}.png" for kind in ("cat", "dog") for n in range(10)))
    damage("imgs/cat/5.png")
    code, said = launchbay("pack", "imgs", "out")
    assert code == 2 and "imgs/cat/5.png" in said and not Path("out").exists()
    code, said = launchbay("pack", "imgs", "out", "--skip-damaged")
    assert code == 0 and "left out: 1 damaged" in said and "17 train, 2 val" in said, said


def test_a_damaged_pack_can_do_without(launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept decoded or not, and in each of its pictures."""
    draw(*(f"imgs/{n:02}.png" for n in range(20)))
    assert launchbay("pack", "imgs", "packed")[0] == 0
    content = bytearray(Path("packed/shard-00000.tar").read_bytes())
    content[700] ^= 1
    Path("packed/shard-00000.tar").write_bytes(content)
    with pytest.raises(DamagedPictures) as raised:
        open_dataset("packed")("train", None)
    assert "01.png: the pack is damaged there" in raised.value.message
    assert "write it again with launchbay pack; --skip-damaged leaves out what is damaged" in raised.value.hint
    for most in (2**30, 0):
        monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", most)
        rest = without_damaged(lambda: open_dataset("packed")("train", None))
        whole = open_dataset("imgs")("train", None)
        assert len(rest) == len(whole) - 1 == 17 and rest.name(0).endswith("packed/02.png")
        assert all((rest.image(n) == whole.image(n + 1)).all() for n in range(17))
        assert "left out: 1 damaged" in rest.note


def test_damaged_pixels_of_a_large_folder_are_found_first_if_they_are_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once: a later start decodes what is new or was damaged. Otherwise the message says what can be done."""
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    monkeypatch.setattr("launchbay.data.reading.FEW", 10)
    monkeypatch.setattr("launchbay.data.known.FRESH", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw(*(f"imgs/{n:02}.png" for n in range(20)))
    Path("imgs/05.png").write_bytes(Path("imgs/05.png").read_bytes()[:1000])
    images = open_dataset("imgs")("train", None)
    with pytest.raises(UserError, match=r"05.png: image file is truncated") as raised:
        images.image(4)
    assert "the same command goes on" in raised.value.hint and "--skip-damaged" in raised.value.hint
    decoded = list[object]()
    decode = reading.pixels_of
    monkeypatch.setattr(reading, "pixels_of", lambda *given: decoded.append(given[0]) or decode(*given))
    for count in (18, 1):
        decoded.clear()
        rest = without_damaged(lambda: open_dataset("imgs")("train", None))
        assert len(rest) == 17 and "imgs/05.png" not in {rest.name(n) for n in range(17)}
        assert len([one for one in decoded if "imgs/00.png" != str(one) != "imgs/10.png"]) == count


def test_parquet_without_its_damaged_rows_is_still_described(launchbay: Launchbay) -> None:
    import datasets

    draw(*(f"{n}.png" for n in range(20)))
    rows = [{"image": {"bytes": Path(f"{n}.png").read_bytes()}, "label": n % 2} for n in range(20)]
    rows[5]["image"] = {"bytes": b"no picture"}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    datasets.Dataset.from_list(rows, features=features).to_parquet("set.parquet")
    said = launchbay("pack", "set.parquet", "out", "--skip-damaged")[1]
    assert "set.parquet: 2 classes (cat, dog)" in said and "left out: 1 damaged" in said, said


def test_a_folder_with_validation_alone_says_so(launchbay: Launchbay) -> None:
    draw(*(f"imgs/val/{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)))
    assert "there is no train/ beside val/, so it is taken for all pictures" in launchbay("pack", "imgs", "out")[1]
