"""Very many pictures: the index of a folder, and orders that nobody can keep."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import paint, paint_thirty
from safetensors.numpy import load_file, save_file

from launchbay import UserError
from launchbay.data import known, listing, reading, walks
from launchbay.data.decode import Header
from launchbay.data.files import KEEP_BYTES, keep_bytes
from launchbay.data.folder import Folder
from launchbay.data.loader import TrainingOrder
from launchbay.data.overlap import count_pixels
from launchbay.data.shuffle import feistel, windowed


@pytest.fixture
def pictures() -> Path:
    return paint_thirty()


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
    pictures: Path, looked: list[str], harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
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

    def slow(path: Path) -> Header:
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


def test_one_process_of_a_machine_walks_and_the_others_visit_no_folder(
    pictures: Path, looked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk asks the disk for each file, and 8 processes would ask 8 times; the names may be of any bytes."""
    monkeypatch.setattr(walks, "FEW", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    os.rename(os.fsencode(pictures / "a/02.png"), os.fsencode(pictures / "a") + b"/\xff.png")  # noqa: PTH104
    begun, walk, walked, stamped = threading.Event(), listing.Walk.down, list[str](), list[int]()

    def slow(self: listing.Walk, top: str) -> None:
        begun.set()
        walked.append(top)
        time.sleep(0.1)
        walk(self, top)

    look = known.stamps_of
    monkeypatch.setattr(listing.Walk, "down", slow)
    monkeypatch.setattr(known, "stamps_of", lambda root, names: stamped.append(len(names)) or look(root, names))
    sets = list[Folder]()
    threads = [threading.Thread(target=lambda: sets.append(Folder("train", pictures))) for _ in range(4)]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looked) == 30 and walked == [""] and stamped == [30]
    assert len({images.fingerprint() for images in sets}) == 1 and len(sets) == 4
    walked.clear()
    paint(pictures / "b/98.png")
    assert len(Folder("all", pictures)) == 31 and walked == [""], "a later start walks again"


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
    def batches(steps: range, rank: int = 0, world: int = 1) -> list[list[int]]:
        shards = {"shards": (20, 25, 15), "window": 2}
        order = TrainingOrder(size=60, batch_size=8, seed=2, steps=steps, rank=rank, world=world)
        return [[*batch] for batch in replace(order, **shards)]

    whole, (first, second) = batches(range(12)), (batches(range(12), rank, 2) for rank in range(2))
    assert whole == [[*one, *two] for one, two in zip(first, second, strict=True)]
    assert batches(range(5, 12)) == whole[5:]


def test_few_of_very_many_small_files_are_compared(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Folder("train", pictures)
    monkeypatch.setattr("launchbay.data.files.KEEP_COUNT", 10)
    opened = Folder("train", pictures)
    assert kept.kept is not None and opened.kept is None
    assert count_pixels(opened) == 64 * count_pixels(kept)
    assert torch.equal(opened.image(3), kept.image(3))
