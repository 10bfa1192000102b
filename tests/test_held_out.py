"""--hold-out: pictures that are not trained on choose the best checkpoint, and others are reported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import lines
from rich.console import Console
from toys import Digits

from launchbay.data import ImageSet
from launchbay.data.held_out import split
from launchbay.launch.commands.evaluate import Named, note_on_training
from launchbay.launch.commands.showing import html_of
from launchbay.launch.commands.sweep import CHOSEN, show_outcome
from launchbay.launch.commands.trainings import line_on
from launchbay.launch.config.options import DataOptions
from launchbay.launch.record.reader import FLATTERED, read_run_folder
from launchbay.launch.record.report.words import verdict

Train = Callable[..., Path]
Launchbay = Callable[..., tuple[int, str]]


def test_the_parts_are_the_training_pictures_without_the_others() -> None:
    without, held = split(Digits, 0.25)
    whole, training, chosen = Digits("train"), without("train"), held("all")

    def all_of(images: ImageSet) -> list[bytes]:
        return [images.image(index).numpy().tobytes() for index in range(len(images))]

    assert [len(training), len(chosen)] == [len(whole) * 3 // 4, len(whole) // 4]
    assert sorted(all_of(training) + all_of(chosen)) == sorted(all_of(whole))
    batch = chosen.__getitems__([2, 0])
    assert torch.equal(batch["image"], torch.stack([chosen.image(2), chosen.image(0)]))
    assert batch["label"].tolist() == [chosen.label(2), chosen.label(0)]
    assert len(without("val")) == len(Digits("val")), "what is reported is all of the validation pictures"


def test_what_is_held_out_chooses(train: Train, launchbay: Launchbay) -> None:
    run = train("classify", "--data", "toys:Digits", "--hold-out", 0.25, "--steps", 4, "--eval-every", 2)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best_by"] == "held-out/accuracy" and "toys:Digits/accuracy" in summary["final"]
    validations = lines(run, "val")
    best = max(validations, key=lambda line: (line["held-out/accuracy"], line["step"]))
    assert summary["best"]["step"] == best["step"]
    code, said = launchbay("evaluate", run, "--data", "toys:Digits")
    assert code == 0 and "held-out/accuracy" in said and "chosen on the pictures of held-out, whose figures" in said
    code, said = launchbay("evaluate", run, "--data", "toys:Digits", "--val-data", "toys:Digits")
    assert code == 0 and "flatter" not in said


def test_what_is_reported_of_a_run_are_pictures_that_have_not_chosen(train: Train, launchbay: Launchbay) -> None:
    """Wherever one figure speaks for a run it is none of the held-out pictures, which only decide which run is best."""
    for seed in (0, 1):
        train("classify", "--data", "toys:Digits", "--hold-out", 0.25, "--steps", 1, "--seed", seed).rename(
            f"runs/{seed}"
        )
        file = Path(f"runs/{seed}/summary.json")
        chosen = {"step": 1, "held-out/accuracy": 0.8 + seed / 10, "toys:Digits/accuracy": 0.7 - seed / 10}
        file.write_text(json.dumps({**json.loads(file.read_text()), "best": chosen}))
    first, second = (read_run_folder(Path(f"runs/{seed}"), str(seed)) for seed in (0, 1))
    assert first.reported == "toys:Digits/accuracy" and first.best() == 0.7
    assert "toys:Digits/accuracy 0.7000, 0.6000 better than chance" in verdict([first], ["0"])[0]
    best, gap, *_ = verdict([first, second], ["0", "1"])
    assert best.startswith("Best of 2, by held-out/accuracy, is 1: toys:Digits/accuracy 0.6000")
    assert gap == "That is 0.1000 worse than the next, 0."
    said = launchbay("runs")[1]
    assert "0.7000 toys:Digits/accuracy" in said and "flatter" not in said
    assert line_on(Path("runs"), "0", 0).startswith("0: toys:Digits/accuracy 0.7000 (0.1000)")


def test_it_is_said_wherever_the_reported_pictures_have_chosen(
    train: Train, launchbay: Launchbay, capfd: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        train("Turns", "--patience", 2, "--seed", seed).rename(f"runs/{seed}")
    said = " ".join(capfd.readouterr().out.split())
    assert "2 validations in a row no better by error of the pictures in the table" in said
    assert FLATTERED in launchbay("runs")[1] and FLATTERED in launchbay("compare", "0", "1")[1]
    found = json.loads(launchbay("runs", "--json")[1])
    assert [run["flatters"] for run in found] == [True, True]
    show_outcome(Path("runs"), Console())  # of a sweep
    assert CHOSEN in " ".join(capfd.readouterr().out.split())
    record = read_run_folder(Path("runs/0"))
    assert "which was chosen by these figures" in html_of(record, "best")
    assert "which was chosen" not in html_of(record, "last")
    given = ("--task", "toys:Turns")
    assert "chosen on these pictures, whose figures flatter" in launchbay("evaluate", "runs/0", *given)[1]
    assert "flatter" not in launchbay("evaluate", "runs/0", *given, "--checkpoint", "last")[1]


def test_naming_pictures_that_have_chosen_or_were_trained_on_makes_no_others_of_them(
    train: Train, launchbay: Launchbay
) -> None:
    data = ("--data", "toys:Patches", "--val-data", "toys:Patches")
    run = train("denoise", *data, "--model", "conv4", "--steps", 1)
    for other, told in (("toys:Patches", True), ("toys:Digits", False)):
        code, said = launchbay("evaluate", run, "--data", "toys:Patches", "--val-data", other)
        both = "chosen on these pictures" in said, "trained on most pictures of toys:Patches" in said
        assert code == 0 and both == (told, told), said


def test_what_was_trained_on_is_told_by_its_name_or_its_folder() -> None:
    trained = DataOptions(data="folder", data_root=Path("here/imgs"))
    for named, told in (
        (Named(roots=[Path("here/../here/imgs")]), True),
        (Named(data=["here/imgs"]), True),
        (Named(data=["glyphs", "folder"], roots=[Path("no"), Path("here/imgs")]), True),
        (Named(data=["folder", "pairs"], roots=[Path("there")]), False),
        (Named(roots=[Path("here/imgs/test")]), False),
        (Named(data=["glyphs"]), False),
        (Named(), False),
    ):
        assert bool(note_on_training(trained, named)) == told, named
    elsewhere = Named(data=["mnist"], roots=[Path("two")])
    assert note_on_training(DataOptions(data="mnist", data_root=Path("one")), elsewhere), "it is the same everywhere"
