"""Nothing bad is kept: gradients, weights and state that are no numbers; and a run folder that goes away is missed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kept_toys
import pytest
import torch
from conftest import forget_accelerator, lines
from safetensors.torch import load_file

from launchbay.launch.checkpoint import storage
from launchbay.launch.train import main
from launchbay.models import checkpoints

Train = Callable[..., Path]
Mistake = Callable[..., str]
SAVED = Path("runs/it/checkpoints")


def status() -> str:
    return json.loads(Path("runs/it/summary.json").read_text())["status"]


@pytest.mark.parametrize(
    "options", [(), ("--accumulate", 2, "--ema", 0.5), ("--clip-norm", "None", "--precision", "bf16")]
)
def test_a_gradient_that_is_no_number_stops_before_the_weights_move(mistake: Mistake, options: tuple[Any, ...]) -> None:
    said = mistake("--task", "kept_toys:RootOfZero", "--run", "it", *options)
    assert "the gradient of 'model' is not finite at step 3: its norm is nan, though the loss is a number: root" in said
    assert "1 of 10 samples of the batch give such a gradient: picture 7" in said
    assert "runs/it/checkpoints/step-00000002 is from before: --resume runs/it and a new --run start from it" in said
    assert (SAVED / "last").read_text() == "step-00000002" and status() == "failed"
    file = "model.trained.safetensors" if "--ema" in options else "model.safetensors"
    saved = load_file(SAVED / "step-00000002" / file)
    for name, value in kept_toys.RootOfZero.made[0].state_dict().items():
        assert torch.equal(value, saved[name.removeprefix("model.")])


def test_of_two_networks_that_learn_from_one_loss_neither_moves(mistake: Mistake) -> None:
    """The first one's gradient is a number."""
    assert "the gradient of 'generator' is not finite at step 3" in mistake(
        "--task", "kept_toys:JointRoot", "--run", "it"
    )
    for name in ("generator", "discriminator"):
        saved = load_file(SAVED / f"step-00000002/{name}.safetensors")
        now = getattr(kept_toys.JointRoot.made[0], name).state_dict()
        assert all(torch.equal(value, saved[key]) for key, value in now.items())


def test_fp16_leaves_a_step_out_where_scaling_less_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from launchbay.launch.engine.finite import NotFinite, check_norms

    class Scaler:
        scale = 2.0

        def get_scale(self) -> float:
            return self.scale

    class Half:
        scaler = Scaler()

    one: Any = Half()
    given = ("model", {"mse": torch.tensor(1.0)}, {"model": torch.tensor(torch.inf)}, 1, one)
    check_norms(*given)
    monkeypatch.setattr(Scaler, "scale", 1.0)
    with pytest.raises(NotFinite):
        check_norms(*given)


@pytest.mark.parametrize(
    ("every", "said"),
    [
        (9, "step 1 is not saved: weight, bias of model.safetensors would be nan or infinite"),
        (1, "error is nan at step 1 step 1 cannot be saved: step 1 is not saved: weight, bias of model.safetensors"),
    ],
)
def test_weights_that_are_no_numbers_are_not_saved(mistake: Mistake, every: int, said: str) -> None:
    """A step may be too long for what a number can be; the next loss would be nan. Nothing promises a checkpoint."""
    options = ("--steps", 3, "--eval-every", every, "--max-time", "0.01s")
    assert said in mistake("--task", "toys:Single", "--run", "it", "--lr", "1e39", *options)
    assert not checkpoints.list_checkpoints(SAVED) and status() == "failed"


def test_what_is_infinite_from_the_start_may_be_saved(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    train("kept_toys:Masked", "--steps", 2, "--save-every", 1, "--eval-every", 9)
    said = mistake("--task", "kept_toys:Masked", "--run", "it", "--steps", 3, "--save-every", 1, "--eval-every", 9)
    assert "step 3 is not saved: last of task.safetensors would be nan or infinite" in said
    assert "continues from step 2" in said and (SAVED / "last").read_text() == "step-00000002"


def test_a_validation_that_fails_promises_what_holds(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "wrong_toys:FigureIsNaN"
    assert "step 2 is saved: the same command with --run it begins with its validation" in mistake(
        "--task", wrong, "--run", "it", "--steps", 2, "--eval-every", 2
    )
    assert checkpoints.verify(SAVED / "step-00000002").owes_validation


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("removed", "runs/it was removed"),
        ("moved", "/elsewhere"),
        ("emptied", "runs/it is not the same any more"),
        ("replaced", "runs/it is not the same any more"),
    ],
)
def test_a_run_folder_that_goes_away_is_missed(
    train: Train, mistake: Mistake, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    """With a checkpoint beside, from which another run ends as if nothing had happened."""
    whole = train("kept_toys:Loses").rename("runs/whole")
    monkeypatch.setattr(kept_toys.Loses, "how", staticmethod(getattr(kept_toys, how)))
    shown = mistake("--task", "kept_toys:Loses", "--run", "it")
    assert said in shown and "the run has ended after step 4, with a checkpoint in runs/it-rescued-step-4" in shown
    assert Path("runs/it").exists() == (how in ("replaced", "emptied"))
    if how == "replaced":
        assert {path.name: path.read_text() for path in Path("runs/it").iterdir()} == dict.fromkeys(
            kept_toys.ANOTHER, "another"
        )
    monkeypatch.setattr(kept_toys.Loses, "how", None)
    train("kept_toys:Loses", "--resume", "runs/it-rescued-step-4", "--run", "on")
    assert lines(Path("runs/on"), "val")[-1] == lines(whole, "val")[-1]


def test_a_run_folder_that_goes_away_before_the_first_step(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_toys.LosesEarly, "how", staticmethod(kept_toys.moved))
    said = mistake("--task", "kept_toys:LosesEarly", "--run", "it")
    assert "runs/it was moved to" in said and "elsewhere" in said and "Errno" not in said


def test_a_run_folder_that_goes_away_with_all_around_it(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_toys.Loses, "how", staticmethod(kept_toys.without_place))
    said = mistake("--task", "kept_toys:Loses", "--run", "it")
    assert "runs/it was removed: the run has ended after step 4, which could not be saved elsewhere" in said
    assert not Path("runs").exists()


def test_any_failure_of_the_saver_is_named_and_leaves_a_summary(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a bug of the saver")

    monkeypatch.setattr(storage, "save", fail)
    for options in (("--steps", "1"), ("--steps", "9", "--save-every", "1", "--eval-every", "9")):
        forget_accelerator()
        assert main(["--task", "toys:Single", "--run", "it", "--wandb", "off", *options]) == 1
        said = " ".join(capfd.readouterr().err.replace("│", " ").split())
        assert "KeyError" in said and "a bug of the saver" in said
        assert "the checkpoint of step 1 is not saved; earlier ones are intact" in said
        assert status() == "failed"


def test_of_checkpoints_that_are_as_good_the_newest_is_the_best(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from toys import Single

    monkeypatch.setattr(Single, "evaluate", lambda self, batch: {"error": torch.ones(len(batch))})
    run = train("Single", "--steps", 3, "--eval-every", 1)
    assert (run / "checkpoints/best").read_text() == "step-00000003"
    assert json.loads((run / "summary.json").read_text())["best"]["step"] == 3
