"""What a run leaves behind, opened file by file, after the command of the README (shortened)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import ROOT, Command, difference, forget_accelerator, lines, wandb_rows
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from launchbay import UserError
from launchbay.data.photos import Photos
from launchbay.launch.commands.evaluate import Named, evaluate_run
from launchbay.launch.record.figures import Figures
from launchbay.launch.record.log import log
from launchbay.launch.record.progress import results
from launchbay.launch.train import main
from launchbay.models.checkpoints import verify

LAUNCHBAY = Path(sys.executable).parent / "launchbay"
STEPS = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", ROOT / "accelerate_configs/cpu.yaml"]
    options = ["--steps", STEPS, "--eval-every", 4, "--keep", 1, "--width", 8, "--blocks", 1, "--patch", 24]
    argv = [str(word) for word in [*launch, ROOT / "launch/run.py", "--task", "superres", *options]]
    environment = {**os.environ, "HF_HOME": str(folder / "hf")}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder / "runs/superres-1"


def test_the_output_tells_what_runs_where_and_how_well(run: Path) -> None:
    output = (run.parents[1] / "output.txt").read_text()
    assert f"superres on photos: {STEPS} steps of 16 samples, 1 process (cpu" in output
    assert "for your own: --data DIR" in output
    assert "--width 8  (command line; default None)" in output
    assert f"step {STEPS}/{STEPS}  val" in output
    assert "network" in output and "bicubic" in output and "psnr_y" in output
    assert "everything is in runs/superres-1" in output
    assert "Warning" not in output and "Traceback" not in output


def test_metrics(run: Path) -> None:
    assert [line["step"] for line in lines(run, "train")] == [1, 10, STEPS]
    assert [line["step"] for line in lines(run, "val")] == [4, 8, STEPS]
    assert {"step", "epoch", "split", "model/l1", "model/grad_norm", "lr", "samples_per_s"} == lines(run, "train")[
        0
    ].keys()


def test_summary(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    last = lines(run, "val")[-1]
    assert (summary["task"], summary["data"], summary["status"]) == ("superres", "photos", "done")
    assert (summary["step"], summary["world_size"], summary["device"]) == (STEPS, 1, "cpu")
    assert summary["final"]["psnr_y"] == last["psnr_y"]
    assert summary["baseline"]["psnr_y"] == last["baseline/psnr_y"] == pytest.approx(30.139, abs=0.01)
    assert {"launchbay", "torch", "accelerate", "python"} == summary["versions"].keys()


def test_sample_grids_and_curves(run: Path) -> None:
    """Samples from before the first step on; at the first what is trained on, at the last the worst and the best."""
    names = {path.name.removeprefix("step-").removesuffix(".png") for path in (run / "samples").iterdir()}
    assert names == {f"{step:08}" for step in (0, 4, 8, 12)} | {"00000000-training", "00000012-worst", "00000012-best"}
    grids = [f"step-{step:08}.png" for step in (4, 8, 12)]
    with Image.open(run / "samples" / grids[-1]) as grid:
        assert grid.width > 4 * 192 and grid.height > 6 * 192  # four columns of six samples, each enlarged to 192
    with Image.open(run / "curves.png") as curves:
        assert curves.width > 400


def test_checkpoints(run: Path) -> None:
    last = run / "checkpoints" / (run / "checkpoints/last").read_text()
    state = verify(last)
    assert last.name == "step-00000012" and (state.step, state.samples) == (STEPS, STEPS * 16)
    weights = load_file(last / "model.safetensors")
    moments = load_file(last / "optimizers.safetensors")
    assert weights["head.weight"].shape == (8, 3, 3, 3)
    assert moments["model.head.weight.exp_avg"].shape == (8, 3, 3, 3)
    assert moments["model.head.weight.step"].item() == STEPS
    assert {path.name for path in (run / "checkpoints").iterdir()} <= {
        "last",
        "best",
        last.name,
        f"step-{round(state.progress.best['step']):08d}",
    }


def test_the_configuration_goes_back_in(run: Path) -> None:
    assert main(["--config", str(run / "config.yaml"), "--wandb", "off"]) == 0
    assert difference(Path("runs/superres-1"), run) == 0


def test_wandb_has_the_same_figures_and_pictures(run: Path) -> None:
    """Read back from disk with W&B's own reader."""
    history = wandb_rows(run)
    for line, item in zip(lines(run), history, strict=True):
        assert item["step"] == line["step"]
        named = {f"{line['split']}/{name}": value for name, value in line.items() if name not in ("step", "split")}
        assert {name: item[name] for name in named} == pytest.approx(named, rel=1e-9)
    pictures = {item["step"]: item["samples.sha256"] for item in history if "samples.sha256" in item}
    # Those from before the first step come with the first row.
    files = {row: run / f"samples/step-{step:08d}.png" for row, step in ((1, 0), (4, 4), (8, 8), (STEPS, STEPS))}
    assert pictures == {step: sha256(file.read_bytes()).hexdigest() for step, file in files.items()}


