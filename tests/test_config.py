"""Options: where they come from, which one wins, and what is said when one is wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Gt

from launchbay import UserError
from launchbay.launch.config.command_line import parse
from launchbay.launch.config.option_file import read_options, to_yaml
from launchbay.launch.config.options import Config, TrainOptions

TRAIN = TrainOptions().with_values(steps=100)
Launchbay = Callable[..., tuple[int, str]]
Mistake = Callable[..., str]


@dataclass(frozen=True)
class Options:
    """Options of a task."""

    width: Annotated[int, Gt(0)] = 8
    """Channels."""
    betas: tuple[float, float] = (0.9, 0.999)
    flip: bool = True
    mirror: bool | None = None


def configure(
    *argv: str, yaml: str | None = None, train: TrainOptions | None = None
) -> tuple[Config[Options], list[str]]:
    file = Path("options.yaml") if yaml is not None else None
    if file:
        file.write_text(yaml or "")
    return parse(Config("toy", train or TRAIN, Options()), list(argv), file, quiet=True)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults() -> None:
    config, changes = configure("--lr", "0.5", yaml="lr: 0.25\nwidth: 16\n")
    assert (config.train.optimization.lr, config.options.width, config.train.optimization.batch_size) == (0.5, 16, 64)
    assert changes == [
        "--lr 0.5  (command line; default 0.001)",
        "--width 16  (options.yaml:2; default 8)",
    ]


def test_numbers_are_those_of_yaml_1_2() -> None:
    config, _ = configure(
        yaml="lr: 1e-3\nweight_decay: 1.5E-2\nsteps: 7\nclip_norm: null\nbetas: [0, 0.9]\nflip: false\nwandb: off\n"
    )
    assert (
        config.train.optimization.lr,
        config.train.optimization.weight_decay,
        config.train.optimization.clip_norm,
    ) == (0.001, 0.015, None)
    assert (config.options.betas, config.options.flip, config.train.run.wandb) == ((0.0, 0.9), False, "off")


def test_kebab_case_and_underscores_are_one() -> None:
    assert configure("--batch-size", "8")[0] == configure("--batch_size", "8")[0] == configure(yaml="batch-size: 8")[0]


def test_switches_are_switches_whatever_their_default() -> None:
    """Of `bool | None` too, whose default follows from something else."""
    for argv, yaml, mirror in (
        ((), None, None),
        (("--mirror",), None, True),
        (("--no-mirror",), "mirror: true", False),
        ((), "mirror: false", False),
        ((), "mirror: null", None),
    ):
        assert configure(*argv, yaml=yaml)[0].options.mirror is mirror


def test_of_steps_and_epochs_the_one_that_was_said_wins() -> None:
    assert (
        configure("--epochs", "3")[0].train.optimization.epochs,
        configure("--epochs", "3")[0].train.optimization.steps,
    ) == (3, None)
    assert configure("--steps", "3", yaml="epochs: 5")[0].train.optimization.epochs is None
    assert configure(yaml="epochs: 5")[0].train.optimization.steps is None
    with pytest.raises(UserError, match="both say how long"):
        configure("--steps", "3", "--epochs", "2")


def test_what_is_written_goes_back_in_unchanged() -> None:
    config, _ = configure(
        "--lr", "1e-5", "--data-root", "somewhere/ä", "--no-flip", "--betas", "0.5", "0.9", "--epochs", "2"
    )
    file = Path("config.yaml")
    file.write_text(to_yaml(config))
    again, _ = read_options(file, Config("toy", TRAIN, Options()))
    assert again == config
    assert parse(Config("toy", TRAIN, Options()), [], file, quiet=True)[0] == config


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        (
            "lr: 0.1\nbatchsize: 3\n",
            "options.yaml:2: batchsize is not an option of task toy; did you mean 'batch_size'?",
        ),
        ("lr: fast\n", "options.yaml:1: lr 'fast' has to be a valid number"),
        ("\nschedule: cosin\n", "options.yaml:2: schedule 'cosin' has to be 'cosine'"),
        ("lr: 0.1\nlr: 0.2\n", "options.yaml:2: lr is there twice, first in line 1"),
        ("- lr\n", "holds no options by name"),
        ("lr: [\n", "is not valid YAML"),
        ("null: 2\n", "options.yaml:1: null is not an option of task toy"),
        ("task: other\n", "options.yaml:1: the file is for task other, not for --task toy"),
        ("lr: -1\n", "options.yaml:1: lr -1 has to be greater than 0"),
        ("width: 0\n", "options.yaml:1: width 0 has to be greater than 0"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(yaml: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        configure(yaml=yaml)
    assert said in error.value.message and error.value.hint


def test_a_missing_file(mistake: Mistake) -> None:
    assert "cannot read gone.yaml: No such file" in mistake("--task", "superres", "--config", "gone.yaml")


def test_the_file_can_name_the_task(mistake: Mistake) -> None:
    Path("options.yaml").write_text("task: superes\n")
    assert "there is no task 'superes'; did you mean 'superres'?" in mistake("--config", "options.yaml")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--task", "superes"], "did you mean 'superres'?"),
        (["--task", "superres", "--scal", "4"], "--scale"),
        (["--task", "superres", "--scale", "5"], "invalid choice '5' for argument '--scale"),
        (["--task", "superres", "--lr", "fast"], "float"),
        (["--task", "superres", "--lr", "0"], "--lr 0.0 has to be greater than 0 → --help tells what it is"),
        (["--task", "superres", "--warmup", "-1"], "--warmup -1 has to be greater than or equal to 0"),
        (["--task", "superres", "--lr", "inf"], "--lr inf has to be a finite number"),
        (["--task", "superres", "--weight-decay", "nan"], "--weight-decay nan has to be a finite number"),
        (["--task", "superres", "--width", "0"], "--width 0 has to be greater than 0"),
        (["--task", "superres", "--model", "espcn", "--blocks", "4"], "--blocks 4 changes nothing with --model espcn"),
        (
            ["--task", "denoise", "--depth", "5"],
            "--depth 5 changes nothing with --model unet → leave it out",
        ),
        (["--task", "vae", "--model", "dense", "--width", "8"], "--width 8 changes nothing with --model dense"),
        (["--task", "classify", "--width", "8"], "with --model cnn → leave it out, or choose --model resnet9"),
        (
            ["--task", "dcgan", "--entropy", "0.1"],
            "--entropy 0.1 changes nothing with --regularize none",
        ),
        (["--task", "classify", "--shift", "500"], "--shift 500 can leave nothing of pictures of 28×28 → at most 27"),
        (["--task", "classify", "--cutout", "28"], "--cutout 28 can leave nothing of pictures of 28×28"),
        (["--task", "classify", "--shift", "-1"], "--shift -1 has to be greater than or equal to 0"),
        (["--task", "classify", "--size", "0"], "--size 0 has to be greater than 0"),
        (["--task", "classify", "--rotate", "91"], "--rotate 91.0 has to be less than or equal to 90"),
        (["--task", "dcgan", "--dropout", "1"], "--dropout 1.0 has to be less than 1"),
        (["--task", "unmix", "--betas", "0.5", "1"], "--betas (0.5, 1.0) has to be less than 1"),
        (["--task", "unmix", "--weights", "x", "--resume", "y"], "both say where to start → give one of them"),
        (["--task", "superres", "--patch", "50"], "--patch 50 is not a multiple of --scale 4 → try --patch 48"),
        (["--task", "superres", "--run", "../x"], "has to be a plain folder name"),
        (["--task", "superres", "--data", "phtos"], "there is no data set 'phtos'; did you mean 'photos'?"),
        (["--task", "superres", "--data-root", "x"], "the embedded photos have no --data-root"),
        (["--task", "superres", "--data", "folder"], "add --data-root DIR"),
        (["--task", "superres", "--data", "."], ". holds no picture"),
        (["--task", "superres", "--data", "MNIST"], "did you mean 'mnist'?"),
        (["--task", "superres", "--steps", "ten"], "<class 'int'>: invalid literal"),
        (["--task", "superres", "--batch-size", "10", "--accumulate", "4"], "try --batch-size 8 or 12"),
        (["--task"], "expected one argument"),
        ([], "no task was named"),
    ],
)
def test_a_wrong_command_line(mistake: Mistake, argv: list[str], said: str) -> None:
    assert said in mistake(*argv)
    assert not Path("runs").exists()


def test_a_folder_that_is_no_run_is_left_alone(mistake: Mistake) -> None:
    Path("runs/it").mkdir(parents=True)
    Path("runs/it/thesis.tex").touch()
    assert "runs/it exists already, and is not a run" in mistake("--task", "toys:Single", "--run", "it")
    assert [path.name for path in Path("runs/it").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("odd", "kind", "wanted"),
    [
        (".lock", "folder", "file"),
        ("checkpoints/last", "folder", "file"),
        ("metrics.jsonl", "folder", "file"),
        ("logs", "file", "folder"),
        ("checkpoints", "file", "folder"),
        ("", "file", "folder"),
    ],
)
def test_what_is_odd_in_the_folder_of_a_run_is_named(mistake: Mistake, odd: str, kind: str, wanted: str) -> None:
    path = Path("runs/it") / odd
    path.parent.mkdir(parents=True)
    if odd:
        Path("runs/it/.lock").touch()
    if kind == "file":
        path.touch()
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    said = mistake("--task", "toys:Single", "--run", "it")
    assert f"{path} is no {wanted}, and has to be one → move it away, or choose another --run" in said
    assert path.is_file() == (kind == "file")


def test_an_output_folder_that_cannot_be_made(mistake: Mistake) -> None:
    Path("file").touch()
    assert "cannot make a run folder in file" in mistake("--task", "toys:Single", "--output-dir", "file")


def test_the_name_of_a_task_may_stand_alone(launchbay: Launchbay, mistake: Mistake) -> None:
    assert "--latent" in launchbay("train", "vae", "--help")[1]
    assert "two tasks are named: denoise and vae" in mistake("denoise", "--task", "vae")


def test_launchbay_alone_begins_with_commands_to_copy(launchbay: Launchbay, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        launchbay()
    said = capfd.readouterr().out
    assert ended.value.code == 0 and said.index("launchbay train superres") < said.index("Look at runs")


def test_an_unknown_option_names_the_help_of_the_command_that_was_given(launchbay: Launchbay) -> None:
    Path("options.yaml").write_text("task: denoise\n")
    code, said = launchbay("train", "--config", "options.yaml", "--val-limit", "5")
    assert code == 2 and "run launchbay train denoise --help" in said


def test_what_was_said_before_an_error_stands_before_it() -> None:
    """Also where both go to one file: a library that begins a download prints to a buffer."""
    script = "from launchbay.launch.errors import panel; print('Downloading'); panel('error', ['it'], '', 'red')"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command, one = [sys.executable, "-c", script], subprocess.PIPE
    done = subprocess.run(command, stdout=one, stderr=subprocess.STDOUT, env=buffered, check=True)
    assert done.stdout.startswith(b"Downloading")
