"""What holds for every built-in task: it learns, on any size and batch, and says what is wrong with its data."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, lines
from PIL import Image
from torch.nn.functional import conv2d, interpolate
from toys import Digits, Patches

from launchbay.data import ImageSet, Index
from launchbay.data.glyphs import Glyphs
from launchbay.data.loader import fetch
from launchbay.data.photos import Photos
from launchbay.launch.config.assembly import open_dataset
from launchbay.launch.config.option_file import read_options, read_task
from launchbay.launch.config.setup import default_config, task_of
from launchbay.launch.engine.batches import to_batch
from launchbay.models.autoencoders import ConvAutoencoder, WideningAutoencoder, four_convolutions, unpadded
from launchbay.models.classify import build_classifier, whitening
from launchbay.models.residual import DnCNN, UNet
from launchbay.tasks.base import Batch, Task
from launchbay.tasks.classify import Classify, ClassifyConfig

Train = Callable[..., Path]
Mistake = Callable[..., str]

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn": ("classify", {"rotate": 20.0, "cutout": 4}),
    "resnet9": ("classify", {"model": "resnet9", "width": 8, "label_smoothing": 0.1}),
    "airbench": ("classify", {"model": "airbench", "width": 4, "shift": 0}),
    "timm": ("classify", {"model": "timm/resnet18", "shift": 0}),
    "upsampling": ("denoise", {"model": "upsampling"}),
    "transposed": ("denoise", {"model": "transposed"}),
    "conv4": ("denoise", {"model": "conv4", "loss": "l1"}),
    "dncnn": ("denoise", {"model": "dncnn", "depth": 3, "pixels": "unit"}),
    "unet": ("denoise", {"width": 8, "blocks": 1, "tta": True}),
    "reconstruct": ("reconstruct", {}),
    "vae-conv": ("vae", {"width": 8, "binarize": True}),
    "vae-dense": ("vae", {"model": "dense", "loss": "mse"}),
    "cvae": ("vae", {"model": "dense", "classes": 10, "loss": "l1", "beta": 0.5}),
    "vae-ladder": ("vae", {"model": "ladder", "width": 8, "importance_samples": 2}),
    "dcgan": ("dcgan", {"dropout": 0.0}),
    "pyramid": ("dcgan", {"model": "pyramid", "width": 8, "classes": 10}),
    "hinge": ("dcgan", {"loss": "hinge", "spectral_norm": True, "r1": 1.0, "augment": ("translation", "cutout")}),
    "presgan": ("dcgan", {"regularize": "presgan", "augment": ("color",)}),
    "unmix": ("unmix", {"second": "subtract", "width": 16, "blocks": 2}),
    "unmix-transposed": ("unmix", {"decoder": "transposed", "second": "subtract-untrained"}),
    "superres": ("superres", {"model": "espcn", "tta": True, "metrics": ("mse", "mae")}),
}
RECORDS = sorted((ROOT / "examples/records").glob("*.yaml"))


def build_task(variant: str) -> tuple[Task[Any], ImageSet]:
    """A task on a few embedded pictures, and these."""
    from dataclasses import replace

    name, options = VARIANTS[variant]
    kind, default = task_of(name)
    images = {"unmix": open_dataset("toys:Digits+toys:Patches"), "superres": Patches}.get(name, Digits)("train")
    torch.manual_seed(0)
    return kind(kind.infer_options(replace(default.options, **options), images)), images


def batch_of(images: ImageSet, count: int) -> Any:
    indices = [Index(number % len(images), number) for number in range(count)]
    return to_batch(fetch(images, indices), torch.device("cpu"))


def train_on(task: Task[Any], batch: Callable[[], Any], steps: int, lr: float = 3e-3) -> Iterator[dict[str, float]]:
    """Each step's losses, on one batch that repeats."""
    optimizers = {name: torch.optim.Adam(net.parameters(), lr) for name, net in task.networks().items()}
    for _ in range(steps):
        losses = {}
        for name, terms in task.training_step(batch()):
            loss = torch.stack(tuple(terms.values())).sum()
            parameters = [one for one in task.networks()[name].parameters() if one.requires_grad]
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizers[name].step()
            losses[name] = loss.item()
        yield losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns_one_batch_by_heart(variant: str) -> None:
    """The loss falls; of the two of a GAN the discriminator's does, at the generator's expense."""
    task, images = build_task(variant)
    torch.manual_seed(0)
    slow = variant == "presgan"  # each step samples posteriors
    lr = 1e-3 if variant in ("reconstruct", "hinge") else 3e-3  # starts next to the answer; is cautious with so few
    steps = list(train_on(task, lambda: batch_of(images, 2 if slow else 8), 4 if slow else 20, lr))
    assert all(torch.tensor(list(losses.values())).isfinite().all() for losses in steps)
    name = "discriminator" if "discriminator" in steps[0] else "model"
    assert min(losses[name] for losses in steps[-3:]) < (0.95 if slow else 0.9) * steps[0][name]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_figures_and_pictures_are_well_formed(variant: str) -> None:
    task, images = build_task(variant)
    task.datasets(lambda split, **how: images)  # names of classes, the mean picture
    task.eval()
    batch = batch_of(images, 3)
    figures = task.evaluate(batch)
    collected = {name: values for name, values in figures.items() if values.ndim == 2}
    averaged = {name: values for name, values in figures.items() if values.ndim == 1}
    assert all(values.shape == (3,) and values.isfinite().all() for values in averaged.values())
    assert {name for name in averaged if f"baseline/{name}" in averaged} or "baseline/diversity" in task.summarize(
        collected
    )
    assert all(torch.tensor(value).isfinite() for value in task.summarize(collected).values())
    pictures = [*task.preview(batch).values(), *(picture[None] for picture in task.gallery(collected).values())]
    assert pictures
    for picture in pictures:
        assert picture.ndim == 4 and picture.shape[1] in (1, 3) and picture.min() >= 0 and picture.max() <= 1


