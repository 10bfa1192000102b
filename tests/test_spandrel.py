"""`--model spandrel/NAME`: trained here, exported as `spandrel.ModelLoader` loads it; and what others published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from conftest import forget_accelerator
from spandrel import MAIN_REGISTRY, ModelLoader
from torch import nn
from torch.optim import SGD

from launchbay import UserError
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.models import spandrel_networks
from launchbay.models.spandrel_names import PREFIX, PUBLISHED, Size, SpandrelDenoise, SpandrelSuperRes
from launchbay.models.spandrel_networks import BUILD, build

pytestmark = pytest.mark.filterwarnings("ignore:.*saved_variables.*:DeprecationWarning")
"""Of layers in NAFNet and OmniSR."""
Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]
SMALL = ("--data", "toys:Patches", "--batch-size", 2, "--steps", 2, "--warmup", 0, "--lr", 0.01, "--patch", 16)
SIZES = {
    "ATD": Size(60, 1), "CRAFT": Size(48, 1), "Compact": Size(8, 1), "DAT": Size(60, 1), "DITN": Size(60, 1),
    "DRCT": Size(60, 1), "DnCNN": Size(8, 8), "ESRGAN": Size(16, 1), "HAT": Size(60, 1), "MoSR": Size(32, 1),
    "NAFNet": Size(8, 1), "OmniSR": Size(64, 1), "PLKSR": Size(32, 1), "RCAN": Size(16, 1), "RGT": Size(60, 1),
    "RealPLKSR": Size(32, 1), "SAFMN": Size(36, 1), "SCUNet": Size(64, 1), "Swin2SR": Size(60, 1),
    "SwinIR": Size(60, 1), "SwinIR-light": Size(60, 1),
}  # fmt: skip
"""Small ones."""
ALL = [*((name, 2) for name in get_args(SpandrelSuperRes)), *((name, 1) for name in get_args(SpandrelDenoise))]


def network_of(run: Path) -> nn.Module:
    task, _, accelerator, checkpoint = build_trained(run, "best")
    restore(task, checkpoint, accelerator.device, strict=True)
    network = task.networks()["model"]
    return network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("superres", ("--model", "spandrel/Compact", "--width", 4, "--blocks", 1, "--scale", 2)),
        pytest.param("denoise", ("--model", "spandrel/NAFNet", "--width", 4, "--blocks", 1), marks=pytest.mark.slow),
    ],
)
def test_others_load_what_is_trained_here(
    train: Train, launchbay: Verb, task: str, options: tuple[object, ...]
) -> None:
    run = train(task, *SMALL, *options)
    assert launchbay("export", run, "it.safetensors")[0] == 0
    loaded: Any = ModelLoader().load_from_file("it.safetensors").eval()
    picture = torch.rand(1, 3, 21, 34)
    assert torch.equal(loaded(picture), network_of(run)(picture).clamp(0, 1))
    assert loaded.scale == (2 if task == "superres" else 1)
    assert launchbay("export", run, "model/")[0] == 0
    assert "from spandrel import ModelLoader" in Path("model/README.md").read_text()


def test_every_name_has_a_builder_and_a_size() -> None:
    named = {*get_args(SpandrelSuperRes), *get_args(SpandrelDenoise)}
    assert named == PUBLISHED.keys() == {PREFIX + name for name in BUILD}
    assert SIZES.keys() == BUILD.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), ALL)
def test_each_network_learns_and_is_loaded_as_it_is(name: str, scale: int) -> None:
    torch.manual_seed(0)
    network = build(name, scale, 3, SIZES[name.removeprefix(PREFIX)])
    for _ in range(2):  # what starts at zero may hide others
        network.zero_grad()
        output = network(torch.rand(2, 3, 24, 19))
        assert output.shape == (2, 3, 24 * scale, 19 * scale)
        output.square().mean().backward()
        SGD(network.parameters(), 1e-3).step()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]
    picture = torch.rand(2, 3, 24, 19)
    assert torch.equal(network(picture), network(picture))  # nothing is drawn from elsewhere
    network.eval()
    loaded: Any = MAIN_REGISTRY.load(dict(network.state_dict())).eval()
    for size in ((24, 19), (32, 48), (7, 9)):
        picture = torch.rand(1, 3, *size)
        with torch.no_grad():
            made = network(picture)
            assert torch.equal(loaded(picture), made.clamp(0, 1))
            both = network(torch.cat([picture, torch.rand_like(picture)]))
        assert torch.allclose(both[:1], made, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_each_network_has_its_published_size(name: str) -> None:
    scale = 4 if name in get_args(SpandrelSuperRes) else 1
    assert build(name, scale, 3, PUBLISHED[name])


@pytest.mark.parametrize(
    "wrapper",
    [pytest.param(None, marks=pytest.mark.slow), pytest.param("params", marks=pytest.mark.slow), "params_ema"],
)
def test_published_files_are_weights(train: Train, launchbay: Verb, wrapper: str | None) -> None:
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(1)
    published = Compact(num_feat=8, num_conv=2, upscale=2)
    torch.save({wrapper: published.state_dict(), "iter": 5} if wrapper else published.state_dict(), "2x.pth")
    options = ("--model", "spandrel/Compact", "--width", 8, "--blocks", 2, "--scale", 2)
    run = train("superres", *SMALL, *options, "--weights", "2x.pth", "--lr", 1e-12)
    picture = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.allclose(network_of(run)(picture), published(picture), atol=1e-6)


@pytest.mark.slow
def test_published_names_that_spandrel_changes_are_understood(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """As BasicSR saves RRDBNet, the network of Real-ESRGAN."""
    old = build("spandrel/ESRGAN", 4, 3, Size(16, 1))
    names = {"model.0": "conv_first", "model.1.sub.1": "conv_body", "model.3": "conv_up1", "model.6": "conv_up2"}
    names |= {"model.8": "conv_hr", "model.10": "conv_last"}
    new = dict[str, torch.Tensor]()
    for key, value in old.state_dict().items():
        for before, after in names.items():
            if key.startswith(f"{before}."):
                new[key.replace(before, after, 1)] = value
        if key.startswith("model.1.sub.0."):
            rest = key.removeprefix("model.1.sub.0.").replace(".0.weight", ".weight").replace(".0.bias", ".bias")
            new["body.0." + rest.replace("RDB", "rdb")] = value
    torch.save({"params_ema": new}, "4x.pth")
    options = ("--model", "spandrel/ESRGAN", "--width", 16, "--blocks", 1, "--weights", "4x.pth", "--lr", 1e-12)
    run = train("superres", *SMALL, *options)
    assert "weights of model: 42 tensors of 4x.pth (ESRGAN ×4, 16nf, 1nb)" in capfd.readouterr().out.replace("  ", " ")
    picture = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.allclose(network_of(run)(picture), old.eval()(picture), atol=1e-6)


def test_what_does_not_fit_says_what_it_is(mistake: Mistake) -> None:
    from spandrel.architectures.Compact import Compact

    torch.save(Compact(num_feat=16, num_conv=2, upscale=4).state_dict(), "4x.pth")
    options = ("--model", "spandrel/Compact", "--width", 8, "--blocks", 2, "--scale", 2, "--weights", "4x.pth")
    said = mistake("--task", "superres", *SMALL, *options)
    assert "4x.pth (RealESRGAN Compact ×4, 16nf, 2nc) does not fit 'model'" in said


def test_what_cannot_be_built_is_refused(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--model", "spandrel/ESRGAN", "--scale", 3, "--patch", 15, "--width", 8, "--blocks", 1)
    said = mistake("--task", "superres", *SMALL, *options)
    assert "cannot be built so" in said and "enlarges 2 times" in said
    said = mistake("--task", "superres", *SMALL, "--model", "spandrel/Compakt")
    assert "spandrel/Compact" in said
    with pytest.raises(UserError, match="cannot be built with --width 32 --blocks 1"):
        build("spandrel/SCUNet", 1, 3, Size(32, 1))
    monkeypatch.setattr(spandrel_networks, "find_spec", lambda name: None)
    said = mistake("--task", "superres", *SMALL, "--model", "spandrel/Compact")
    assert "pip install 'launchbay[spandrel]'" in said


def test_runs_of_before_go_on(train: Train) -> None:
    """Their config.yaml has a width and blocks for every network."""
    run = train("superres", *SMALL, "--model", "espcn")
    text = (run / "config.yaml").read_text()
    assert "width: 32" in text and "blocks: 8" in text
    forget_accelerator()
    assert train("superres", *SMALL, "--model", "espcn", "--steps", 3)


def test_sizes_that_are_not_used_are_refused(mistake: Mistake) -> None:
    said = mistake("--task", "superres", *SMALL, "--model", "espcn", "--width", 16)
    assert "--width 16 changes nothing with --model espcn" in said
    said = mistake("--task", "denoise", *SMALL, "--model", "spandrel/DnCNN", "--depth", 5)
    assert "--depth 5 changes nothing with --model spandrel/DnCNN" in said
