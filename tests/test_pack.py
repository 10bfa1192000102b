"""Packs: what launchbay pack writes, here and at addresses."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
import torch
from conftest import ROOT, lines
from painted import paint_thirty
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file, save_file

from launchbay import UserError
from launchbay.data import shards
from launchbay.data.folder import Folder
from launchbay.data.pack import Pack
from launchbay.data.packing import write_pack
from launchbay.data.resident import Resident
from launchbay.launch.commands.pack import pack_data
from launchbay.launch.config.assembly import open_dataset


@pytest.fixture
def pictures() -> Path:
    return paint_thirty()


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


def rewritten(pack: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a column of the index, and say so in pack.json, as a stranger may."""
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
def test_a_stranger_s_description_is_refused(pack: Path, change: Callable[[Any], Any]) -> None:
    said = json.loads((pack / "pack.json").read_text())
    change(said)
    (pack / "pack.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="is no pack that can be read"):
        Pack("train", pack)


def test_a_stranger_s_words_obey_no_terminal(pack: Path) -> None:
    said = json.loads((pack / "pack.json").read_text())
    said.update(name="\x1b[2J", classes=["\x1b]0;x\x07", "b\n"])
    (pack / "pack.json").write_text(json.dumps(said))
    images = Pack("train", pack)
    assert "\x1b" not in images.note + "".join(images.classes) and "\n" not in images.note


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
    (pack / "index.safetensors").unlink()
    with pytest.raises(UserError, match=r"pack that can be read: index\.safetensors: No such file") as raised:
        Pack("train", pack)
    assert "network" not in raised.value.hint
    shutil.rmtree(pack)
    assert not pack.exists()


@pytest.mark.parametrize(
    ("rows", "data", "said"),
    [
        (["1.png,0.5", "2.png,1.5"], "t.csv", "no classes: the labels are fractions, which are no classes"),
        (["1.png,a", "2.png,a"], "t.csv", "no classes: all rows have the same label"),
        ([], "toys:Patches", ", grass, gravel, hubble_deep_field, …), 9 to train, 5 to validate"),
        ([], "imgs", "no classes: val/b/4.png is for validation, but no picture of b to train"),
    ],
)
def test_pack_says_what_it_takes_and_which_labels_it_does_not(rows: list[str], data: str, said: str) -> None:
    for name in ("1.png", "2.png", "imgs/train/a/3.png", "imgs/val/b/4.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9, 9, 9)).save(name)
    Path("t.csv").write_text("\n".join(["file,label", *rows]))
    shown = io.StringIO()
    pack_data(data, None, Path("out"), Console(file=shown, width=200))
    assert said in shown.getvalue(), shown.getvalue()
    assert ("no classes (" in open_dataset("out")("train", None).note) == ("no classes" in said)


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


class Failing(SimpleHTTPRequestHandler):
    """Gives what is in this folder, but `broken` times half of a shard, and ends the connection."""

    broken = 0
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        if self.path.endswith(".tar") and Failing.broken:
            Failing.broken -= 1
            content = Path(self.path[1:]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of this folder on a web server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Failing, "paths", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_pack_on_a_web_server(served: str, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is fetched once; where the network fails it is asked again; what is not there is not."""
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    monkeypatch.setattr(shards, "PAUSES", (0.1,))
    here, there = Pack("train", pack), open_dataset(f"{served}/{pack}")("train", None)
    assert there.fingerprint() == here.fingerprint()
    Failing.broken = 1
    assert all(torch.equal(there.image(index), here.image(index)) for index in range(len(here)))
    tars = [path for path in Failing.paths if path.endswith(".tar")]
    assert len(tars) == len(set(tars)) + 1, tars
    with pytest.raises(UserError, match=r"cannot get .*/gone/pack.json: there is nothing of that name"):
        open_dataset(f"{served}/gone")("train", None)
    assert [path for path in Failing.paths if "gone" in path] == ["/gone/pack.json"]


@pytest.mark.slow
def test_a_run_goes_on_when_the_network_is_back(
    served: str, pack: Path, train: Callable[..., Path], mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    monkeypatch.setattr(shards, "PAUSES", (0.1,))
    options = ("--data", f"{served}/{pack}", "--size", 16, "--batch-size", 4, "--eval-every", 2)
    train("classify", *options, "--steps", 2)
    for shard in shards_here():
        next(Path(os.environ["XDG_CACHE_HOME"]).rglob(shard)).unlink()
    Failing.broken = 99
    said = mistake("--task", "classify", *options, "--steps", 4, "--run", "it", "--wandb", "off")
    assert "cannot get http://127.0.0.1" in said and "the same command goes on from the last checkpoint" in said, said
    Failing.broken = 0
    assert lines(train("classify", *options, "--steps", 4), "val")[-1]["step"] == 4


@pytest.mark.slow
def test_one_process_learns_from_a_pack_as_two_with_workers_and_a_stop(pictures: Path, pack: Path) -> None:
    options = "classify --data pack --steps 12 --batch-size 8 --shuffle-window 2 --wandb off --eval-every 12 --size 16"
    alone = [sys.executable, "-m", "launchbay.launch.run", *options.split()]
    config = ROOT / "accelerate_configs/multi_cpu.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), *alone[1:]]
    together = [*launch, "--workers", "2"]
    subprocess.run([*together, "--run", "two", "--schedule", "constant"], check=True)
    subprocess.run([*alone, "--run", "three", "--schedule", "constant"], check=True)
    subprocess.run([*together, "--run", "four", "--schedule", "constant", "--steps", "6"], check=True)
    subprocess.run([*together, "--run", "four", "--schedule", "constant"], check=True)
    two, three, four = (
        load_file(Path(f"runs/{run}/checkpoints/step-00000012/model.safetensors")) for run in ("two", "three", "four")
    )
    for name, tensor in two.items():
        assert np.array_equal(tensor, four[name]), name
        assert np.allclose(tensor, three[name], rtol=1e-4, atol=1e-6), name