@pytest.mark.parametrize("height", [5, 28, 31])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "network",
    [
        lambda c: ConvAutoencoder(c, (32, 64)),
        WideningAutoencoder,
        lambda c: four_convolutions(c, 8),
        lambda c: DnCNN(c, 8, 3),
        lambda c: UNet(c, 8, 1),
        lambda c: unpadded(c, 8),
    ],
)
def test_restoring_networks_keep_any_size(
    network: Callable[[int], torch.nn.Module], channels: int, height: int
) -> None:
    image = torch.rand(1, channels, height, height + 3)
    assert network(channels)(image).shape == image.shape


def test_a_unet_gives_logits_for_any_size() -> None:
    network = UNet(3, 8, 1, outputs=5)
    assert network(torch.rand(2, 3, 5, 30)).shape == (2, 5, 5, 30)
    assert network(torch.rand(1, 3, 8, 8)).count_nonzero() == 0  # the picture is not added


@pytest.mark.parametrize(("size", "features"), [(32, 2048), (28, 1152)])
def test_the_cnn_is_the_tabled_one(size: int, features: int) -> None:
    network = build_classifier("cnn", 3, size, 10, 0, pretrained=False)
    convolutions = 3 * 32 * 9 + 32 + 32 * 64 * 9 + 64 + 64 * 128 * 9 + 128
    assert sum(p.numel() for p in network.parameters()) == convolutions + features * 128 + 128 + 128 * 10 + 10
    assert network(torch.rand(1, 3, size, size)).shape == (1, 10)


def test_whitened_photographs_have_unit_variance_and_little_correlation() -> None:
    small = interpolate(torch.stack([photo[:, :256, :256] for photo in Photos("train").regions]) / 255, 32, mode="area")
    small = (small - small.mean()) / small.std()
    filters = whitening(3)
    assert filters.shape == (24, 3, 2, 2) and torch.equal(filters[:12], -filters[12:])
    maps = conv2d(small, filters[:12]).transpose(0, 1).flatten(1)
    assert (maps.std(dim=1) > 0.3).all() and (maps.std(dim=1) < 3).all()
    assert (maps.corrcoef() - torch.eye(12)).abs().mean() < 0.15, "eleven photographs have colours of their own"
    assert whitening(1).shape == (8, 1, 2, 2)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["superres", "unet"])
