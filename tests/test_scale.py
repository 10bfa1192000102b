"""Very many pictures: the index of a folder, packs, and orders that nobody can keep."""

import json
import os
import shutil
import tarfile
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file, save_file

from launchbay import UserError
from launchbay.data import known, reading, shards
from launchbay.data.files import KEEP_BYTES, keep_bytes
from launchbay.data.folder import Folder
from launchbay.data.loader import TrainingOrder
from launchbay.data.pack import Pack
from launchbay.data.packing import write_pack
from launchbay.data.resident import Resident
from launchbay.data.shuffle import feistel, windowed
from launchbay.launch.commands.pack import pack_data
from launchbay.launch.config.assembly import open_dataset


def paint(path: Path, side: int = 8, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures() -> Path:
    """Thirty pictures of two classes, which were written a minute ago."""
    for number in range(30):
        paint(Path(f"pictures/{'ab'[number % 2]}/{number:02}.png"), seed=number)
    return Path("pictures")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of files whose heads are read, in a folder of any size; files do not have to lie for long."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "FEW", 1)
    monkeypatch.setattr(known, "FRESH", -(10**9))
    seen, read = list[str](), reading.read_header
    monkeypatch.setattr(reading, "read_header", lambda path: seen.append(Path(path).name) or read(path))
    return seen


def test_only_what_changed_is_looked_at_again(pictures: Path, looked: list[str]) -> None:
    first = Folder("train", pictures)
    assert len(looked) == 30
    looked.clear()
    assert Folder("train", pictures).fingerprint() == first.fingerprint()
    assert Folder("val", pictures).size(0) == (8, 8)
    assert not looked

    known_before = (pictures / "a/02.png").stat()
    paint(pictures / "a/02.png", side=9)
    os.utime(pictures / "a/02.png", ns=(known_before.st_atime_ns, known_before.st_mtime_ns))
    paint(pictures / "b/99.png")
    (pictures / "a/04.png").unlink()
    sizes = Folder("all", pictures).sizes()
    assert sorted(looked) == ["02.png", "99.png"]
    assert sizes["a/02.png"] == (9, 9) and "a/04.png" not in sizes and len(sizes) == 30


def test_what_is_damaged_is_named_each_time(pictures: Path, looked: list[str]) -> None:
    (pictures / "a/02.png").write_text("no picture")
    for _ in range(2):
        with pytest.raises(UserError, match=r"02\.png"):
            Folder("train", pictures)


def test_a_file_written_just_now_is_not_known_by_its_times(
    pictures: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "FRESH", 60 * 10**9)
    Folder("train", pictures)
    Folder("train", pictures)
    assert len(looked) == 60


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def swap(file: Path) -> None:
    save_file({"names": np.zeros(3, np.uint8)}, file)


def lie(file: Path) -> None:
    tensors = load_file(file)
    tensors["height"] = -tensors["height"]
    save_file(tensors, file)


@pytest.mark.parametrize("harm", [cut, swap, lie])
def test_an_index_that_is_damaged_is_made_anew_aloud(
    pictures: Path, looked: list[str], harm, capsys: pytest.CaptureFixture[str]
) -> None:
    Folder("train", pictures)
    [file] = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.safetensors")
    harm(file)
    assert Folder("train", pictures).size(0) == (8, 8)
    assert "cannot be used" in capsys.readouterr().out
    assert len(looked) == 60
    Folder("train", pictures)
    assert len(looked) == 60


def test_without_a_cache_that_can_be_written(
    pictures: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").resolve()))
    assert len(Folder("train", pictures)) == 27


def test_one_process_looks_and_others_take_what_it_found(
    pictures: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, read = threading.Event(), reading.read_header

    def slow(path: Path):
        begun.set()
        time.sleep(0.01)
        return read(path)

    monkeypatch.setattr(reading, "read_header", slow)
    sets = list[Folder]()
    first = threading.Thread(target=lambda: sets.append(Folder("train", pictures)))
    first.start()
    begun.wait()
    monkeypatch.setattr(known, "stamps_of", lambda *_: pytest.fail("looked by itself"))
    sets.append(Folder("train", pictures))
    first.join()
    assert len(looked) == 30
    assert sets[0].fingerprint() == sets[1].fingerprint()


def test_processes_of_a_machine_share_what_may_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_bytes() == KEEP_BYTES
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert keep_bytes() == KEEP_BYTES // 4


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 4097])
def test_a_feistel_permutation_is_one(size: int) -> None:
    found = feistel(np.arange(size), size, 3, "order", 1)
    assert sorted(found.tolist()) == list(range(size))
    part = np.arange(size)[size // 3 :]
    assert (feistel(part, size, 3, "order", 1) == found[size // 3 :]).all()


def test_a_feistel_permutation_looks_random() -> None:
    size, count = 10**9, 100_000
    places = np.arange(5 * 10**8, 5 * 10**8 + count)
    found, other = feistel(places, size, 0, "order", 1), feistel(places, size, 0, "order", 2)
    assert len(np.unique(found)) == count and found.max() < size
    counts = np.bincount(found // (size // 100), minlength=100)
    assert ((counts - count / 100) ** 2 / (count / 100)).sum() < 180  # chi squared with 99 degrees of freedom
    differences = np.diff(found) % size
    assert ((np.bincount(differences // (size // 100), minlength=100) - count / 100) ** 2).sum() / (count / 100) < 180
    assert abs(np.corrcoef(found, other)[0, 1]) < 0.02


def test_a_window_holds_whole_shards() -> None:
    of = (40, 0, 30, 50, 20, 60)
    order = windowed(np.arange(200), of, 2, 1, 0)
    assert sorted(order.tolist()) == list(range(200))
    of_shard = np.repeat(np.arange(6), of)[order]
    starts = np.cumsum(of)
    seen, at = [], 0
    while at < 200:  # each part of the epoch has the samples of two shards, mixed
        end = next(end for end in range(at + 1, 201) if len({*of_shard[at:end]}) == 3 or end == 200)
        end = end - 1 if end < 200 else end
        seen.append({*of_shard[at:end].tolist()})
        at = end
    assert len(seen) == 3 and set.union(*seen) == {0, 2, 3, 4, 5}
    assert starts[-1] == 200
    assert (windowed(np.array([150, 7]), of, 2, 1, 0) == order[[150, 7]]).all()
    assert not (windowed(np.arange(200), of, 2, 1, 1) == order).all()


def test_an_order_in_windows_is_the_same_on_two_processes() -> None:
    how = {"size": 60, "batch_size": 8, "seed": 2, "shards": (20, 25, 15), "window": 2}
    whole = [[*batch] for batch in TrainingOrder(steps=range(12), **how)]
    parts = [[[*batch] for batch in TrainingOrder(steps=range(12), rank=rank, world=2, **how)] for rank in range(2)]
    assert whole == [[*one, *two] for one, two in zip(*parts, strict=True)]
    assert [[*batch] for batch in TrainingOrder(steps=range(5, 12), **how)] == whole[5:]


@pytest.fixture
def pack(pictures: Path) -> Path:
    Path("pack").mkdir()
    sets = {split: Folder(split, pictures) for split in ("train", "val")}
    write_pack(sets, "pictures", Path("pack"), shard_bytes=5000)
    return Path("pack")


def test_a_pack_has_what_was_packed(pictures: Path, pack: Path) -> None:
    for split in ("train", "val"):
        before, after = Folder(split, pictures), Pack(split, pack)
        assert after.fingerprint() == before.fingerprint()
        assert after.classes == before.classes and after.uniform
        for index in range(len(before)):
            assert torch.equal(after.image(index), before.image(index))
            assert after.label(index) == before.label(index) and after.size(index) == before.size(index)
        assert sum(after.shards) == len(after) and len(after.shards) > (split == "train")
    assert len(Pack("all", pack)) == 30
    files = {}
    for shard in sorted(pack.glob("*.tar")):
        with tarfile.open(shard) as opened:
            files |= {each.name: opened.extractfile(each).read() for each in opened}  # pyright: ignore
    assert files == {str(file.relative_to(pictures)): file.read_bytes() for file in pictures.rglob("*.png")}


def test_pack_writes_whole_or_not_at_all(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(quiet=True)
    pack_data("pictures", None, Path("out"), console)
    assert len(Pack("train", Path("out"))) == 27
    with pytest.raises(UserError, match="exists already"):
        pack_data("pictures", None, Path("out"), console)
    (pictures / "a/02.png").write_text("no picture")
    with pytest.raises(UserError, match=r"02\.png"):
        pack_data("pictures", None, Path("other"), console)
    (pictures / "a/02.png").unlink()
    pictures.rename("others")
    monkeypatch.setattr("launchbay.data.packing.Writer.write_index", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack_data("others", None, Path("other"), console)
    assert {path.name for path in Path().iterdir()} == {"others", "out"}


def test_a_pack_of_grey_pictures_without_files() -> None:
    pixels = torch.arange(10 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).view(10, 1, 8, 8)
    before = Resident(pixels, torch.arange(10) % 3, ["x", "y", "z"])
    Path("out").mkdir()
    write_pack({"train": before}, "numbers", Path("out"))
    after = Pack("train", Path("out"))
    assert after.channels == 1 and after.classes == before.classes
    assert torch.equal(after.image(7), before.image(7)) and after.label(7) == before.label(7)
    with pytest.raises(UserError, match="no pictures for 'val'"):
        Pack("val", Path("out"))


def rewritten(pack: Path, name: str, change) -> None:
    """Change a column of the index, and say so in pack.json, as a stranger may."""
    from hashlib import sha256

    tensors = load_file(pack / "index.safetensors")
    tensors[name] = change(tensors[name])
    save_file(tensors, pack / "index.safetensors")
    said = json.loads((pack / "pack.json").read_text())
    said["index"] = sha256((pack / "index.safetensors").read_bytes()).hexdigest()
    (pack / "pack.json").write_text(json.dumps(said))


COLUMN_HARMS = {
    "offset": lambda column: column + 2**40,
    "bytes": lambda column: -column,
    "shard": lambda column: column + 1,
    "label": lambda column: column + 2,
    "ends": lambda column: column[::-1].copy(),
    "height": lambda column: column * 0,
    "crc": lambda column: column.astype(np.int32),
}


@pytest.mark.parametrize("name", COLUMN_HARMS)
def test_a_stranger_s_index_leads_nowhere(pack: Path, name: str) -> None:
    rewritten(pack, name, COLUMN_HARMS[name])
    with pytest.raises(UserError, match="is no pack that can be read"):
        Pack("train", pack)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["shards"][0].update(file="../pictures/a/00.png"),
        lambda said: said["shards"][0].update(samples=-1),
        lambda said: said["shards"][0].update(bytes=10**30),
        lambda said: said.update(version=2),
        lambda said: said.update(splits={"train": 5}),
        lambda said: said.update(channels=7),
        lambda said: said.pop("classes"),
        lambda said: said.update(index="0"),
    ],
)
def test_a_stranger_s_description_is_refused(pack: Path, change) -> None:
    said = json.loads((pack / "pack.json").read_text())
    change(said)
    (pack / "pack.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="is no pack that can be read"):
        Pack("train", pack)


def test_damage_of_a_shard_is_found(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    shard = pack / "shard-00000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"a/02\.png.*another checksum"):
        Pack("train", pack).image(0)
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"shard-00000\.tar has"):
        Pack("train", pack)
    shutil.rmtree(pack)
    assert not pack.exists()


@pytest.fixture
def away(pack: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The pack, at an address in the memory of this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    system = fsspec.filesystem("memory")
    system.store.clear()
    for file in pack.iterdir():
        system.pipe_file(f"/bucket/pack/{file.name}", file.read_bytes())
    return "memory://bucket/pack"


def shards_here() -> set[str]:
    return {path.name for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.tar")}


def test_a_pack_at_an_address_is_fetched_as_it_is_read(away: str, pack: Path) -> None:
    here, there = Pack("train", pack), open_dataset(away)("train", None)
    assert there.fingerprint() == here.fingerprint() and not shards_here()
    assert torch.equal(there.image(0), here.image(0))
    assert shards_here() == {"shard-00000.tar"}
    fsspec.filesystem("memory").store.pop("/bucket/pack/shard-00000.tar")
    again = open_dataset(away)("train", None)
    assert torch.equal(again.image(1), here.image(1))
    with pytest.raises(UserError, match=r"memory://bucket/pack/shard-00001\.tar"):
        fsspec.filesystem("memory").store.pop("/bucket/pack/shard-00001.tar")
        again.image(5)


def test_the_cache_of_shards_is_bounded(away: str, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shards.LIMIT, "0.000013")
    here, there = Pack("train", pack), open_dataset(away)("train", None)
    for index in (0, 9, 20, 0, 26):
        assert torch.equal(there.image(index), here.image(index))
        assert len(shards_here()) <= 2
    monkeypatch.setenv(shards.LIMIT, "much")
    with pytest.raises(UserError, match="much"):
        open_dataset(away)("train", None).image(12)


def test_an_address_that_brings_nothing(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in {
        "memory://bucket/other": "cannot get memory://bucket/other/pack.json",
        "reference://x": "is no address of a pack",
        "s3://": "is no address of a pack",
        "memory://x::file://y": "is no address of a pack",
    }.items():
        with pytest.raises(UserError, match=said):
            open_dataset(name)("train", None)
    monkeypatch.setattr(shards, "QUIET", 0.2)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", lambda *_: time.sleep(1))
    with pytest.raises(UserError, match="nothing has come"):
        open_dataset(away)("train", None)
