"""Tables of files and labels: how their columns are understood, and what is wrong with their rows."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launchbay import UserError
from launchbay.data.sources import Source
from launchbay.data.tables import Table

Train = Callable[..., Path]


def draw(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(list(os.fsencode(name))).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def opened(table: str, text: str, encoding: str = "utf-8") -> tuple[dict[str, str], dict[str, str], str]:
    """The class of each picture to train and to validate on, by its path, and what is said of the table."""
    Path(table).write_text(text, encoding=encoding)
    source = Source(Table, Path(table))
    parts: list[dict[str, str]] = []
    for split in ("train", "val"):
        images = source.open(split)
        assert isinstance(images, Table) and all(images.image(n).shape == (3, 24, 24) for n in range(len(images)))
        labels = {name: images.label(place) for place, name in enumerate(images.files.names)}
        parts.append({name: "" if label is None else images.classes[label] for name, label in labels.items()})
    return parts[0], parts[1], source.describe()[0]


ROWS = [(f"imgs/{number}.png", ("cat", "dog")[number % 2]) for number in range(11)]


def joined(sign: str, *rows: tuple[str, ...]) -> str:
    return "\n".join(sign.join(row) for row in rows)


@pytest.mark.parametrize(
    ("table", "text", "encoding"),
    [
        ("t.csv", joined(",", ("file", "label"), *ROWS), "utf-8"),
        ("t.csv", joined(",", *ROWS), "utf-8"),
        ("t.csv", joined(",", *((label, file) for file, label in ROWS)), "utf-8"),
        ("t.csv", joined("; ", ("Class", "Filename"), *((f'"{b}"', a) for a, b in ROWS)) + "\n\n", "utf-8-sig"),
        ("t.tsv", joined("\t", ("path", "target"), *((f"./{file}", label) for file, label in ROWS)), "utf-16"),
        ("t.csv", joined(",", ("label", "image"), *((b, a.replace("/", "\\")) for a, b in ROWS)), "utf-8"),
        ("t.jsonl", "\n".join(json.dumps({"file_name": file, "label": label}) for file, label in ROWS), "utf-8"),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(table: str, text: str, encoding: str) -> None:
    draw(*(file for file, _ in ROWS))
    train, validation, said = opened(table, text, encoding)
    assert train | validation == dict(ROWS) and list(validation) == ["imgs/0.png", "imgs/10.png"]
    assert said == f"{table}: 2 classes (cat, dog), 9 to train, 2 to validate"


def test_splits_numbers_and_columns_that_are_not_used() -> None:
    draw(*(f"{number}.png" for number in range(6)))
    roles = ("train", "Training", "", "valid", "test", "train")
    rows = [(f"{number}.png", str(10 - number), role, "x") for number, role in enumerate(roles)]
    train, validation, said = opened("t.csv", joined(",", ("image", "label", "split", "url"), *rows))
    assert (train, validation) == ({"0.png": "", "1.png": "", "2.png": "", "5.png": ""}, {"3.png": ""})
    new = "7 is the label of a picture to validate, but of none to train"
    assert said == f"t.csv: 4 to train, 1 to validate; 1 to test not used; no classes: {new}; columns not used: url"
    assert Table("train", Path("t.csv")).unlabelled == "7 is the label of a picture to validate, but of none to train"
    rows = [(f"{number}.png", str(10 + number % 3 * 45), role, "x") for number, role in enumerate(roles)]
    train, validation, said = opened("t.csv", joined(",", ("image", "label", "split", "url"), *rows))
    assert said.startswith("t.csv: 3 classes (10, 55, 100), 4 to train"), "numbers in their order"
    assert train == {"0.png": "10", "1.png": "55", "2.png": "100", "5.png": "100"}
    opened("t.csv", joined(",", ("file", "label"), *((f"{number}.png", f"{number}.5") for number in range(6))))
    assert Table("all", Path("t.csv")).unlabelled == "the labels are fractions, which are no classes"
    valid = [(f"{number}.png", "a" if number % 2 else "b", str(number > 3)) for number in range(6)]
    train, validation, _ = opened("t.csv", joined(",", ("file", "label", "is_valid"), *valid))
    assert list(validation) == ["4.png", "5.png"] and len(train) == 4


def test_pictures_are_found_by_an_id_and_anywhere() -> None:
    """Kaggle's tables say only which, not where; absolute paths are the user's own."""
    draw(*(f"data/train/{number}.jpg" for number in range(3)), "elsewhere/é.png")
    rows = [("0", "cat"), ("1.jpg", "dog"), ("2", "cat"), (str(Path("elsewhere/é.png").resolve()), "dog")]
    train, validation, _ = opened("data/train.csv", joined(",", ("id", "breed"), *rows))
    odd = os.fsdecode(b"data/train/\xe9.png")
    draw(odd)
    Path("data/odd.csv").write_bytes(b"train/\xe9.png,cat\ntrain/0.jpg,dog")
    assert Table("all", Path("data/odd.csv")).files.names == [odd.removeprefix("data/"), "train/0.jpg"]
    found = {f"train/{number}.jpg": label for number, (_, label) in enumerate(rows[:3])} | {rows[3][0]: "dog"}
    assert train | validation == found


def test_all_that_is_wrong_is_told_at_once() -> None:
    draw("1.png", "2.png", "a/9.png", "b/9.png", "c.png")
    Path("bad.png").write_bytes(b"x")
    os.mkfifo("pipe.png")
    rows = ("1.png,cat,", "2.png,dog,", "./1.png,dog,", "9,cat,", "no.png,cat,", "http://x/1.png,dog,", "bad.png,cat,",
            "pipe.png,dog,", "c.png,,", ",cat,", "c.png,dog,later")  # fmt: skip
    Path("t.csv").write_text("\n".join(["file,label,split", *rows]))
    with pytest.raises(UserError) as raised:
        Table("train", Path("t.csv"))
    assert raised.value.message.splitlines() == [
        "t.csv has 9 rows that cannot be used:",
        "line 4: ./1.png is the same picture as line 2",
        "line 5: 9 may be a/9.png, b/9.png",
        "line 6: no.png is not there",
        "line 7: http://x/1.png is an address: download it, and give its path",
        "line 9: pipe.png is no regular file",
        "line 10: c.png has no label",
        "line 11: no file is named nowhere",
        "line 12: c.png is the same picture as line 10",
        "bad.png: Pillow does not recognise its content as one of AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP",
    ]


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        ("t.csv", "", "t.csv has no row"),
        ("t.csv", "file,label\n", "t.csv has no row"),
        ("t.csv", "a.png,cat,3\n", "its first line, a.png, cat, 3, has no name of a column; begin with one"),
        ("t.csv", "name,kind\n", "has no name of a column"),
        ("t.csv", "file,file\n1.png,2.png\n", "two columns are called 'file'"),
        ("t.csv", "file,label\n1.png,cat,dog\n", "line 2 has 3 columns, not 2"),
        ("t.jsonl", '{"file": "1.png"}\nx\n{"file": ["2.png"]}\n[]', r"line 2: .*\nline 3: file is .*\nline 4 is"),
        ("t.jsonl", '{"name": "1.png"}', "has the columns name, none of which says the file"),
        ("t.csv", "file\n" + "x" * 200_000, "field larger than field limit"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_understood(table: str, text: str, said: str) -> None:
    Path(table).write_text(text)
    with pytest.raises(UserError, match=said):
        Table("train", Path(table))


@pytest.mark.slow
def test_a_network_is_trained_from_a_table(train: Train) -> None:
    draw(*(file for file, _ in ROWS))
    Path("labels.csv").write_text(joined(",", ("file", "label"), *ROWS))
    run = train("classify", "--data", "labels.csv", "--size", 16, "--steps", 2, "--batch-size", 4)
    assert "classes: 2" in (run / "config.yaml").read_text()
