"""`launchbay export`: one file of weights that plain safetensors and plain PyTorch take."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from toys import Gan, GanConfig, NoOptions, Tied

from launchbay import __version__
from launchbay.launch.commands.export_weights import without_paths
from launchbay.launch.commands.trained import build_trained, restore
from launchbay.models.checkpoints import fingerprint, newest_checkpoint, seal
from launchbay.models.superres import SRResNet

Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]


def metadata(file: str) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def trained_networks(run: Path, name: str | None = None) -> dict[str, nn.Module]:
    task, _, accelerator, checkpoint = build_trained(run, "best", name)
    restore(task, checkpoint, accelerator.device, strict=True)
    return task.networks()


def trained(run: Path, name: str | None = None) -> nn.Module:
    """The network as `evaluate` has it, ordered in memory as a new one is: another order rounds differently."""
    network = trained_networks(run, name)["model"]
    return network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


def test_a_network_takes_the_file_as_it_is(train: Train, launchbay: Verb) -> None:
    options = ("--data", "toys:Patches", "--width", 4, "--blocks", 1, "--patch", 16, "--batch-size", 2)
    run = train("superres", *options, "--steps", 3, "--warmup", 0, "--lr", 0.01)
    code, said = launchbay("export", run)
    assert code == 0, said

    network = SRResNet(scale=4, width=4, blocks=1)
    network.load_state_dict(load_file("it.safetensors"))

    picture = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(picture), trained(run)(picture))
    tensors, parameters = len(network.state_dict()), sum(p.numel() for p in network.parameters())
    assert f"it.safetensors: model of step 3, {tensors} tensors, {parameters:,} parameters" in said
    known = metadata("it.safetensors")
    assert (known["task"], known["step"], known["launchbay"]) == ("superres", "3", __version__)
    assert json.loads(known["config"])["width"] == 4


def test_averages_of_two_networks(train: Train, launchbay: Verb) -> None:
    run = train("Gan", "--ema", 0.9)
    assert launchbay("export", run, "new/gan.safetensors")[0] == 0
    tensors = load_file("new/gan.safetensors")
    networks = Gan(GanConfig()).networks()
    assert {name.partition(".")[0] for name in tensors} == networks.keys()
    averaged = trained_networks(run, "toys:Gan")
    for name, network in networks.items():
        network.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
        without_average = load_file(run / f"checkpoints/step-00000004/{name}.trained.safetensors")
        for key, value in network.state_dict().items():
            assert torch.equal(value, averaged[name].state_dict()[key]) and not torch.equal(value, without_average[key])


def test_tied_weights_have_both_names(train: Train, launchbay: Verb) -> None:
    run = train("Tied", "--lr", 0.01)
    code, said = launchbay("export", run)
    network = Tied(NoOptions()).eval().model
    network.load_state_dict(load_file("it.safetensors"))
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(picture), trained(run, "toys:Tied")(picture))
    assert code == 0 and f"{sum(p.numel() for p in network.parameters())} parameters" in said


def test_the_task_need_not_be_installed(train: Train, launchbay: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("Single")
    monkeypatch.delitem(sys.modules, "toys")
    assert launchbay("export", run)[0] == 0
    assert "toys" not in sys.modules
    nn.Conv2d(3, 3, 3, padding=1).load_state_dict(load_file("it.safetensors"))


def test_the_best_checkpoint_or_the_last(train: Train, launchbay: Verb) -> None:
    run = train("Single", "--save-every", 1)
    (run / "checkpoints/best").write_text("step-00000002")
    for words, name, step in (((), "best", "2"), (("--checkpoint", "last"), "last", "3")):
        launchbay("export", run, f"{name}.safetensors", *words)
        assert metadata(f"{name}.safetensors")["step"] == step


def test_nothing_is_overwritten_and_no_half_file_left(train: Train, launchbay: Verb) -> None:
    run = train("Single")
    Path("there.safetensors").write_text("mine")
    for target, expected in (
        ("there.safetensors", "exists already"),
        ("there.safetensors/it.safetensors", "cannot write"),
    ):
        code, said = launchbay("export", run, target)
        assert code == 2 and f"{target}" in said and expected in said
    assert Path("there.safetensors").read_text() == "mine"
    code, said = launchbay("export", "runs")
    assert code == 2 and "runs is not a run folder" in said
    assert not list(Path.cwd().rglob("*it.safetensors"))


def test_the_file_says_nothing_of_the_machine(train: Train, launchbay: Verb) -> None:
    Path("my pictures").mkdir()
    for number in range(4):
        Image.new("RGB", (20, 20), (60 * number, 9, 9)).save(f"my pictures/{number}.png")
    options = ("--data", "folder", "--data-root", "my pictures", "--output-dir", "runs", "--patch", 16)
    run = train("reconstruct", *options, "--batch-size", 2, "--steps", 1)
    assert launchbay("export", run)[0] == 0
    known = metadata("it.safetensors")
    assert not any(word in str(known) for word in ("my pictures", "runs", str(Path.cwd())))
    assert json.loads(known["config"])["data"] == "folder"
    assert without_paths(
        {"a": "/x", "b": ["~/x"], "c": "timm/vit", "d": "x=hf-hub:a/b", "e": {"f": "a\\b"}, "g": 1}
    ) == {
        "c": "timm/vit",
        "d": "x=hf-hub:a/b",
        "g": 1,
    }


@pytest.mark.parametrize("target", ["it.pt", "it.tflite", "it.safetensors.gz", "no/run.zip"])
def test_another_kind_of_file_is_refused_before_any_work(launchbay: Verb, target: str) -> None:
    code, said = launchbay("export", "runs/none", target)
    assert code == 2 and f"{target}: export writes no {Path(target).suffix}" in said
    assert (".safetensors (weights), .onnx or .pt2 (a graph), or a folder" in said) != (target == "it.pt")


@pytest.mark.parametrize(
    "words",
    [
        ("it.ONNX", "--license", "mit"),
        ("it.safetensors", "--task", "toys:Single"),
        ("it.onnx", "--license", "mit"),
        ("it.pt2", "--push", "a/b"),
    ],
)
def test_what_a_kind_has_no_use_for_is_refused(train: Train, launchbay: Verb, words: tuple[str, ...]) -> None:
    code, said = launchbay("export", "runs/none", *words)
    assert code == 2 and f"{words[1]} {words[2]} changes nothing" in said


def test_a_licence_that_the_hub_does_not_know_is_refused(launchbay: Verb) -> None:
    code, said = launchbay("export", "runs/none", "out/", "--license", "apache-2")
    assert (
        code == 2 and "--license apache-2 is none that the Hugging Face hub knows; did you mean 'apache-2.0'?" in said
    )


def test_a_link_is_not_overwritten(train: Train, launchbay: Verb) -> None:
    Path("there.safetensors").symlink_to("nowhere")
    code, said = launchbay("export", train("Single"), "there.safetensors")
    assert code == 2 and "exists already" in said and Path("there.safetensors").is_symlink()


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a\\b", "evil\x1b[2J"])
def test_names_that_are_paths_are_refused(train: Train, launchbay: Verb, name: str) -> None:
    where = newest_checkpoint(train("Single") / "checkpoints")
    save_file(load_file(where / "model.safetensors") | {name: torch.zeros(1)}, where / "model.safetensors")
    found = {path.name: fingerprint(path) for path in where.iterdir() if path.name != "manifest.json"}
    (where / "manifest.json").write_text(json.dumps({"files": found, "seal": seal(found)}))
    code, said = launchbay("export", "runs/it")
    assert code == 2 and "has a tensor called" in said and "\x1b" not in said
    assert not Path("it.safetensors").exists()