def test_evaluate_gives_the_figures_of_the_run_again(run: Path, command: Command) -> None:
    done = command(LAUNCHBAY, "evaluate", run, "--checkpoint", "last")
    assert done.returncode == 0, done.stderr
    last = lines(run, "val")[-1]
    assert f"{last['psnr_y']:.4f}" in done.stdout and f"{last['baseline/ssim']:.4f}" in done.stdout


def test_evaluate_and_apply_on_other_pictures(run: Path, launchbay: Callable[..., tuple[int, str]]) -> None:
    for number in range(2):
        pixels = (Photos("val").image(number)[:, : 50 + number]).permute(1, 2, 0).numpy()
        Path("other").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(f"other/{number}.png")
    code, shown = launchbay("evaluate", run, "--val-root", "other")
    assert code == 0 and "validation on other" in shown
    assert launchbay("apply", run, "other", "larger")[0] == 0
    with Image.open("larger/1.png") as larger:
        assert larger.size == (96 * 4, 51 * 4)
    code, shown = launchbay("apply", run, "other", "larger")
    assert code == 2 and "larger/0.png: it exists already" in shown


def test_a_run_in_float64_is_evaluated_in_it(train: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    small = ("--data", "toys:Patches", "--patch", 16, "--batch-size", 2, "--steps", 1, "--precision", "fp64")
    last = lines(train("reconstruct", *small), "val")[-1]
    capfd.readouterr()
    forget_accelerator()
    evaluate_run(Path("runs/it"), "best", Named(training="toys:Patches"), Console())
    assert f"{last['psnr']:.4f}" in capfd.readouterr().out


def test_what_is_no_run_says_so(launchbay: Callable[..., tuple[int, str]]) -> None:
    code, shown = launchbay("evaluate", "nowhere")
    assert code == 2 and "nowhere is not a run folder" in shown


def test_a_machine_that_does_not_see_the_run_folder_is_told_that_all_have_to() -> None:
    with pytest.raises(UserError) as error, log(Path("runs/on-another-machine"), 1, "superres"):
        pass
    assert "a folder that all machines of the run see" in str(error.value.hint)


def test_what_is_seen_of_a_run_that_will_be_stopped(capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--steps", "9999", "--eval-every", "5", "--max-time", "4s", "--wandb", "off")
    assert main(["--task", "toys:Slow", *options]) == 75
    said = capfd.readouterr().out
    assert " until --max-time" in said and " left" not in said


def test_no_figure_is_minus_zero() -> None:
    console = Console(record=True)
    console.print(results("task", Figures({"same": 0.5, "zero": -1e-9}, {"same": 0.50001}), "input", "data"))
    said = console.export_text()
    assert "-0.0000" not in said and "+0.0000" in said


def test_evaluate_takes_what_training_does_not_depend_on(run: Path, launchbay: Callable[..., tuple[int, str]]) -> None:
    """The figures are those of the run, and of it with other options, as `apply` would use it."""
    shown = {}
    for options in ((), ("--tta",), ("--metrics", "mae", "psnr")):
        code, shown[options] = launchbay("evaluate", run, "--checkpoint", "last", *options)
        assert code == 0, shown[options]
    figure = f"{lines(run, 'val')[-1]['psnr_y']:.4f}"
    assert figure in shown[()] and figure not in shown["--tta",] and "--tta True" in shown["--tta",]
    assert " mae " in shown["--metrics", "mae", "psnr"] and "ssim │" not in shown["--metrics", "mae", "psnr"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lr", 1), "--lr is for training, which is over: the run has 0.001"),
        (("--width", 16), "--width is for training, which is over: the run has 8"),
        (("--judge", "x"), "task superres has no option --judge"),
        (
            ("--metric", "mae"),
            "task superres has no option --metric; did you mean 'metrics'? → task superres has these",
        ),
        (("other",), "what is 'other' for? → write launchbay evaluate RUN [options]"),
    ],
)
def test_evaluate_refuses_other_options(
    options: tuple[object, ...], said: str, run: Path, launchbay: Callable[..., tuple[int, str]]
) -> None:
    code, shown = launchbay("evaluate", run, *options)
    assert code == 2 and said in shown
    assert "--metrics, --tta" in shown or "other" in options


def test_runs_are_found_by_name(run: Path, launchbay: Callable[..., tuple[int, str]]) -> None:
    """By the verbs in runs/, by options in --output-dir. A folder here that is no run stands in nobody's way."""
    Path("runs").symlink_to(run.parent)
    Path("superres-1").mkdir()
    code, shown = launchbay("evaluate", "superres-1", "--checkpoint", "last")
    assert code == 0 and f"{lines(run, 'val')[-1]['psnr_y']:.4f}" in shown
    assert launchbay("export", "superres-1")[0] == 0 and launchbay("compare", "superres-1", run)[0] == 0
    code, shown = launchbay("evaluate", "superres-2")
    assert code == 2 and "superres-2 is not a run folder" in shown
