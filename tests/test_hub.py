"""Pictures in tables of Hugging Face's `datasets`: its hub's (from the cache alone, here), Parquet, and saved ones."""

import io
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from conftest import Command, difference
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets, config
from datasets import Image as Picture
from PIL import Image
from stand_in_hub import stand_in
from test_own_data import expanded

from launchbay import UserError
from launchbay.data.decode import decode
from launchbay.data.files import Files
from launchbay.data.folder import Folder
from launchbay.data.hub import load_from_hub, open_hub, open_parquet, open_saved
from launchbay.launch.config.assembly import open_dataset

Mistake = Callable[..., str]
Train = Callable[..., Path]
KINDS = ("ape", "bee", "cow")
FEATURES = Features(image=Picture(), label=ClassLabel(names=list(KINDS)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no network."""
    folder = tmp_path / "cache/datasets"
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield folder
    datasets.enable_progress_bars()
    load_from_hub.cache_clear()


def encoded(number: int, kind: str = "PNG", **how: Any) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (12 + number % 3, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def table(count: int, start: int = 0, features: Features = FEATURES, **more: Any) -> Dataset:
    numbers = range(start, start + count)
    rows = {"image": [{"bytes": encoded(number), "path": None} for number in numbers]}
    return Dataset.from_dict({**rows, "label": [number % 3 for number in numbers], **more}, features)


def splits(**parts: Dataset) -> DatasetDict:
    return DatasetDict(**parts)  # pyright: ignore[reportCallIssue]


def test_saved_and_parquet_and_the_cache_of_the_hub_have_the_same_pictures(cache: Path) -> None:
    found = splits(train=table(11), test=table(4, 11))
    found.save_to_disk("saved")
    Path("made/tiny/data").mkdir(parents=True)
    for split, part in found.items():
        part.to_parquet(f"made/tiny/data/{split}-00000-of-00001.parquet")
    expected = [decode_bytes(encoded(number)) for number in range(15)]
    names = ("saved", "made/tiny", "hf:tiny")  # what was read from a folder is found in the cache by its name
    for name in names:
        train, val, everything = map(open_dataset(name), ("train", "val", "all"))
        assert [len(train), len(val), len(everything)] == [11, 4, 15] and train.classes == val.classes == KINDS
        assert all(torch.equal(everything.image(place), expected[place]) for place in range(15)), name
        assert [everything.label(place) for place in range(15)] == [place % 3 for place in range(15)]
        assert [everything.size(place) for place in range(3)] == [(12, 16), (13, 16), (14, 16)] and not train.uniform
        assert train.note.endswith("3 classes (ape, bee, cow); figures are of test")
    assert len({open_dataset(name)("train").fingerprint() for name in names}) == 1
    assert cache.is_dir()
    images = open_hub("tiny", "train")
    assert isinstance(images, Files)
    packed = pickle.dumps(images.files[3])
    assert len(packed) < 5000 and pickle.loads(packed).open()[0].read() == encoded(3), "no table is copied to a worker"


def decode_bytes(content: bytes) -> torch.Tensor:
    Path("one.png").write_bytes(content)
    return decode(Path("one.png"))


def test_pictures_are_decoded_as_those_of_any_folder() -> None:
    """Turned by EXIF, of 16 bits, and damaged: not as the library would."""
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = io.BytesIO()
    Image.fromarray(np.full((5, 7), 65535, np.uint16)).save(deep, "PNG")
    contents = [encoded(0, exif=exif), deep.getvalue()]
    part = Dataset.from_dict(
        {"image": [{"bytes": each, "path": None} for each in contents] * 2}, Features(image=Picture())
    )
    part.to_parquet("odd.parquet")
    images = open_parquet("all", Path("odd.parquet"))
    assert images.size(0) == (16, 12) and torch.equal(images.image(0), decode_bytes(contents[0]))
    assert images.image(1).min() == 255 and images.size(1) == (5, 7)
    assert images.label(0) is None and images.unlabelled == "odd.parquet has no column of classes: image"
    rows = [{"bytes": each, "path": None} for each in (contents[0], b"no picture", b"")]
    Dataset.from_dict({"image": rows}, Features(image=Picture())).to_parquet("bad.parquet")
    with pytest.raises(UserError, match="cannot use 2 pictures") as refused:
        open_parquet("all", Path("bad.parquet"))
    assert "bad.parquet, row 1 of train: Pillow does not recognise its content" in refused.value.message
    assert "bad.parquet, row 2 of train: it is empty" in refused.value.message


def test_a_column_of_bytes_is_chosen_where_several_could_be_meant() -> None:
    rows = {"front": [encoded(n) for n in range(4)], "back": [encoded(9 - n) for n in range(4)], "score": [0.5] * 4}
    Dataset.from_dict(rows).to_parquet("w.parquet")
    with pytest.raises(UserError, match=r"w.parquet has pictures in several columns: front, back") as refused:
        open_dataset("w.parquet")("train", None)
    assert refused.value.hint == "name one: --data w.parquet@COLUMN"
    images = open_dataset("w.parquet@back")("train", None)
    assert torch.equal(images.image(0), decode_bytes(encoded(8))) and "columns not used: front, score" in images.note
    with pytest.raises(UserError, match="has no column 'side'"):
        open_dataset("w.parquet@side")("train", None)


@pytest.mark.parametrize("form", ["bytes and path", "bytes"])
def test_columns_are_found_by_their_kinds(form: str) -> None:
    kind = {"bytes": Value("binary"), "path": Value("string")} if form == "bytes and path" else Value("binary")
    contents = [encoded(number) for number in range(12)]
    values: list[Any] = [{"bytes": each, "path": None} for each in contents] if form == "bytes and path" else contents
    words = ["dog", "cat", "dog", "eel"] * 3
    features = Features(jpg=kind, target=Value("string"), caption=Value("string"))
    part = Dataset.from_dict({"jpg": values, "target": words, "caption": ["a"] * 12}, features)
    part = part.select([*range(11, -1, -1)])  # a mapping of rows, kept in the saved folder
    part.save_to_disk("saved")
    images = open_saved("all", Path("saved"))
    assert images.classes == ("cat", "dog", "eel") and images.label(0) == 2
    assert torch.equal(images.image(0), decode_bytes(contents[11]))
    train, val = open_saved("train", Path("saved")), open_saved("val", Path("saved"))
    assert [len(train), len(val)] == [10, 2] and torch.equal(val.image(1), decode_bytes(contents[1]))
    assert "figures are of every tenth picture of train, which is not trained on" in train.note


def test_what_is_not_clear_is_refused_by_name_and_can_be_chosen() -> None:
    fine = Features(FEATURES, fine=ClassLabel(names=["x", "y"]))
    del fine["label"]
    features = Features(fine, coarse=ClassLabel(names=["z"]))
    part = Dataset.from_dict(
        {"image": [{"bytes": encoded(n), "path": None} for n in range(4)], "fine": [0, 1, 0, 1], "coarse": [0] * 4},
        features,
    )
    Path("made/two").mkdir(parents=True)
    part.to_parquet("made/two/train.parquet")
    with pytest.raises(UserError, match="two has classes in several columns: fine, coarse") as refused:
        open_parquet("train", Path("made/two"))
    assert refused.value.hint == "name one: --data made/two@COLUMN"
    assert open_hub("two@fine", "all").classes == ("x", "y")
    images = open_dataset("made/two@fine")("train", None)
    assert images.classes == ("x", "y") and "columns not used: coarse" in images.note
    with pytest.raises(UserError, match="hf:two has no column 'other'"):
        open_hub("two@other", "all")

    splits(train=table(4), val=table(2, 4), validation=table(2, 6)).save_to_disk("twice")
    with pytest.raises(UserError, match="twice has the splits val and validation, which are for the same"):
        open_saved("train", Path("twice"))
    splits(one=table(4), other=table(2, 4)).save_to_disk("none")
    with pytest.raises(UserError, match="none has the splits one, other, and none of them is called train"):
        open_saved("train", Path("none"))
    unlabelled = table(3, 4).map(lambda row: {"label": -1}, features=FEATURES)
    splits(train=table(11), test=unlabelled, extra=table(2, 8)).save_to_disk("hidden")
    assert len(open_saved("val", Path("hidden"))) == 2, "a test set without labels is for nobody to judge on"
    assert "not used: 3 in test, 2 in extra" in open_saved("train", Path("hidden")).note
    Dataset.from_dict({"text": ["a"]}).to_parquet("text.parquet")
    with pytest.raises(UserError, match=r"text.parquet has no column of pictures: text \(string\)"):
        open_parquet("train", Path("text.parquet"))
    Dataset.from_dict({"image": []}, Features(image=Picture())).to_parquet("empty.parquet")
    with pytest.raises(UserError, match=r"cannot load empty.parquet: .*no data"):
        open_parquet("train", Path("empty.parquet"))
    Path("broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"cannot load broken.parquet: .*") as refused:
        open_parquet("train", Path("broken.parquet"))
    assert refused.value.hint == "write it again, or name one that is whole"


def test_the_hub_is_for_names_and_nothing_here_is_taken_for_it(mistake: Mistake) -> None:
    Path("val.pkl").write_bytes(b"")
    Path("owner/here").mkdir(parents=True)
    for name in ("pandas", "csv", "imagefolder", "../x", "/etc", "buckets/x", "a/b/c"):
        with pytest.raises(UserError, match="cannot be a data set of the hub"):
            open_hub(name, "train")
    with pytest.raises(UserError, match="there is a file or folder owner/here here, too"):
        open_hub("owner/here", "train")
    said = mistake("--task", "classify", "--data", "hf:owner/elsewhere")
    assert (
        "cannot load hf:owner/elsewhere: Couldn't reach" in said
        and "without a network only what Hugging Face's" in said
    )


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table(2).to_parquet("one.parquet")
    Path("file").touch()
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", Path("file/below"))
    with pytest.raises(UserError, match=r"cannot load one.parquet: .*file/below") as refused:
        open_parquet("train", Path("one.parquet"))
    assert "another folder for its cache (HF_HOME)" in refused.value.hint


def test_without_the_library_its_extra_is_named(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data").mkdir()
    Path("data/1.parquet").touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("hf:mnist", "data", "data/1.parquet"):
        said = mistake("--task", "classify", "--data", name)
        assert f"{name} is opened by the library datasets, which is not installed → pip install 'launchbay[data" in said


OPTIONS = (
    "--data",
    "saved",
    "--size",
    16,
    "--batch-size",
    4,
    "--precision",
    "fp64",
    "--schedule",
    "constant",
    "--log-every",
    1,
)


@pytest.mark.slow
def test_a_run_goes_on_and_its_options_go_back_in(train: Train, mistake: Mistake) -> None:
    splits(train=table(11), test=table(4, 11)).save_to_disk("saved")
    train("classify", *OPTIONS, "--steps", 4, "--eval-every", 2, "--output-dir", "whole")
    run = train("classify", *OPTIONS, "--steps", 2, "--eval-every", 2)
    assert "data: saved\n" in (run / "config.yaml").read_text()
    train("classify", "--config", run / "config.yaml", "--steps", 4, "--eval-every", 2)
    assert difference(Path("whole/it"), run) == 0
    table(12).save_to_disk("saved/train")
    assert "pictures are not those that" in mistake("--task", "classify", *OPTIONS, "--steps", 6, "--run", "it")


@pytest.mark.slow
def test_one_process_equals_two_with_workers(train: Train, accelerate: Command) -> None:
    Path("saved").mkdir()
    for split, part in {"train": table(11), "test": table(4, 11)}.items():
        part.to_parquet(f"saved/{split}.parquet")
    train("classify", *OPTIONS, "--steps", 4, "--output-dir", "one")
    options = ("--task", "classify", *OPTIONS, "--steps", 4, "--workers", 2, "--run", "it", "--wandb", "off")
    done = accelerate("multi_cpu", "-m", "launchbay.launch.run", *options, "--output-dir", "two")
    assert done.returncode == 0, done.stderr
    assert difference(Path("one/it"), Path("two/it")) < 1e-9


@pytest.mark.parametrize(
    "layout",
    [
        "{train,val,test}/{cat,dog}", "{training,valid,testing}/{cat,dog}",
        "{train,dev,test}/{cat,dog,fox}", "{train,test}/{cat,dog}", "train/{cat,dog}", "{cat,dog,fox}", "train", ".",
        "archive/{train,val}/{cat,dog}", "archive/unpacked/{training,test}/{cat,dog}",
        "{train2017,val2017}/{cat,dog}", "{my-train-images,my-test-images}/{cat,dog}",
    ],
)  # fmt: skip
def test_a_folder_has_the_classes_and_counts_that_imagefolder_finds(layout: str) -> None:
    """Their own validation or test split is what figures are of; where they have one split, every tenth is held out.
    Where folders lie deeper, theirs takes the innermost one for the class, and those of splits where there is no other.
    """
    for place, folder in enumerate(expanded(layout)):
        Path("imgs", folder).mkdir(parents=True)
        for number in range(3 + place):
            Path("imgs", folder, f"{number}.png").write_bytes(encoded(10 * place + number))
    theirs = datasets.load_dataset("imagefolder", data_dir="imgs")
    assert isinstance(theirs, DatasetDict)
    label = next(iter(theirs.values())).features.get("label")
    ours = {split: Folder(split, Path("imgs")) for split in ("train", "val", "all")}
    assert ours["all"].classes == ours["train"].classes == (tuple(label.names) if label else ())
    held_out = theirs["validation" if "validation" in theirs else "test"] if len(theirs) > 1 else None
    expected = {"all": concatenate_datasets(list(theirs.values()))}
    expected |= {"train": theirs["train"], "val": held_out} if held_out else {}
    for split, part in expected.items():
        found = Counter(ours[split].label(place) for place in range(len(ours[split])))
        assert found == Counter(part["label"] if label else [None] * len(part)), (split, part)
    assert held_out or len(ours["train"]) + len(ours["val"]) == len(theirs["train"])


@pytest.mark.slow
def test_a_set_of_the_hub_is_downloaded_once_and_found_again_without_a_network(command: Command) -> None:
    """On a hub of our own, in processes of their own, which read its address when they start."""
    Path("repository/data").mkdir(parents=True)
    for split, part in {"train": table(11), "test": table(4, 11)}.items():
        part.to_parquet(f"repository/data/{split}-00000-of-00001.parquet")
    train = ("-m", "launchbay.launch.run", "--task", "classify", *("--size", 16, "--batch-size", 4, "--wandb", "off"))
    here = {"HF_HOME": str(Path("hf").resolve()), "no_proxy": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}

    def run(name: str, *options: object) -> CompletedProcess[str]:
        return command(sys.executable, *train, "--data", f"hf:{name}", "--run", "it", *options, **here)

    with stand_in({"stranger/pets": Path("repository")}) as hub:
        here["HF_ENDPOINT"] = hub.url
        done = run("stranger/pets", "--steps", 2)
        assert done.returncode == 0, done.stderr
        assert "hf:stranger/pets: 3 classes (ape, bee, cow); figures are of test, 11 to train, 4 to val" in done.stdout
        gone = run("stranger/dogs", "--steps", 2)
        assert gone.returncode == 2 and "cannot load hf:stranger/dogs" in gone.stderr
    done = run("stranger/pets", "--steps", 3)
    assert done.returncode == 0 and "step 3/3" in done.stdout, done.stderr
