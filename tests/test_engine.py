"""The training loop: what it minimises, in which order, and the mistakes of task authors that it names."""

import json
import platform
import resource
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import difference, lines
from PIL import Image
from safetensors.torch import load_file
from toys import Gan, GanConfig, Noise, NoOptions, Single

from launchbay.data import key
from launchbay.data.loader import TrainingOrder, fetch
from launchbay.launch.config.options import OptimizationOptions
from launchbay.launch.engine.batches import to_batch
from launchbay.launch.engine.optimizers import create

Train = Callable[..., Path]
Launchbay = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]


def test_a_gan_trains_both_networks_in_turn(train: Train) -> None:
    run = train("Gan", "--steps", 3)
    first = lines(run, "train")[0]
    assert {"discriminator/real", "discriminator/fake", "generator/adversarial"} <= first.keys()
    files = {path.name for path in (run / "checkpoints/step-00000003").iterdir()}
    assert files == {
        "generator.safetensors", "discriminator.safetensors", "optimizers.safetensors", "state.json", "manifest.json",
    }  # fmt: skip


def test_the_second_loss_sees_the_first_step_taken(train: Train) -> None:
    """What the engine logs at step 1 equals the alternating algorithm written out by hand."""
    run = train("Gan", "--steps", 1, "--clip-norm", "None")
    torch.manual_seed(key(0, "weights"))
    task = Gan(GanConfig())
    order = TrainingOrder(size=12, batch_size=8, steps=range(1), seed=0)
    samples = fetch(Noise(12), next(iter(order)))
    optimizers = {n: torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999)) for n, net in task.networks().items()}
    expected = {}
    for name, terms in task.training_step(to_batch(samples, torch.device("cpu"))):
        loss = torch.stack(tuple(terms.values())).sum()
        gradients = torch.autograd.grad(loss, list(task.networks()[name].parameters()), retain_graph=True)
        for parameter, gradient in zip(task.networks()[name].parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizers[name].step()
        expected |= {f"{name}/{term}": value.item() for term, value in terms.items()}
    first = lines(run, "train")[0]
    assert {name: first[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    weights = load_file(run / "checkpoints/step-00000001/generator.safetensors")
    assert torch.allclose(weights["0.weight"], task.generator.state_dict()["0.weight"], rtol=1e-5, atol=1e-7)


def test_a_loss_falls(train: Train) -> None:
    losses = [line["model/mse"] for line in lines(train("Single", "--steps", 30, "--lr", 0.02), "train")]
    assert losses[-1] < losses[0] / 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_memory_is_not_fetched_anew_at_each_step(train: Train) -> None:
    train("Single", "--steps", 1)
    fetched, before = [], 0
    for _ in range(12):
        held = [torch.ones(6 * 2**20) for _ in range(4)]  # 96 MiB: 24,576 pages, or 48 large ones
        del held
        now = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        fetched, before = [*fetched, now - before], now
    assert statistics.median(fetched) < 32


def test_accumulation_does_not_change_the_result(train: Train) -> None:
    whole = train("Single", "--precision", "fp64").rename("whole")
    parts = train("Single", "--precision", "fp64", "--accumulate", 2).rename("parts")
    assert difference(whole, parts) < 1e-12


def test_batchnorm_of_parts_is_said_and_of_one_sample_refused(
    train: Train, mistake: Mistake, capfd: pytest.CaptureFixture[str]
) -> None:
    train("kept_toys:Normalised", "--accumulate", 2)
    assert "BatchNorm takes its statistics of 2 samples, not of 4 (--accumulate 2)" in capfd.readouterr().out
    train("kept_toys:Normalised", "--steps", 4, "--run", "whole")
    assert "takes its statistics" not in capfd.readouterr().out
    said = mistake("--task", "kept_toys:Normalised", "--accumulate", 4)
    assert "statistics of one sample" in said and "--batch-size of 4, 1 process, --accumulate 4" in said


def test_the_same_seed_gives_the_same_run_and_another_seed_another(train: Train) -> None:
    runs = [train("Dropout", "--seed", seed).rename(f"run-{number}") for number, seed in enumerate((1, 1, 2))]
    assert difference(runs[0], runs[1]) == 0
    assert difference(runs[0], runs[2]) > 1e-4


def test_workers_do_not_change_the_result(train: Train) -> None:
    runs = [train("superres", "--model", "espcn", "--steps", 3, "--workers", n).rename(f"workers-{n}") for n in (0, 2)]
    assert difference(*runs) == 0


def test_the_learning_rate_warms_up_and_follows_its_schedule(train: Train) -> None:
    run = train("Single", "--steps", 10, "--warmup", 2, "--lr", 1, "--schedule", "linear", "--clip-norm", 1e-9)
    rates = [line["lr"] for line in lines(run, "train")]
    assert rates == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_the_first_step_is_as_long_as_the_learning_rate_says(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """Adam's first step moves every weight by the learning rate, here a tenth of --lr."""
    moved = train("Single", "--steps", 1, "--warmup", 10, "--lr", 0.01)
    assert "--warmup 10 is longer than this training: it ends at 10 % of --lr" in capfd.readouterr().out
    torch.manual_seed(key(0, "weights"))
    start = Single(NoOptions()).model.state_dict()["weight"]
    end = load_file(moved / "checkpoints/step-00000001/model.safetensors")["weight"]
    assert (end - start).abs().max().item() == pytest.approx(0.001, rel=1e-3)


def test_epochs_count_passes_through_the_data(train: Train) -> None:
    run = train("Single", "--epochs", 2)  # 10 samples, 4 a batch
    last = lines(run)[-1]
    assert (last["step"], last["epoch"]) == (5, 2.0)


def test_the_best_checkpoint_is_kept_and_named(train: Train) -> None:
    rough = ("--lr", 2, "--clip-norm", "None", "--schedule", "constant")
    run = train("Single", "--steps", 40, *rough, "--eval-every", 1, "--keep", 1)
    errors = {line["step"]: line["error"] for line in lines(run, "val")}
    best = min(errors, key=lambda step: errors[step])
    summary = json.loads((run / "summary.json").read_text())
    assert best < 40, "this test needs a run that gets worse at its end"
    assert summary["best"] == {"step": best, "error": errors[best]}
    assert (run / "checkpoints/best").read_text() == f"step-{best:08d}"
    kept = {path.name for path in (run / "checkpoints").glob("step-*")}
    assert kept == {f"step-{best:08d}", "step-00000040"}


def test_evaluation_is_the_mean_over_samples_for_any_batch_size(train: Train) -> None:
    runs = [
        train("Single", "--precision", "fp64", "--steps", 1, "--batch-size", n).rename(f"batch-{n}") for n in (3, 4)
    ]
    # The one step differs, so only what comes before it can agree: compare with the network of each run.
    for run in runs:
        weights = load_file(run / "checkpoints/step-00000001/model.safetensors")
        pictures = Noise(5).pixels.double() / 255
        output = torch.nn.functional.conv2d(pictures, weights["weight"], weights["bias"], padding=1)
        expected = (output - pictures).square().mean().item()
        assert lines(run, "val")[0]["error"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("precision", ["bf16", "fp64"])
def test_precision(train: Train, precision: str) -> None:
    run = train("Single", "--precision", precision)
    weights = load_file(run / "checkpoints/step-00000003/model.safetensors")
    assert weights["weight"].dtype == (torch.float64 if precision == "fp64" else torch.float32)


def test_a_precision_that_this_device_does_not_compute_in_is_refused(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU autocast leaves fp16 out without a word: it would be fp32 under that name."""
    assert "fp16 is for GPUs" in mistake("--task", "toys:Single", "--precision", "fp16")
    for told, said in (("fp16", "fp16 is for GPUs"), ("fp8", "accelerate was told fp8, which launchbay does not")):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
        shown = mistake("--task", "toys:Single")
        assert said in shown and "→ bf16, or fp32: --precision, or accelerate's --mixed_precision" in shown
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "to accumulate gradients of 4 steps, --accumulate says 1"),
        ("ACCELERATE_USE_FSDP", "true", "accelerate was told to use FSDP"),
        ("CXX", "no-such-compiler", "need a compiler of C++, and there is none here → install g++"),
    ],
)
def test_what_would_not_be_done_as_told_is_refused(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert said in mistake("--task", "toys:Single", *(["--compile"] if variable == "CXX" else []))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("Returns", "has to yield its losses"),
        ("YieldsWithoutGradient", "inside torch.no_grad()"),
        ("ReachesNothing", "depends on no parameter of 'generator'"),
        ("Detached", "depends on no parameter of 'model'"),
        ("YieldsPictures", "the loss of 'model' has shape (4, 3, 8, 8)"),
        ("Misnames", "yielded a loss for 'modle', but its networks are model"),
        ("EvaluatesBatches", "returns a tensor of () as 'error'"),
        ("WrongShape", "gives a tensor of (1, 3, 94, 94) for a tensor of (1, 3, 96, 96), but the target is"),
        ("Collides", "declares --seed, which all tasks share"),
        ("ListsDefaults", "ListsDefaults.defaults is a list, not a dict, at"),
        ("DefaultIsText", "DefaultIsText.defaults: steps '3' has to be a valid integer"),
        ("DefaultIsNoChoice", "DefaultIsNoChoice.defaults: schedule 'poly' has to be 'cosine', 'linear' or 'constant'"),
        ("NoDefault", "RequiredOptions has no default for size"),
        ("ForgetsSuper", "in ForgetsSuper.__init__ → make super().__init__(config) its first line"),
        ("ForgetsSuperOfNone", "ForgetsSuperOfNone.__init__ does not begin with that of Task, at "),
        ("NoNetwork", "NoNetwork.__init__ sets no network, at"),
        ("YieldsNoName", "YieldsNoName.training_step yields a dict as its losses, at"),
        ("YieldsNothing", "YieldsNothing.training_step has yielded no loss for model at step 1"),
        ("LeavesOneOut", "has yielded no loss for generator at step 1 → yield 'generator', {'l1': loss}, once per"),
        ("YieldsNoTerms", "yields ('model', {})"),
        ("YieldsOneTensor", "yields a tensor of () under 'model'"),
        ("Unfinished", "wrong_toys:Unfinished has no training_step"),
        ("PreviewsWithoutChannels", "the picture 'error' has shape (8, 8), but C×H×W can be drawn"),
        ("PreviewsTooMany", "PreviewsTooMany.preview gives 'twice' as (2, 3, 8, 8) for one sample"),
        ("StacksGallery", "the picture 'all' has shape (2, 3, 8, 8)"),
        ("FigureIsNaN", "→ lower --lr if the losses grew before; otherwise look at how"),
    ],
)
def test_mistakes_of_task_authors_are_named(mistake: Mistake, task: str, said: str) -> None:
    assert said in mistake("--task", f"wrong_toys:{task}", "--steps", 2)


def test_what_is_given_to_an_optimizer_wins_over_what_a_task_sets() -> None:
    options = OptimizationOptions(optimizer="muon", optimizer_options=("momentum=0.5", "nesterov=true", "eps=1e-5"))
    own = {"momentum": 0.1, "betas": (0.5, 0.999)}
    (group,) = create(options, [torch.zeros(4, 4, requires_grad=True)], own).param_groups
    assert [group[name] for name in ("momentum", "nesterov", "eps", "betas")] == [0.5, True, 1e-5, (0.5, 0.999)]


@pytest.mark.parametrize("task", ["StrangeOptimizer", "ListsOptimizer"])
def test_an_optimizer_that_cannot_be_saved_is_refused_before_a_step_is_lost(mistake: Mistake, task: str) -> None:
    assert "cannot be saved as tensors and JSON" in mistake("--task", f"wrong_toys:{task}")
    assert not Path("runs").exists()


def test_a_mistake_in_a_loss_names_the_line_that_yielded_it(mistake: Mistake) -> None:
    assert "in Misnames.training_step" in mistake("--task", "wrong_toys:Misnames")


def test_cuda_graphs_are_refused_where_they_would_go_wrong(mistake: Mistake) -> None:
    said = mistake("--task", "dcgan", "--cuda-graphs")
    assert "the device is cpu, the task has 2 networks" in said and "--compile" in said


def test_accumulation_with_two_networks_is_refused(mistake: Mistake) -> None:
    assert "--accumulate 2 with 2 networks (generator, discriminator)" in mistake(
        "--task", "toys:Gan", "--accumulate", 2
    )
    assert not Path("runs").exists()


@pytest.mark.usefixtures("with_curves")
def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(mistake: Mistake) -> None:
    said = mistake("--task", "wrong_toys:TurnsNaN", "--steps", 9, "--save-every", 1, "--run", "nan")
    assert "the loss of 'model' is not finite at step 4: mse = nan, zero = 0" in said
    assert Path("runs/nan/checkpoints/last").read_text() == "step-00000003"
    assert json.loads(Path("runs/nan/summary.json").read_text())["status"] == "failed"
    assert Path("runs/nan/curves.png").is_file()


@pytest.mark.parametrize(
    ("task", "kind", "place"),
    [
        ("Fails", "ZeroDivisionError", 'in training_step: raise ZeroDivisionError("a bug'),
        ("CannotBeBuilt", "ValueError", "in __init__: self.model = nn.Conv2d(3, 4, 3, groups=2)"),
    ],
)
def test_a_bug_is_a_panel_with_its_place_and_exit_code_1(
    capfd: pytest.CaptureFixture[str], task: str, kind: str, place: str
) -> None:
    from launchbay.launch.train import main

    assert main(["--task", f"wrong_toys:{task}", "--wandb", "off"]) == 1
    error = capfd.readouterr().err
    shown = " ".join(error.replace("│", " ").split())
    assert kind in shown and "wrong_toys.py:" in shown and place in shown
    assert error.count("╭") == 1 and "Traceback" not in error
    assert main(["--task", f"wrong_toys:{task}", "--wandb", "off", "--debug"]) == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_figures_of_the_whole_set_see_each_sample_once_in_order(train: Train, batch_size: int) -> None:
    run = train("Noticing", "--batch-size", batch_size, "--steps", 1)
    corners = Noise(5).pixels[:, :, 0, 0].double() / 255
    expected = (torch.arange(1, 16).view(5, 3) * corners).sum().item()
    figures = lines(run, "val")[0]
    assert figures["samples"] == 5 and figures["in_order"] == pytest.approx(expected, rel=1e-6)
    with Image.open(run / "samples/step-00000001-corners.png") as picture:
        assert picture.size == (5, 1)


def test_averaged_weights_are_evaluated_and_saved(train: Train) -> None:
    """The average starts at the first step's weights and then follows by a half; figures and files are of it."""
    run = train("Single", "--ema", 0.5, "--steps", 4, "--save-every", 1, "--eval-every", 1, "--keep", 9, "--lr", 0.1)
    steps = [run / f"checkpoints/step-{step:08d}" for step in range(1, 5)]
    trained = [load_file(step / "model.trained.safetensors")["weight"] for step in steps]
    expected = trained[0]
    for step, weights in zip(steps, trained, strict=True):
        expected = (expected + weights) / 2
        averaged = load_file(step / "model.safetensors")
        assert torch.allclose(averaged["weight"], expected, atol=1e-6)
        output = torch.nn.functional.conv2d(Noise(5).pixels / 255, averaged["weight"], averaged["bias"], padding=1)
        error = (output - Noise(5).pixels / 255).square().mean().item()
        line = lines(run, "val")[steps.index(step)]
        assert line["error"] == pytest.approx(error, rel=1e-5)
    run = run.rename("averaged")
    plain = train("Single", "--steps", 4, "--lr", 0.1)
    assert [line["model/mse"] for line in lines(plain, "train")] == [
        line["model/mse"] for line in lines(run, "train")
    ], "averaging does not touch the training"


def test_a_run_that_gets_no_better_ends_early(train: Train, launchbay: Launchbay, mistake: Mistake) -> None:
    """With its checkpoint, as one that was stopped on the way; more patience goes on to the same bits."""
    whole = train("Turns", "--patience", 9).rename("runs/whole")
    assert lines(whole, "val")[-1]["step"] == 9
    run = train("Turns", "--patience", 2)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["best"]["step"]) == ("done", 5, 3)
    assert (run / "checkpoints/last").read_text() == "step-00000005"
    train("Turns", "--patience", 2)
    assert lines(run, "val")[-1]["step"] == 5, "it is finished"
    train("Turns", "--patience", 4)
    assert lines(run, "val")[-1]["step"] == 7
    train("Turns")
    assert launchbay("compare", whole, run)[1].endswith("tensors"), "the same but for --patience"
    assert "names no figure to go by" in mistake("--task", "toys:Aimless", "--patience", 1)


def test_what_is_infinite_stays_so_in_the_average(train: Train) -> None:
    run = train("kept_toys:Masked", "--ema", 0.5, "--steps", 2)
    mask = load_file(run / "checkpoints/step-00000002/model.safetensors")["mask"]
    assert torch.equal(mask, torch.full((8, 8), -torch.inf).triu(1))


def test_a_profile_says_where_the_time_goes(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    run = train("Gan", "--steps", 9, "--profile", 3)
    said = capfd.readouterr().out
    assert "3 steps" in said and all(phase in said for phase in ("data", "forward", "backward", "optimizer", "rest"))
    events = json.loads((run / "profile.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "backward" for event in events) == 3 * 2  # two networks
