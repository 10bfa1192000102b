"""Data sets that are downloaded: checked, once, and found wherever people have them."""

import errno
import gzip
import hashlib
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from filelock import FileLock
from torchvision import datasets

from launchbay import UserError
from launchbay.data import Index, download, mnist, transfer
from launchbay.data.folder import Folder
from launchbay.data.mnist import MNIST

Mistake = Callable[..., str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Files of tmp_path/served over HTTP; the address."""
    (tmp_path / "served").mkdir()
    handler = partial(QuietHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        QuietHandler.asked.append(self.path)

    asked: ClassVar[list[str]] = []


def serve_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A small MNIST in its own format, which passes for the original: (file, md5) as torchvision lists them."""
    resources = []
    originals: dict[str, dict[str, str]] = {"train": {}, "t10k": {}}
    for part, count in (("train", 6), ("t10k", 2)):
        pixels = struct.pack(">iiii", 2051, count, 28, 28) + bytes(range(count)) * 28 * 28
        labels = struct.pack(">ii", 2049, count) + bytes(range(count))
        for kind, content in (("images-idx3", pixels), ("labels-idx1", labels)):
            file = folder / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(content))
            originals[part][file.stem] = hashlib.sha256(content).hexdigest()
            resources.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setitem(mnist.IDX, "MNIST", mnist.Idx(originals["train"], originals["t10k"]))
    return resources


def test_a_download_is_checked_and_happens_once(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server])
    resources = serve_mnist(tmp_path / "served", monkeypatch)
    (tmp_path / "cache/launchbay").mkdir(parents=True)
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, "0" * 32) for name, _ in resources])
    with pytest.raises(UserError, match="corrupted") as caught:
        MNIST("train")
    assert "train-images-idx3-ubyte.gz" in caught.value.message and "--data-root" in caught.value.hint
    assert not list((tmp_path / "cache/launchbay").iterdir()), "nothing is left of the attempt"

    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    QuietHandler.asked.clear()
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(MNIST, ["train", "val"]))
    asked = Counter(QuietHandler.asked)
    assert set(asked) == {f"/{name}" for name, _ in resources}
    assert max(asked.values()) == 1
    assert [len(images) for images in both] == [6, 2] and len(MNIST("all")) == 8
    assert both[0].__getitems__([Index(5, 1)])["label"].tolist() == [5]
    assert "downloading MNIST" in capfd.readouterr().out

    own = tmp_path / "cache/launchbay/MNIST"
    file = own / "raw/t10k-images-idx3-ubyte"
    whole = file.read_bytes()
    for damaged in (b"short", whole[:-1] + b"x"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"other data: {file.name} is not the original") as refused:
            MNIST("val")
        assert f"move {own} away, and" in refused.value.hint, "that of MNIST alone, not what lies beside it"
    assert len(MNIST("train")) == 6


