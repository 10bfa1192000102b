"""Zips and tars of pictures: as a folder of the same files, read where they are, whatever else is in them."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from launchbay import UserError
from launchbay.data.archives import Archive
from launchbay.data.files import DamagedPictures
from launchbay.data.folder import Folder
from launchbay.data.loader import TrainingOrder, samples
from launchbay.data.sources import Source

TREE = (
    *(f"imgs/train/{kind}/{number}.png" for kind in ("cat", "dog") for number in range(6)),
    *(f"imgs/val/{kind}/{number}.png" for kind in ("cat", "dog") for number in range(2)),
)
STRAYS = ("imgs/train/cat/1.mov", "imgs/.DS_Store", "imgs/.trash/1.png", "imgs/.trash/2.png", "__MACOSX/imgs/._1.png")


def png(name: str, side: int = 24) -> bytes:
    pixels = np.random.default_rng(len(name) + ord(name[-5])).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content := io.BytesIO(), "png")
    return content.getvalue()


def as_folder(name: str, contents: dict[str, bytes]) -> None:
    for file, content in contents.items():
        path = Path(name, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def as_zip(name: str, contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(name, "w", method) as file:
        for member, content in contents.items():
            file.writestr(member, content)


def as_deflated(name: str, contents: dict[str, bytes]) -> None:
    as_zip(name, contents, zipfile.ZIP_DEFLATED)


def as_bzipped(name: str, contents: dict[str, bytes]) -> None:
    as_zip(name, contents, zipfile.ZIP_BZIP2)


def as_tar(name: str, contents: dict[str, bytes]) -> None:
    with tarfile.open(name, "w") as file:
        for member, content in contents.items():
            (info := tarfile.TarInfo(member)).size = len(content)
            file.addfile(info, io.BytesIO(content))


@pytest.fixture(params=[as_zip, as_deflated, as_bzipped, as_tar])
def packed(request: pytest.FixtureRequest) -> Callable[[str, dict[str, bytes]], None]:
    return request.param


def opened(root: str) -> tuple[Folder, Folder, str]:
    source = Source(Folder, Path(root))
    train, validation = source.open("train"), source.open("val")
    assert isinstance(train, Folder) and isinstance(validation, Folder)
    (said,) = source.describe()
    return train, validation, said


def test_an_archive_is_as_its_folder(packed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {name: png(name) for name in TREE} | dict.fromkeys(STRAYS, b"?")
    as_folder("folder", {name.removeprefix("imgs/"): content for name, content in contents.items()})
    packed("packed", contents)
    expected, _, line = opened("folder")
    for keep in (2**30, 0):
        monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", keep)
        train, validation, said = opened("packed")
        assert said == line.replace("folder:", "packed:")
        assert "2 classes (cat, dog), 12 to train, 4 to validate; left out: 3 hidden, 1 .mov" in said
        assert train.classes == validation.classes == ("cat", "dog")
        assert train.fingerprint() == expected.fingerprint(), "a run may go on with either"
        for index in range(12):
            assert torch.equal(train.image(index), expected.image(index))
            assert train.label(index) == expected.label(index) and train.size(index) == (24, 24)
    assert train.name(0) == "packed/imgs/train/cat/0.png"


def test_workers_and_other_processes_read_one_archive(
    packed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launchbay.data.files.KEEP_BYTES", 0)
    packed("packed", {f"{number:02}.png": png(f"{number:02}.png", 40) for number in range(20)})
    images = Folder("train", Path("packed"))
    order = TrainingOrder(size=len(images), batch_size=6, steps=range(6), seed=1)
    alone, shared = (
        [each.values["image"] for each in samples(images, order, workers=workers, device=torch.device("cpu"))]
        for workers in (0, 2)
    )
    assert all(map(torch.equal, alone, shared))
    again: Folder = pickle.loads(pickle.dumps(images))
    assert torch.equal(again.image(3), images.image(3))


def test_no_name_leads_out_of_an_archive(packed: Callable[..., None]) -> None:
    """Nothing is read but the archive itself, whatever its members are called."""
    outside = ("/etc/1.png", "../2.png", "a/../../3.png", "C:/4.png", "\\5.png")
    packed("packed", {name: png("9.png") for name in (*outside, "./cat/1.png", "dog//2.png", "dog/3.png")})
    images = Folder("all", Path("packed"))
    assert images.files.names == ["cat/1.png", "dog/2.png", "dog/3.png"]
    assert images.listing.left_out == {"names that lead out of it": 5}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_file_in_an_archive_is_left_out() -> None:
    Path("secret.png").write_bytes(png("1.png"))
    with tarfile.open("odd.tar", "w") as tar, zipfile.ZipFile("odd.zip", "w") as file:
        for name in ("1.png", "2.png", "2.png"):  # the later one counts, as when it is unpacked
            file.writestr(name, png(name, 24))
            (info := tarfile.TarInfo(name)).size = len(png(name))
            tar.addfile(info, io.BytesIO(png(name)))
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
            (info := tarfile.TarInfo(f"odd{number}.png")).type = kind
            info.linkname = "secret.png"
            tar.addfile(info)
        (link := zipfile.ZipInfo("odd.png")).external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "secret.png")
    assert Folder("all", Path("odd.tar")).listing.left_out == {
        "links": 2,
        "no regular files": 2,
        "replaced by later ones": 1,
    }
    assert Folder("all", Path("odd.zip")).listing.left_out == {"links": 1, "replaced by later ones": 1}


def test_what_an_archive_promises_is_not_believed() -> None:
    """A size that is not the real one, more than a machine has, or a member beyond the end."""
    as_deflated("lies.zip", {"1.png": png("1.png"), "2.png": png("2.png"), "bomb.png": bytes(2**20)})
    content = bytearray(Path("lies.zip").read_bytes())
    central = content.index(b"PK\1\2")
    struct.pack_into("<I", content, central + 24, 2**20)  # 1.png unpacked: larger than it is
    central = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, central + 24, 2**31)  # bomb.png
    Path("lies.zip").write_bytes(content)
    with pytest.raises(DamagedPictures) as raised:
        Folder("all", Path("lies.zip"))
    assert raised.value.lines == [
        "lies.zip/1.png: the archive says another size or checksum than it has",
        "lies.zip/bomb.png: it would have 2,147,483,648 bytes unpacked, of which 536,870,912 are the most",
    ]
    struct.pack_into("<I", content, central + 24, 100)  # less than it is: no more is unpacked
    Path("lies.zip").write_bytes(content)
    with pytest.raises(DamagedPictures) as raised:
        Folder("all", Path("lies.zip"))
    assert raised.value.lines[1] == "lies.zip/bomb.png: the archive says another size or checksum than it has"


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("write", "damage", "said"),
    [
        (as_zip, cut, "lacks the end of one: it is cut short"),
        (as_tar, cut, "unexpected end of data"),
        (as_tar, lambda content: content[: 6 * 512], "cut short at byte"),
        (as_tar, lambda content: content[: 6 * 512] + b"?" * 512 + content[7 * 512 :], "damaged at byte"),
        (as_tar, lambda content: content + content, "has something behind its end"),
        (as_zip, lambda content: content.replace(b"PK\1\2", b"PK\1\3"), "Bad magic number"),
        (as_tar, lambda content: b"", "it is empty"),
        (as_tar, lambda content: b"?" * 2000, "it begins as neither a zip nor a tar does"),
    ],
)
def test_damaged_archives_are_named(write: Callable[..., None], damage: Callable[[bytes], bytes], said: str) -> None:
    write("packed", {f"{number}.png": b"x" * 1000 for number in range(4)})
    Path("packed").write_bytes(damage(Path("packed").read_bytes()))
    with pytest.raises(UserError, match=said) as raised:
        Archive(Path("packed"))
    assert raised.value.message.startswith("packed is not a folder, and cannot be read as an archive: ")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tars_are_unpacked_once(
    compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    as_tar("plain.tar", {f"imgs/{number}.png": png(f"{number}.png") for number in range(3)})
    Path("imgs.tar.gz").write_bytes(compress(Path("plain.tar").read_bytes()))
    for _ in range(2):
        images = Folder("all", Path("imgs.tar.gz"))
        assert images.fingerprint() == Folder("all", Path("plain.tar")).fingerprint()
        assert images.name(0) == "imgs.tar.gz/imgs/0.png"
    assert capsys.readouterr().out.count("unpacking imgs.tar.gz to ") == 1
    (kept,) = Path("cache/launchbay/unpacked").iterdir()
    assert kept.read_bytes() == Path("plain.tar").read_bytes()
    Path("cut.tgz").write_bytes(Path("imgs.tar.gz").read_bytes()[:-40])
    Path("text.gz").write_bytes(compress(b"text"))
    with pytest.raises(
        UserError, match=r"cut.tgz is not a folder, .*: it cannot be unpacked: Compressed file ended before"
    ):
        Archive(Path("cut.tgz"))
    with pytest.raises(UserError, match=r"text.gz is not .*: it is compressed, but what it holds is no tar"):
        Archive(Path("text.gz"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    os.utime("imgs.tar.gz", (1, 1))
    with pytest.raises(UserError, match=r"unpacked it has more than .*unpacked has room for"):
        Archive(Path("imgs.tar.gz"))
    assert list(Path("cache/launchbay/unpacked").glob("*.tar")) == [kept]


def test_archives_that_cannot_be_opened_are_named() -> None:
    as_deflated("locked.zip", {"1.png": png("1.png"), "2.png": png("2.png")})
    content = bytearray(Path("locked.zip").read_bytes())
    first, second = content.index(b"PK\1\2"), content.rindex(b"PK\1\2")
    content[first + 8] |= 1
    struct.pack_into("<H", content, second + 10, 9)
    Path("locked.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"1.png needs a password\n2.png is packed in an unknown way \(9\)"):
        Folder("all", Path("locked.zip"))
    os.mkfifo("pipe.tar")
    with pytest.raises(UserError, match=r"pipe.tar is not a folder"):
        Folder("all", Path("pipe.tar"))
    as_zip("texts.zip", {"read.me": b"x", "a.txt": b"x"})
    with pytest.raises(UserError, match=r"texts.zip holds no picture, but 1 .me, 1 .txt"):
        Folder("all", Path("texts.zip"))


def test_whatever_bytes_an_archive_has_it_is_read_or_refused(packed: Callable[..., None]) -> None:
    packed("whole", {f"{kind}/{number}.png": png(f"{number}.png") for kind in ("cat", "dog") for number in range(2)})
    whole = Path("whole").read_bytes()
    directory = max(0, whole.find(b"PK\1\2"))
    for seed in range(40):
        random, content = Random(seed), bytearray(whole)
        for _ in range(random.choice((1, 2, 8))):
            at = random.randrange(min(random.choice((0, directory)), len(content) - 1), len(content))
            if at % 3:
                content[at : at + 4] = random.choice(
                    (b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", random.randbytes(4))
                )
            else:
                del content[at : at + random.choice((1, 30, 600))]
        Path("changed").write_bytes(content)
        try:
            images = Folder("all", Path("changed"))
        except UserError:
            continue
        assert images.image(0).ndim == 3
