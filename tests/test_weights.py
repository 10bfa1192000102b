"""Weights to start from (--weights), and parts that do not learn (--freeze)."""

import copy
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import pytest
import timm
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toys import Gan, GanConfig, Single

from launchbay import UserError
from launchbay.launch.config.options import StartOptions
from launchbay.launch.engine import start
from launchbay.launch.engine.freeze import Freeze
from launchbay.launch.engine.parts import listed, selects
from launchbay.launch.engine.start import find_all, start_from_weights
from launchbay.models.weights import Weights, read_weights
from launchbay.tasks import Losses, Task
from launchbay.tasks.base import Batch

Train = Callable[..., Path]
Mistake = Callable[..., str]
STILL = ("--lr", 1e-30)
"""A rate at which no weight moves."""


@dataclass(frozen=True)
class TunedConfig:
    classes: int = 2
    """Outputs of the head."""


class Tuned(Single):
    """A network of two parts, the first with what is another thing in training: BatchNorm and Dropout."""

    defaults: ClassVar = {**Single.defaults, "steps": 4, "eval_every": 4, "save_every": 1, "keep": 9, "lr": 0.1}
    config_type: ClassVar = TunedConfig

    def __init__(self, config: TunedConfig):
        Task.__init__(self, config)
        encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.model = nn.Sequential()
        self.model.add_module("encoder", encoder)
        self.model.add_module("head", nn.Conv2d(4, config.classes, 1))

    def training_step(self, batch: Batch) -> Losses:
        yield "model", {"mse": self.model(batch.image).square().mean()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": self.model(batch.image).square().mean(dim=(1, 2, 3))}


def weights_of(run: Path, step: int, network: str = "model") -> dict[str, Tensor]:
    return load_file(run / f"checkpoints/step-{step:08d}/{network}.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor], part: str = "") -> bool:
    names = [name for name in first if name.startswith(part)]
    assert names
    return all(torch.equal(first[name], second[name]) for name in names)


def test_a_run_starts_from_the_best_weights_of_another(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """Also with another task and an average; it goes on with its own."""
    first = train("Single", "--ema", 0.5).rename("runs/first")
    best = (first / "checkpoints/best").read_text()
    command = ("Brighten", "--weights", first, "--ema", 0.9, *STILL)
    run = train(*command, "--steps", 1)
    assert f"weights of model: 2 tensors of runs/first/checkpoints/{best}" in capfd.readouterr().out
    assert same(load_file(first / f"checkpoints/{best}/model.safetensors"), weights_of(run, 1))
    assert yaml.safe_load((run / "config.yaml").read_text())["weights"] == ["runs/first"]
    train(*command, "--steps", 2)
    said = capfd.readouterr().out
    assert "continues from step 1" in said and "weights of" not in said
    assert same(weights_of(run, 1), weights_of(run, 2))


def test_a_damaged_checkpoint_is_not_started_from(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    first = train("Single", "--save-every", 1).rename("runs/first")
    newest = first / "checkpoints/step-00000003"
    (first / "checkpoints/best").write_text(newest.name)
    (newest / "model.safetensors").write_bytes(b"")
    assert "is not what was written" in mistake("--task", "toys:Single", "--weights", newest)
    train("Single", "--weights", first, *STILL)
    said = capfd.readouterr().out
    assert "damaged checkpoint, taking the one before" in said
    assert "weights of model: 2 tensors of runs/first/checkpoints/step-00000002" in said


def test_what_does_not_fit_is_listed_and_may_be_left_out(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    train("test_weights:Tuned", "--steps", 1).rename("runs/first")
    command = ("test_weights:Tuned", "--weights", "runs/first", "--classes", 5)
    said = mistake("--task", *command)
    assert "does not fit 'model': they have 7 of the 9 tensors that it needs" in said
    assert "of another shape (2): head.weight 2×4×1×1 instead of 5×4×1×1, head.bias 2 instead of 5" in said
    assert "--weights-except head leaves out what is named" in said
    said = mistake("--task", *command, "--weights-except", "head", "haed")
    assert "--weights-except haed: there is nothing of that name" in said
    assert "without --weights" in mistake("--task", "test_weights:Tuned", "--weights-except", "head")
    run = train(*command, "--weights-except", "head", "--steps", 1, *STILL)
    said = capfd.readouterr().out
    assert "7 tensors of runs/first/checkpoints/step-00000001; left as initialised: head (weight, bias)" in said
    assert same(weights_of(Path("runs/first"), 1), weights_of(run, 1), "encoder.0")
    assert "does not fit 'model': they have 0 of the 8" in mistake(
        "--task", *command[:2], "--weights", one_file({"x": torch.ones(1)})
    )


def test_parts_are_named_with_their_network_or_without() -> None:
    names = ("model.head.weight", "head.weight")
    assert all(selects(part, *names) for part in ("model", "model.head", "head", "head.*", "*d.*", "head.weight"))
    assert not any(selects(part, *names) for part in ("hea", "weight", "mode", "encoder*"))
    assert (
        listed(f"{module}.weight" for module in "abcdef") == "a (weight), b (weight), c (weight), d (weight) and 2 more"
    )


def one_file(content: object, name: str = "file.pth") -> Path:
    torch.save(content, name)
    return Path(name)


def test_files_of_others_are_read_as_tensors_and_nothing_else() -> None:
    state = {"a.weight": torch.ones(2), "b": torch.zeros(1)}
    save_file(state, "file.safetensors")
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    trained = {"params": wrapped, "params_ema": state, "optimizer": {"state": {}, "param_groups": []}}
    sources: list[tuple[Path, str]] = [
        (Path("file.safetensors"), ""),
        (one_file(state, "plain.pth"), ""),
        (one_file({"state_dict": wrapped, "epoch": 3}, "x.ckpt"), "under 'state_dict' in the file, beside epoch"),
        (one_file(trained, "x.pth"), "under 'params_ema' in the file, beside params, optimizer"),
        (one_file({"net_g": state}, "x.pt"), "under 'net_g'"),
        (one_file({**state, "epoch": 3}, "y.pt"), "no tensors, and not used: epoch"),
        (one_file(wrapped, "z.bin"), "'module.' taken off the names; '_orig_mod.' taken off the names"),
    ]
    for file, note in sources:
        found = read_weights(str(file))
        assert note in "; ".join(found.notes), file
        assert found.networks[""].keys() == state.keys(), file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (nn.Linear(1, 1), "cannot be read as tensors alone (UnpicklingError)"),
        (
            {"net_g": {"w": torch.ones(1)}, "net_d": {"w": torch.ones(1)}},
            "holds net_g, net_d: which of these is meant?",
        ),
        ({"epoch": 3}, "holds epoch: no tensors by name"),
        ([torch.ones(1)], "holds a list, no tensors by name"),
    ],
)
def test_a_file_of_anything_else_is_refused(content: object, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_weights(str(one_file(content)))
    assert said in refused.value.message


def test_weights_that_are_no_numbers_are_refused(mistake: Mistake) -> None:
    state = nn.Conv2d(3, 3, 3).state_dict()
    state["bias"][1] = float("nan")
    assert "file.pth: bias has nan or infinite values" in mistake("--task", "toys:Single", "--weights", one_file(state))
    Path("cut.safetensors").write_bytes(b"123")
    assert "cut.safetensors is not a safetensors file" in mistake(
        "--task", "toys:Single", "--weights", "cut.safetensors"
    )
    Path("weights.txt").touch()
    assert "no kind of file that holds weights" in mistake("--task", "toys:Single", "--weights", "weights.txt")
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_with_several_networks_it_is_said_which_gets_what(
    train: Train, launchbay: Callable[..., tuple[int, str]]
) -> None:
    first = train("Gan", "--steps", 1).rename("runs/first")
    saved = {name: weights_of(first, 1, name) for name in ("generator", "discriminator")}
    save_file(saved["generator"], "g.safetensors")
    assert launchbay("export", first, "both.safetensors")[0] == 0

    def load(*weights: str, frozen: bool = False) -> tuple[list[str], list[str]]:
        torch.manual_seed(1)
        task = Gan(GanConfig())
        if frozen:
            task.teacher = copy.deepcopy(task.generator).requires_grad_(False)
        said = start_from_weights(task, {}, StartOptions(weights=weights))
        return said, [name for name in saved if same(saved[name], task.get_submodule(name).state_dict())]

    assert load("runs/first")[1] == load("both.safetensors")[1] == ["generator", "discriminator"]
    said, loaded = load("generator=runs/first")
    assert said[0] == "weights of generator: 2 tensors of runs/first/checkpoints/step-00000001"
    assert said[1:] == ["left as initialised: discriminator"] and loaded == ["generator"]
    assert load("runs/first", frozen=True)[0][-1] == "frozen, and left as the task makes it: teacher"
    assert load("generator=g.safetensors")[1] == ["generator"]
    for weights, message in {
        ("g.safetensors",): "could be for generator or discriminator",
        ("generator=g.safetensors", "runs/first"): "are both for 'generator'",
        ("generater=g.safetensors",): "no part 'generater'; did you mean 'generator'?",
        ("generator.0=runs/first",): "no network 'generator.0', but",
    }.items():
        with pytest.raises(UserError) as refused:
            load(*weights)
        assert message in refused.value.message


def test_published_weights_go_to_the_network_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a classifier of other classes, and brought to other channels."""
    published: Any = timm.create_model("test_resnet")

    class Grey(Single):
        def __init__(self) -> None:
            Task.__init__(self, TunedConfig())
            encoder = timm.create_model("test_resnet", in_chans=1, num_classes=3)
            self.model = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(3, 1)})

    task = Grey()
    found = Weights("timm/test_resnet", {"": published.state_dict()}, published=True)
    monkeypatch.setattr(start, "read_weights", lambda _: found)
    options = StartOptions(weights=("timm/test_resnet",))
    said, *_ = start_from_weights(task, {}, options)
    first, classifier = published.pretrained_cfg["first_conv"], published.pretrained_cfg["classifier"]
    assert find_all(task, options, {})[0] == ["model.encoder"]
    assert f"{first}.weight brought from 3 to 1 channels" in said
    assert f"left as initialised: {classifier} (weight, bias)" in said
    loaded, whole = task.get_submodule("model.encoder").state_dict(), dict(published.state_dict())
    assert torch.allclose(loaded[f"{first}.weight"], whole[f"{first}.weight"].sum(dim=1, keepdim=True))
    rest = [name for name in whole if not name.startswith((first, classifier))]
    assert all(torch.equal(loaded[name], whole[name]) for name in rest)


def test_layers_that_share_weights_may_come_once() -> None:
    class Tied(Single):
        def __init__(self) -> None:
            Task.__init__(self, TunedConfig())
            first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            second.weight = first.weight
            self.model = nn.Sequential(first, second)

    task = Tied()
    options = StartOptions(weights=(str(one_file({"0.weight": torch.ones(2, 2)})),))
    assert start_from_weights(task, {}, options) == ["weights of model: 1 tensor of file.pth"]
    assert task.get_submodule("model.1").state_dict()["weight"].eq(1).all()


FROZEN = ("test_weights:Tuned", "--freeze", "encoder", "--freeze-for", 2, "--optimizer", "adamw", "--weight-decay", 0.1)


def test_what_is_frozen_neither_moves_nor_decays_nor_counts(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(*FROZEN)
    assert "frozen for the first 2 steps: encoder (4 of 6 tensors" in capfd.readouterr().out
    one, two, three = (weights_of(run, step) for step in (1, 2, 3))
    assert same(one, two, "encoder") and not same(one, two, "head")
    assert one["encoder.1.num_batches_tracked"] == 0, "BatchNorm is in evaluation mode"
    for name in ("0.weight", "1.bias", "1.running_mean"):
        assert not torch.equal(two[f"encoder.{name}"], three[f"encoder.{name}"]), name
    begun = [load_file(run / f"checkpoints/step-{step:08d}/optimizers.safetensors") for step in (2, 3)]
    assert not [name for name in begun[0] if "encoder" in name]
    assert begun[1]["model.encoder.0.weight.step"] == 1 and begun[1]["model.head.weight.step"] == 3


@pytest.mark.parametrize("kept", [1, 2])
def test_a_run_goes_on_bit_for_bit_within_the_freeze_and_after(train: Train, kept: int) -> None:
    whole = train(*FROZEN)
    last, optimizers = weights_of(whole, 4), whole / "checkpoints/step-00000004/optimizers.safetensors"
    before = load_file(optimizers)
    for step in range(kept + 1, 5):
        shutil.rmtree(whole / f"checkpoints/step-{step:08d}")
    run = train(*FROZEN)
    assert same(last, weights_of(run, 4)) and same(before, load_file(optimizers))


def test_a_part_may_be_frozen_for_good(train: Train) -> None:
    run = train("test_weights:Tuned", "--freeze", "model.encoder", "--weight-decay", 0.1)
    assert same(weights_of(run, 1), weights_of(run, 4), "encoder") and not same(weights_of(run, 1), weights_of(run, 4))
    run.rename("runs/other")
    run = train("Gan", "--freeze", "discriminator.0", "generator.*.weight", "--save-every", 1)
    for network, frozen, other in (("discriminator", "0", "3"), ("generator", "0.weight", "0.bias")):
        first, last = (weights_of(run, step, network) for step in (2, 4))
        assert same(first, last, frozen) and not same(first, last, other), network


def test_a_whole_network_may_be_frozen_for_a_while(train: Train) -> None:
    run = train("Gan", "--freeze", "generator", "--freeze-for", 2, "--save-every", 1, "--keep", 9)
    generator = [weights_of(run, step, "generator") for step in (1, 2, 3)]
    assert same(generator[0], generator[1]) and not same(generator[1], generator[2])


def test_a_freeze_that_means_nothing_is_refused() -> None:
    for options, message in {
        StartOptions(freeze=("generater",)): "no network has a part of that name; did you mean 'generator'?",
        StartOptions(freeze=("generator",)): "leaves nothing of 'generator' to train",
        StartOptions(freeze=("generator",), freeze_for=9): "leaves nothing of 'generator' to train in 9 steps",
        StartOptions(freeze_for=3): "--freeze-for 3 changes nothing without --freeze",
    }.items():
        with pytest.raises(UserError) as refused:
            Freeze(Gan(GanConfig()).networks(), options, 9)
        assert message in refused.value.message


def test_the_hub_gives_whichever_file_a_repository_has(monkeypatch: pytest.MonkeyPatch) -> None:
    file = one_file({"weight": torch.ones(1)}, "pytorch_model.bin")

    def download(repository: str, name: str, revision: str | None) -> str:
        if (repository, name, revision) == ("someone/network", file.name, "v2"):
            return str(file)
        raise LocalEntryNotFoundError(f"no {name} and no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = read_weights("hf-hub:someone/network@v2")
    assert found.published and list(found.networks[""]) == ["weight"]
    with pytest.raises(UserError, match="of hf-hub:someone/else cannot be downloaded: no model") as refused:
        read_weights("hf-hub:someone/else")
    assert "--weights FILE" in refused.value.hint


@pytest.mark.parametrize("kind", ["meta", "sparse", "complex", "float8", "packed"])
def test_tensors_that_are_no_weights_are_refused(mistake: Mistake, kind: str) -> None:
    bias = torch.zeros(3)
    odd = {
        "meta": bias.to("meta"),
        "sparse": bias.to_sparse(),
        "complex": bias.to(torch.complex64),
        "float8": bias.to(torch.float8_e5m2),
        "packed": bias,
    }
    torch.save({"weight": torch.zeros(3, 3, 3, 3), "bias": odd[kind]}, "odd.pth")
    if kind == "packed":  # a thousand times as large as it looks
        with zipfile.ZipFile("odd.pth") as plain, zipfile.ZipFile("packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
        Path("packed.pth").rename("odd.pth")
    said = mistake("--task", "toys:Single", "--weights", "odd.pth")
    assert "odd.pth" in said and ("bias" in said or "cannot be read as tensors alone" in said)


def test_a_run_is_found_by_its_name(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """In --output-dir, as --run has it; where a run here has that name it is meant."""
    where = ("--output-dir", "mine")
    train("Single", *where, "--steps", 4)
    Path("mine/it").rename("mine/first")
    train("Single", *where, "--weights", "model=first", "--steps", 4)
    assert "of mine/first/checkpoints/step-00000004" in capfd.readouterr().out
    Path("mine/it").rename("mine/second")
    train("Single", *where, "--resume", "second", "--steps", 6)
    assert "continues from step 4: mine/second/checkpoints/step-00000004" in capfd.readouterr().out