def misbehave(kind: str, connection: socket.socket) -> None:
    """What a server does that is asked for a file of a megabyte."""
    with connection, suppress(OSError):
        connection.recv(1000)
        if kind != "silent":
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n1234")
        while kind != "short":  # a byte now and then, or nothing
            time.sleep(0.02)
            if kind == "trickles":
                connection.sendall(b"x")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("silent", "hardly any"), ("trickles", "hardly any"), ("short", "ended after 4 of 1000000 bytes")],
)
def test_a_server_that_misbehaves_is_named_in_bounded_time(
    kind: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "TICK", 0.1)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                Thread(target=misbehave, args=(kind, listening.accept()[0]), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, args=(listening,), daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        with pytest.raises(UserError, match=said) as refused:
            MNIST("train", Path("root"))
        assert f"{address}train-images-idx3-ubyte.gz: " in refused.value.message
        assert "copy MNIST into root, or name" in refused.value.hint
    assert not Path("root").exists(), "nothing is left of the attempt"
    assert kind != "trickles" or "train-images-idx3-ubyte.gz: 0.0 of 1.0 MB" in capfd.readouterr().out


def test_another_process_that_downloads_is_named_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As long as something comes of it."""
    monkeypatch.setattr(transfer, "TICK", 0.1)
    monkeypatch.setattr(download, "WAIT", 0.05)
    Path("root/.download-elsewhere-4242-x").mkdir(parents=True)
    with FileLock("root/.MNIST.lock"), pytest.raises(UserError, match=r"elsewhere-4242.*nothing comes of it"):
        MNIST("train", Path("root"))
    assert "waiting for another process, which downloads MNIST: elsewhere-4242" in capfd.readouterr().out


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks"), NotImplementedError("no flock")])
def test_a_disk_without_locks_is_downloaded_to(
    error: Exception, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server])
    monkeypatch.setattr(datasets.MNIST, "resources", serve_mnist(tmp_path / "served", monkeypatch))
    assert len(MNIST("train", Path("root"))) == 6
    assert "root is on a disk without locks" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [("mnist", "train-images-idx3-ubyte.gz", "MNIST"), ("cifar10", "cifar-10-python", "cifar-10-batches-py")],
)
def test_without_a_network_it_says_which_file_to_put_where(
    name: str, file: str, place: str, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    said = mistake("--task", "classify", "--data", name, "--data-root", "not/here")
    assert (
        "cannot be downloaded" in said
        and file in said
        and f"copy {place} into not/here, or" in said
        and "--data glyphs" in said
    )
    assert not Path("not").exists(), "nothing is left of the attempt"


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "raw", "", "torchvision/MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_found_where_people_have_it(place: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("data", place)
    folder.mkdir(parents=True)
    serve_mnist(folder, monkeypatch)
    for file in [] if packed else list(folder.iterdir()):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.write_bytes(b"not looked at")
    assert [len(MNIST(split, Path("data"))) for split in ("train", "val")] == [6, 2]
    (folder / "t10k-labels-idx1-ubyte").unlink(missing_ok=True)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte") as refused:
        MNIST("val", Path("data"))
    assert ("move data" in refused.value.hint) == ("MNIST" in place), "nobody is told to move what else is there"
    assert "remove" not in refused.value.hint


def test_another_data_set_in_its_place_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it there may have nothing else of it."""
    Path("data/MNIST/raw").mkdir(parents=True)
    serve_mnist(Path("data/MNIST/raw"), monkeypatch)
    for place, packed in (("train-images-idx3-ubyte", False), ("t10k-labels-idx1-ubyte", True)):
        file = Path("data/MNIST/raw", place)
        file.with_suffix(".gz").write_bytes(gzip.compress(place.encode()))
        if not packed:
            file.write_bytes(place.encode())
        monkeypatch.setitem(mnist.OTHERS, hashlib.md5(place.encode()).hexdigest(), "FashionMNIST")
        with pytest.raises(UserError, match=f"MNIST is not in data/MNIST/raw: {place} is that of FashionMNIST") as said:
            MNIST("train" if "train" in place else "val", Path("data"))
        assert said.value.hint.startswith("these are FashionMNIST: --data torchvision:FashionMNIST; for MNIST name the")


@pytest.mark.parametrize("root", ["cifar-10-batches-py", ".", ".."])
def test_cifar10_is_found_in_its_folder_above_it_and_two_above(root: str, mistake: Mistake) -> None:
    Path("data/cifar-10-batches-py").mkdir(parents=True)
    Path("data/cifar-10-batches-py/data_batch_1").touch()
    said = mistake("--task", "classify", "--data", "cifar10", "--data-root", Path("data", root).resolve())
    assert "cifar-10-batches-py is damaged, incomplete or other data: data_batch_1 is not the original → move" in said


@contextmanager
def nobody() -> Generator[None]:
    """As a user who may do only what all may, also where tests are run by root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_folders_that_may_not_be_read_or_written() -> None:
    Path().chmod(0o755)
    Path("read-only").mkdir(mode=0o555)
    Path("pictures").mkdir()
    Path("pictures/closed").mkdir(mode=0)
    Path("linked").mkdir()
    Path("linked/to").symlink_to("../pictures/closed/data")
    Path("files").mkdir()
    Path("files/secret.png").write_bytes(b"not empty")
    Path("files/secret.png").chmod(0)
    with nobody():
        with pytest.raises(UserError, match="cannot look into pictures/closed: Permission denied"):
            Folder("all", Path("pictures"))
        with pytest.raises(UserError, match="cannot look into linked/to: Permission denied"):
            Folder("all", Path("linked"))
        with pytest.raises(UserError, match=r"cannot read the picture files/secret.png: Permission denied"):
            Folder("all", Path("files"))
        for root in (Path("read-only"), Path("pictures/closed/data")):
            with pytest.raises(UserError, match=r"cannot be put there: .*Permission denied") as refused:
                MNIST("train", root)
            assert "name the folder that has it with --data-root" in refused.value.hint
