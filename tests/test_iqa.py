"""Figures of pyiqa by name: with a module that stands for it, and with pyiqa itself where it is installed."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import lines
from skimage.data import astronaut
from torch import Tensor

from launchbay import UserError
from launchbay.data.photos import Photos
from launchbay.tasks.figures.iqa import load_pyiqa, pyiqa_figure

PYIQA = """
import socket, urllib.request
import torch

class Metric:
    def __init__(self, mode, ask):
        self.metric_mode, self.ask = mode, ask
    def to(self, device):
        return self
    def __call__(self, *pictures):
        return self.ask(*pictures)

def list_models():
    return ["brightness", "difference", "luck", "large", "weighty", "heavy", "broken", "fid"]

def batch_mean(picture):
    assert picture.dtype == torch.get_default_dtype() == torch.float32 and picture.shape[1] == 3
    return picture.mean()[None]

def large(picture):
    assert picture.shape[-1] > 99, "too small\\nby far"

def create_metric(name, device):
    print("Loading", name)
    if name == "weighty":
        print('Downloading: "https://example.org/w.pth" to /cache/w.pth\\n')
        urllib.request.urlopen("https://example.org/w.pth")
    if name == "heavy":
        try:
            socket.getaddrinfo("hub.example.org", 443)
        except Exception:
            return None
    if name == "broken":
        import what_nobody_has
    return {
        "brightness": Metric("NR", batch_mean),
        "difference": Metric("FR", lambda one, other: (one - other).mean()),
        "luck": Metric("NR", lambda picture: torch.rand(1, 1)),
        "large": Metric("NR", large),
    }[name]
"""
"""What stands for pyiqa, with what its networks do: print, download, lack packages, draw, average over a batch."""
MISTAKES = {
    "brigthness": "no figure of single pictures called brigthness → pyiqa.list_models() lists what it has, such as "
    "pyiqa:brightness",
    "fid": "no figure of single pictures called fid",
    "weighty": "needs weights that are not here: https://example.org/w.pth → put that file at /cache/w.pth, or have "
    "pyiqa download it: python -c \"import pyiqa; pyiqa.create_metric('weighty')\"",
    "heavy": "needs weights that are not here: those of hub.example.org",
    "broken": "No module named 'what_nobody_has' → install that, or leave pyiqa:broken out of --metrics",
    "large": "cannot judge a picture of 16×16 pixels: too small →",
}


@pytest.fixture(autouse=True)
def anew() -> None:
    load_pyiqa.cache_clear()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stands-in").mkdir()
    (tmp_path / "stands-in/pyiqa.py").write_text(PYIQA)
    monkeypatch.syspath_prepend(tmp_path / "stands-in")
    monkeypatch.delitem(sys.modules, "pyiqa", raising=False)


@pytest.mark.usefixtures("stand_in")
def test_each_picture_is_judged_alone_and_as_published(capfd: pytest.CaptureFixture[str]) -> None:
    pictures = torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 4, 5).double()
    state = torch.get_rng_state()
    try:
        torch.set_default_dtype(torch.float64)
        assert pyiqa_figure("pyiqa:brightness", pictures, pictures).tolist() == [0.25, 0.5, 1.0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert pyiqa_figure("pyiqa:difference", pictures, pictures * 0).tolist() == [0.25, 0.5, 1.0]
    first = pyiqa_figure("pyiqa:luck", pictures, pictures)
    assert first.unique().numel() == 1 and torch.equal(first, pyiqa_figure("pyiqa:luck", pictures, pictures))
    assert torch.equal(state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("stand_in")
def test_a_run_has_them(train: Callable[..., Path], mistake: Callable[..., str]) -> None:
    run = train("reconstruct", "--steps", 1, "--patch", 16, "--metrics", "psnr", "pyiqa:brightness")
    (line,) = lines(run, "val")
    baseline = line["baseline/pyiqa:brightness"]  # each picture's mean colour is as bright as it is
    photos = Photos("val")
    expected = sum(float(photos.image(place).double().mean()) / 255 for place in range(len(photos))) / len(photos)
    assert baseline == pytest.approx(expected, abs=0.002) and "pyiqa:brightness" in line
    said = mistake("--task", "reconstruct", "--metrics", "psnr", "pyiqa-brightness")
    assert "'mae' or 'lpips'" in said


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_missing_is_named_and_nothing_is_downloaded(name: str) -> None:
    picture = torch.rand(1, 3, 16, 16)
    with pytest.raises(UserError) as caught:
        pyiqa_figure(f"pyiqa:{name}", picture, picture)
    assert MISTAKES[name] in f"{caught.value.message} → {caught.value.hint}"


def test_without_pyiqa_its_extra_is_named(mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    said = mistake("--task", "superres", "--metrics", "psnr", "pyiqa:niqe")
    assert "--metrics pyiqa:niqe" in said and "pip install pyiqa (launchbay's extra iqa)" in said


def test_they_are_those_of_pyiqa() -> None:
    pytest.importorskip("pyiqa", reason="pip install pyiqa: 32 packages", exc_type=ModuleNotFoundError)
    import pyiqa  # pyright: ignore[reportMissingImports]

    drawn = random.Random(5)
    whole = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255
    corners = [(drawn.randrange(380), drawn.randrange(380)) for _ in range(2)]
    target = torch.cat([whole[..., top : top + 96, left : left + 96] for top, left in corners])
    output = (target + 0.1 * torch.randn(target.shape)).clamp(0, 1)
    for name in ("psnr", "ssim", "gmsd", "vif", "piqe"):
        metric = pyiqa.create_metric(name, device=torch.device("cpu"))

        def ask(one: Tensor, other: Tensor, metric: Callable[..., Tensor] = metric, name: str = name) -> float:
            return float(metric(one) if name == "piqe" else metric(one, other))

        theirs = [ask(one, other) for one, other in zip(output.split(1), target.split(1), strict=True)]
        assert pyiqa_figure(f"pyiqa:{name}", output, target).tolist() == pytest.approx(theirs, rel=1e-6), name
    if not Path(torch.hub.get_dir(), "pyiqa/niqe_modelparameters.mat").is_file():
        with pytest.raises(UserError, match=r"niqe_modelparameters\.mat"):
            load_pyiqa("pyiqa:niqe")
