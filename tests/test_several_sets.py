"""Several validation sets: figures, pictures and checkpoints of each, by name."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import lines
from pair_toys import EqualScenes
from PIL import Image
from torch import Tensor
from toys import Noise, NoOptions, Sets, Single

from launchbay.data import Load
from launchbay.launch.check.bench import Bench
from launchbay.launch.check.figures import figures_are_of_samples, monitor_is_a_figure, pictures_are_well_formed
from launchbay.launch.check.options import samples_repeat_and_travel
from launchbay.launch.check.suite import outcome
from launchbay.launch.config.assembly import validation_sets
from launchbay.launch.config.options import DataOptions, TrainOptions
from launchbay.launch.distributed.accelerator import create_accelerator
from launchbay.launch.engine.best import is_best
from launchbay.launch.engine.evaluation import evaluate, evaluate_sets
from launchbay.launch.record.tracker_writer import to_row
from launchbay.tasks import Batch, Datasets

Train = Callable[..., Path]
Mistake = Callable[..., str]
Verb = Callable[..., tuple[int, str]]
OPENS = ("--data", "toys:Patches", "--steps", 2, "--eval-every", 2)


@pytest.fixture
def folders() -> tuple[Path, Path]:
    """Two folders of pictures, of 9×12 and of 20×10 pixels."""
    draws = np.random.default_rng(0)
    for name, size in (("light", (12, 9)), ("dark", (10, 20))):
        Path(name).mkdir()
        for number in range(2):
            pixels = draws.integers(0, 256 if name == "light" else 64, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"{name}/{number}.png")
    return Path("light"), Path("dark")


def test_each_set_has_its_own_figures_and_pictures(folders: tuple[Path, Path], train: Train, launchbay: Verb) -> None:
    """As a run has them that validates on that set alone."""
    alone = {name.name: train("Opens", *OPENS, "--val-root", name).rename(name.name + "-alone") for name in folders}
    run = train("Opens", *OPENS, "--val-root", *folders)
    (line,) = lines(run, "val")
    for name, other in alone.items():
        (expected,) = lines(other, "val")
        assert expected.keys() == {"step", "epoch", "split", "psnr", "baseline/psnr"}
        state = json.loads((other / "checkpoints/step-00000002/state.json").read_text())
        assert state["data"].keys() == {"training", "validation"} and state["config"]["val_root"] == name
        assert line[f"{name}/psnr"] == expected["psnr"] != line[f"baseline/{name}/psnr"] == expected["baseline/psnr"]
        grids = [folder / "step-00000002.png" for folder in (run / "samples" / name, other / "samples")]
        assert grids[0].read_bytes() == grids[1].read_bytes()
    assert {path.name for path in (run / "samples").iterdir()} == {"light", "dark", "step-00000000-training.png"}
    row = to_row(0, line, run)
    assert {"light/samples", "dark/samples"} <= row.pictures.keys()
    assert {"val/light/psnr", "val/baseline/dark/psnr"} < row.figures.keys()
    code, said = launchbay("evaluate", run, "--task", "toys:Opens", "--data", "toys:Patches")
    assert code == 0 and "validation on light, dark" in said
    assert all(f"{name}/psnr {line[f'{name}/psnr']:.4f}" in said for name in alone), said
    others = ("--val-data", "toys:Patches", "folder", "--val-root", "light")
    code, said = launchbay("evaluate", run, "--task", "toys:Opens", *others)
    assert code == 0 and "toys:Patches/psnr" in said and f"folder/psnr {line['light/psnr']:.4f}" in said, said


def test_evaluate_names_what_it_evaluated_on(folders: tuple[Path, Path], train: Train, launchbay: Verb) -> None:
    """The set or the folder, not where it lies; nor a set that the task does not ask for."""

    def title(*argv: object) -> str:
        code, said = launchbay("evaluate", *argv)
        assert code == 0, said
        return said.partition("validation on ")[2].partition(" ┏")[0]

    run = train("Opens", *OPENS, "--val-root", folders[0].resolve())
    assert title(run, "--task", "toys:Opens", "--data", "toys:Patches") == "light"
    other = (run, "--task", "toys:Opens", "--val-root", folders[1].resolve())
    assert title(*other) == "dark" and title(*other, "--val-data", "folder") == "folder"
    own = train("Single", "--run", "own", "--steps", 1).with_name("own")
    assert title(own, "--task", "toys:Single") == "data of its own"


def test_a_run_goes_on_only_with_the_same_sets(folders: tuple[Path, Path], train: Train, mistake: Mistake) -> None:
    train("Opens", *OPENS, "--val-root", *folders)
    train("Opens", *OPENS, "--val-root", *folders, "--steps", 3)
    (folders[1] / "0.png").rename(folders[1] / "2.png")
    again = ("--task", "toys:Opens", *OPENS, "--run", "it", "--steps", 4, "--val-root")
    assert "the dark validation pictures are not those that" in mistake(*again, *folders)
    assert "the light validation and dark validation and validation pictures" in mistake(*again, folders[0])


def test_sets_of_a_task(train: Train) -> None:
    """Each sample of each counts once; the first set decides which checkpoint is best."""
    run = train("Sets", "--steps", 1)
    options = TrainOptions()
    accelerator, task = create_accelerator(options), Sets(NoOptions()).eval()
    sets = {"few": Noise(3), "more": Noise(7)}
    figures, _ = evaluate_sets(task, sets, accelerator, 2, options)
    assert figures.own == {
        f"{n}/error": evaluate(task, s, accelerator, 2, options).figures.own["error"] for n, s in sets.items()
    }
    assert lines(run, "val")[0].keys() == {"step", "epoch", "split", "few/error", "more/error"}
    assert (run / "samples/more/step-00000001.png").is_file()


def test_what_is_best_among_several_sets() -> None:
    class ByName(Single):
        monitor: ClassVar = "-more/error"

    first, named = Single(NoOptions()), ByName(NoOptions())
    before, after = {"few/error": 1.0, "more/error": 1.0}, {"few/error": 2.0, "more/error": 0.5}
    assert not is_best(first, 2, after, before, ["few", "more"]) and is_best(named, 2, after, before, ["few", "more"])
    assert is_best(first, 2, {"error": 1.0}, {"error": 1.0}), "among equals the newest"
    assert is_best(first, 2, {"error": 1.0}, {"step": 1.0, "loss": 0.0}), "a best without that figure is none"


def test_the_contract_of_a_task_with_several_sets() -> None:
    bench = Bench(Sets)
    for check in (samples_repeat_and_travel, figures_are_of_samples, monitor_is_a_figure, pictures_are_well_formed):
        result = outcome(bench, check)
        assert result.state == "ok", result


class Masked(Sets):
    """Needs a mask, which one of its validation sets has not."""

    def datasets(self, load: Load) -> Datasets:
        training, sets = super().datasets(load)
        assert isinstance(sets, Mapping)
        return training, {"masked": EqualScenes("val"), **sets}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        return {"error": batch["mask"].double().mean(dim=(1, 2))}


class Misnamed(Sets):
    monitor: ClassVar = "few/psnr"


def test_what_a_validation_would_find_is_found_before_the_first_step(mistake: Mistake, train: Train) -> None:
    said = mistake("--task", "test_several_sets:Masked", "--steps", 1000000)
    assert "no 'mask', only image" in said and "of the validation set few" in said
    said = mistake("--task", "test_several_sets:Misnamed", "--steps", 1000000)
    assert "Misnamed.monitor is 'few/psnr', but the figures are few/error, more/error" in said
    assert not list(Path("runs").iterdir()), "nothing is left of a run that was refused"


def test_sets_whose_folders_end_alike_are_told_apart_by_what_these_lie_in() -> None:
    for roots, names in {
        ("a/one", "b/one", "two"): ["a-one", "b-one", "two"],
        ("x/a/val", "y/a/val"): ["x-a-val", "y-a-val"],
    }.items():
        assert list(validation_sets(DataOptions(val_data=roots))) == names
        assert list(validation_sets(DataOptions(val_root=tuple(map(Path, roots))))) == names


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("toys:Opens", "--val-data", "photos", "photos"), "two validation sets are called 'photos'"),
        (("toys:Opens", "--val-data", "photos", "glyphs", "--val-root", "a", "b", "c"), "--val-root names 3 folders"),
        (("toys:Opens", "--val-root", "a/one", "b/../a/one"), "two validation sets are called 'one'"),
        (("toys:Opens", "--val-root", "baseline", "b"), "'baseline' cannot be the name of one of several"),
        (("toys:Opens", "--val-data", "photos", "a/b"), "there is no a/b → looked for it in "),
        (("toys:Opens", "--val-data"), "--val-data names nothing"),
        (("toys:Single", "--val-data", "photos"), "--val-data and --val-root change nothing"),
        (("toys:Sets", "--val-data", "photos", "glyphs"), "Sets has several validation sets of its own, few, more"),
        (("wrong_toys:NamesSets",), "'a/b' cannot be the name of one of several validation sets"),
    ],
)
def test_sets_that_cannot_be_are_refused_by_name(mistake: Mistake, argv: tuple[str, ...], said: str) -> None:
    assert said in mistake("--task", *argv, "--steps", 1)