def test_tta_averages_the_eight_positions(variant: str) -> None:
    task: Any = build_task(variant)[0]
    for weight in task.model.parameters():  # a new network gives the picture back: the same in all positions
        weight.add_(torch.randn_like(weight), alpha=0.1)
    image = torch.rand(1, task.config.channels, 12, 9)
    expected = []
    for turns in range(4):
        for mirror in (False, True):
            turned = image.rot90(turns, (2, 3))
            turned = turned.flip(-1) if mirror else turned
            output = task.model(turned)
            expected.append((output.flip(-1) if mirror else output).rot90(-turns, (2, 3)))
    assert torch.allclose(task.restore(image), torch.stack(expected).mean(dim=0), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("flip", [True, False])
def test_classify_answers_by_the_mean_over_moved_and_mirrored_pictures(*, flip: bool) -> None:
    """By hand: half the weight is the picture's own, a quarter that of each of two that are moved by a pixel."""
    config = ClassifyConfig(channels=1, size=8, classes=3, flip=flip, tta=True)
    task = Classify(config).eval()
    image = torch.rand(2, 1, 8, 8)
    wide = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    expected = torch.zeros(2, 3)
    for view, weight in ((image.numpy(), 2), (wide[:, :, :8, :8], 1), (wide[:, :, 2:, 2:], 1)):
        for side in (view, view[..., ::-1].copy()) if flip else (view, view):
            expected += weight / 8 * task.model(torch.from_numpy(side))
    torch.testing.assert_close(task.answer(image), expected)
    assert not torch.allclose(task.answer(image), task.model(image))


def test_figures_of_a_classifier_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Top five by sorting, precision and recall by counting; of a class that is never answered, precision is 0."""
    classes, random = 8, torch.Generator().manual_seed(0)
    config = ClassifyConfig(channels=1, size=8, classes=classes, metrics=("top5", "precision", "recall"))
    task, logits = Classify(config), torch.randn(60, classes, generator=random)
    logits[:, 7] = -9
    label = torch.randint(0, classes, (60,), generator=random)
    monkeypatch.setattr(task, "answer", lambda image: logits)
    figures = task.evaluate(Batch({"image": torch.zeros(60, 1, 8, 8), "label": label}, range(60)))
    order = np.argsort(-logits.numpy(), axis=1)
    assert figures["top5"].tolist() == [float(of in row[:5]) for row, of in zip(order, label.tolist(), strict=True)]
    assert 0.5 < figures["top5"].mean() < 1 and figures["baseline/top5"].tolist() == pytest.approx([5 / 8] * 60)
    answer, whole = order[:, 0], task.summarize(figures)
    for name, of in {"precision": answer, "recall": label.numpy()}.items():
        right = [((answer == k) & (label.numpy() == k)).sum() / max(1, (of == k).sum()) for k in range(classes)]
        assert whole[name] == pytest.approx(np.mean(right)), name


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_records_are_options_of_today_and_have_their_row(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples/diffusion/src")
    name = read_task(file, (), "launchbay train")
    assert name is not None and f"examples/records/{file.name}` " in (ROOT / "benchmarks/quality.md").read_text("utf-8")
    kind, _ = task_of({"diffusion": "diffusion.task:Diffusion"}.get(name, name))
    config, _ = read_options(file, default_config(name, kind))
    images = {"unmix": open_dataset("toys:Digits+toys:Patches"), "superres": Patches}.get(name, Digits)("train")
    assert kind(kind.infer_options(config.options, images)).networks()


@pytest.mark.usefixtures("with_curves")
@pytest.mark.parametrize("task", ["classify", "denoise", "reconstruct", "vae", "dcgan", "unmix"])
def test_a_run_of_each_task(task: str, train: Train) -> None:
    """With small pictures, all shared options in play; the folder has everything, and goes through --config again."""
    data = {"unmix": "toys:Digits+toys:Patches"}.get(task, "toys:Digits")
    options = ("--data", data, "--batch-size", 4, "--ema", 0.9, "--steps", 2, "--eval-every", 2)
    run = train(task, *options, "--log-every", 1)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "done" and summary["final"] and summary["baseline"]
    assert len(lines(run, "train")) == 2 and len(lines(run, "val")) == 1
    assert list((run / "samples").glob("step-00000002*.png")) and (run / "curves.png").is_file()
    saved = {path.name for path in (run / "checkpoints/step-00000002").iterdir()}
    assert {f"{name}.safetensors" for name in ("model", "generator")} & saved
    assert {f"{name}.trained.safetensors" for name in ("model", "generator")} & saved
    first = run.rename("first")
    again = train(task, "--config", first / "config.yaml", "--data", data, "--output-dir", "runs")
    assert lines(first, "val") == lines(again, "val")


@pytest.fixture
def folder() -> Path:
    """Colour pictures without classes, 40×40."""
    for number in range(12):
        path = Path(f"plain/{number:02}.png")
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (20 * number, 100, 50)).save(path)
    return Path("plain")


def test_data_that_do_not_fit_the_task(mistake: Mistake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "empty")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    def said(task: str, *options: object) -> str:
        return mistake("--task", task, "--steps", 1, *options)

    own = ("--data", "folder", "--data-root", folder)
    assert "the pictures have no labels" in said("classify", *own)
    assert "the pictures have no labels" in said("vae", *own, "--classes", 3)
    assert "has 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), the network 3" in said("vae", "--classes", 3)
    assert "01.png has 40×40 pixels, but 48×48 are needed" in said("denoise", *own, "--patch", 48)
    two = said("denoise", *own, "--channels", 2)
    assert "pictures have 3 channels, the network takes 2 → leave --channels out: then it takes 3" in two
    assert "invalid choice" in said("superres", *own, "--channels", 2)
    for task in ("superres", "denoise", "reconstruct", "vae"):
        assert "LPIPS needs AlexNet's weights" in said(task, "--metrics", "lpips")
    assert not Path("runs").exists(), "it is found out before training, not at the first validation"
    assert "unmixing needs pairs" in said("unmix", "--data", "toys:Digits")
    assert "--size 30 does not divide by 4" in said("dcgan", "--size", 30)
    assert "invalid choice" in said("superres", "--scale", 5)
    assert "cnn cannot take pictures of 1×1" in said("classify", "--size", 1)
    assert "cannot take pictures of 28×28: Input height" in said("classify", "--model", "timm/vit_tiny_patch16_224")
    assert "--size -4 has to be greater than 0" in said("vae", "--size", -4)
    assert "is not a pair of data sets" in said("unmix", "--data", "glyphs+")
    assert "as this task sets betas: " in said("dcgan", "--optimizer", "sgd", "--data", "toys:Digits")
    assert "no optimizer 'muno', neither" in (muno := said("classify", "--optimizer", "muno")) and "muon" in muno
    with_option = ("classify", "--optimizer", "muon", "--optimizer-options")
    assert "momentun=1 cannot be built" not in (unknown := said(*with_option, "momentun=1")) and "momentun" in unknown
    assert "momentum: not NAME=VALUE" in said(*with_option, "momentum")
    assert "lr=1: that is --lr" in said(*with_option, "lr=1")
    assert "eps=1: set twice" in said(*with_option, "eps=2", "eps=1")
    assert "no classifier 'alexnett'" in said("classify", "--model", "alexnett")
    assert "timm has no network 'resnt18'; did you mean resnet18 or" in said("classify", "--model", "timm/resnt18")
    assert "gone.safetensors: there is no such file or folder" in said("unmix", "--weights", "gone.safetensors")
    assert "--judge gone: there is no such folder" in said("dcgan", "--judge", "gone", "--data", "toys:Digits")
    assert "--ema 1.0 has to be less than 1" in said("vae", "--ema", 1)


def test_a_folder_of_sub_folders_has_classes(train: Train, mistake: Mistake, folder: Path) -> None:
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        (folder / "red" if number % 2 else folder / "blue").mkdir(exist_ok=True)
        path.rename(folder / ("red" if number % 2 else "blue") / path.name)
    options = ("--data", "folder", "--data-root", folder, "--size", 16)
    run = train("classify", *options, "--steps", 2)
    config = json.loads((run / "checkpoints/step-00000002/state.json").read_text())["config"]
    assert (config["classes"], config["channels"], config["size"], config["flip"]) == (2, 3, 16, True)
    (folder / "red").rename(folder / "green")
    other = Path("other")
    folder.rename(other)
    (other / "green").rename(other / "red")
    (other / "blue").rename(other / "azure")
    Image.new("RGB", (40, 40)).save("x.png")
    (Path("again/red")).mkdir(parents=True)
    (Path("again/blue")).mkdir(parents=True)
    for kind in ("red", "blue"):
        for number in range(3):
            Image.new("RGB", (40, 40)).save(f"again/{kind}/{number}.png")
    said = mistake("--task", "classify", "--data", "folder", "--data-root", "again", "--val-root", other, "--steps", 1)
    assert "has other classes (azure, red) than the training set (blue, red)" in said


def test_glyphs_are_the_same_each_time_in_any_precision_and_differ_between_splits() -> None:
    train, again, validation = Glyphs("train"), Glyphs("train"), Glyphs("val")
    assert torch.equal(train.pixels, again.pixels)
    assert not torch.equal(train.pixels[:2000], validation.pixels)
    torch.set_default_dtype(torch.float64)  # as --precision fp64 does
    assert torch.equal(Glyphs("val").pixels, validation.pixels)
    assert train.pixels.shape == (10000, 1, 28, 28) and validation.labels.bincount().tolist() == [200] * 10
