"""`launchbay evaluate`: several sets in one table, forms for other programs, figures and pictures of single samples."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, lines
from PIL import Image

from launchbay.launch.commands import evaluate, evaluated, extremes
from launchbay.launch.commands.evaluated import latex
from launchbay.launch.record.figures import Figures

TOYS = ("--task", "toys:Sets")
Train = Callable[..., Path]
Launchbay = Callable[..., tuple[int, str]]


@pytest.fixture
def sets(train: Train) -> Path:
    return train("Sets", "--steps", 1)


def said_of(form: str, run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is printed for another program, and nothing beside it."""
    from launchbay.launch import cli

    capfd.readouterr()
    monkeypatch.setattr(sys, "argv", ["launchbay", "evaluate", str(run), *TOYS, form])
    assert cli.main() == 0
    return capfd.readouterr().out


def test_each_form_has_all_sets(sets: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    last = lines(sets, "val")[-1]
    found = json.loads(said_of("--json", sets, capfd, monkeypatch))
    assert found["run"] == "it" and found["step"] == 1
    assert {name: part["samples"] for name, part in found["sets"].items()} == {"few": 3, "more": 7}
    assert found["sets"]["more"]["figures"]["error"] == pytest.approx(last["more/error"], rel=1e-12)
    rows = list(csv.DictReader(io.StringIO(said_of("--csv", sets, capfd, monkeypatch))))
    assert [(row["set"], row["figure"], float(row["network"])) for row in rows] == [
        (name, "error", part["figures"]["error"]) for name, part in found["sets"].items()
    ]
    table = said_of("--latex", sets, capfd, monkeypatch)
    note = f"{evaluate.chosen_on('few')}: {evaluate.INSTEAD}"
    assert found["note"] == rows[0]["note"] == note and table.startswith(f"% {note}\n"), "those of more have not"
    assert r"\multicolumn{1}{c}{few}" in table and f"it & {last['few/error']:.4f} & {last['more/error']:.4f}" in table


def test_a_latex_table_has_no_character_that_latex_reads_otherwise() -> None:
    parts = [evaluated.Part("50%_of\\all", 3, Figures({"psnr_y": 30.5}, {"psnr_y": 29.25}))]
    shown = latex(evaluated.Outcome("a&b", "superres", "best", 3, "bicubic", parts))
    assert r"50\%\_of\textbackslash{}all" in shown and r"a\&b & 30.5000" in shown and "bicubic & 29.2500" in shown


def test_figures_of_each_picture_and_the_worst_and_the_best(
    sets: Path, launchbay: Launchbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = list[tuple[list[str], Image.Image]]()
    stacked = extremes.stacked
    monkeypatch.setattr(extremes, "stacked", lambda blocks: stacked(drawn.extend(blocks) or blocks))
    files = ("--per-picture", "out/each.csv", "--worst-and-best", "out/odd.png")
    code, said = launchbay("evaluate", sets, *TOYS, *files)
    assert code == 0 and "figures of 10 pictures" in said and "│" not in said
    rows = list(csv.DictReader(io.StringIO(Path("out/each.csv").read_text())))
    assert [row["set"] for row in rows] == ["few"] * 3 + ["more"] * 7 and rows[0]["picture"] == "picture 0"
    last = lines(sets, "val")[-1]
    errors = {name: [float(row["error"]) for row in rows if row["set"] == name] for name in ("few", "more")}
    assert np.mean(errors["more"]) == pytest.approx(last["more/error"], rel=1e-12)
    heads = [block[0] for block, _ in drawn]
    assert heads == [f"{name}: {kind} by error" for name in ("few", "more") for kind in ("worst", "best")]
    worst = [f"picture {place}" for place in np.argsort(errors["more"])[::-1][:3]]
    assert [line.partition(":")[0] for line in drawn[2][0][1:]] == worst  # lower is better
    with Image.open("out/odd.png") as picture:
        assert picture.height == sum(drawing.height for _, drawing in drawn) + 4 * 34 + (1 + 1 + 3 + 3) * 18


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--per-picture", "a.txt"), "a.txt does not end in .csv"),
        (("--per-picture", "there.csv"), "there.csv exists already"),
        (("--worst-and-best", "a.jpg"), "a.jpg does not end in .png"),
        (("--json", "--csv"), "not allowed with"),
        (("--processes", "0"), "'0' is no number from 1 on"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    options: tuple[str, ...], said: str, sets: Path, launchbay: Launchbay
) -> None:
    Path("there.csv").touch()
    code, shown = launchbay("evaluate", sets, *TOYS, *options)
    assert code == 2 and said in shown and "few" not in shown


def test_pictures_are_judged_by_what_chooses_checkpoints() -> None:
    class Judged:
        monitor = "-few/error"

    assert extremes.judged_by(Judged(), ["error", "other"]) == "error"  # type: ignore[arg-type]
    assert extremes.judged_by(Judged(), ["other"]) is None  # type: ignore[arg-type]


@pytest.mark.slow
def test_figures_are_the_same_on_two_processes(train: Train, command: Command) -> None:
    run = train("Sets", "--steps", 1)
    start = (sys.executable, "-c", "import sys; from launchbay.launch.cli import main; sys.exit(main())")
    alone, both = (
        command(*start, "evaluate", run, *TOYS, "--json", "--per-picture", f"{count}.csv", "--processes", count)
        for count in (1, 2)
    )
    assert alone.returncode == both.returncode == 0, both.stderr
    assert "Warning" not in both.stderr and both.stdout.count("{") == alone.stdout.count("{")
    one, two = (json.loads(done.stdout)["sets"] for done in (alone, both))
    assert {name: part["figures"]["error"] for name, part in two.items()} == {
        name: pytest.approx(part["figures"]["error"], rel=1e-9) for name, part in one.items()
    }
    assert Path("1.csv").read_text() == Path("2.csv").read_text()
    failed = command(*start, "evaluate", run, *TOYS, "--val-root", "nowhere", "--processes", 2)
    assert failed.returncode == 2 and failed.stderr.count("╭") == 1, failed.stderr
