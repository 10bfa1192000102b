"""report.html: what is on it, that it is cheap, and that it is written whole."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from conftest import lines
from PIL import Image

from launchbay.launch.engine.outcome import how_it_ended
from launchbay.launch.errors import Signalled, Stopped
from launchbay.launch.record.reader import read_run_folder
from launchbay.launch.record.report import album, observer
from launchbay.launch.record.report.album import spread
from launchbay.launch.record.report.content import read_recorded
from launchbay.launch.record.report.page import page_of
from launchbay.launch.record.report.spans import MOST_SPANS, Curves
from launchbay.launch.record.report.tables import figures_table
from launchbay.launch.record.report.words import against, commands, verdict

pytestmark = pytest.mark.usefixtures("with_report")
Train = Callable[..., Path]
Verb = Callable[..., tuple[int, str]]


def data_of(page: Path) -> dict[str, Any]:
    """What the script of a report is given."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_curve_of_any_length_is_a_few_spans() -> None:
    """Which say of all points what they are made of; in whatever portions they came."""
    chance = Random(0)
    for count in (1, 5, MOST_SPANS, MOST_SPANS + 1, 5000, 70_001):
        values, curves = [chance.gauss(0, 1) for _ in range(count)], Curves()
        for step, value in enumerate(values):
            curves.add({"step": step, "split": "train", "loss": value, "lr": None})
            if chance.random() < 0.001:
                curves.by_name["train", "loss"].drawn()
        (spans,) = curves.by_name.values()
        drawn, width = spans.drawn(), spans.width
        assert len(drawn["step"]) <= MOST_SPANS and (width == 1 or len(drawn["step"]) > MOST_SPANS / 2)
        parts = [values[start : start + width] for start in range(0, count, width)]
        assert drawn["value"] == pytest.approx([np.mean(part) for part in parts], rel=1e-4, abs=1e-4)
        assert drawn["step"][-1] == count - 1
        if width > 1:
            assert drawn["high"] == pytest.approx(list(map(max, parts)), rel=1e-4)
            assert drawn["low"] == pytest.approx(list(map(min, parts)), rel=1e-4)
        assert len(spans.drawn(20)["step"]) <= 20


def test_steps_of_pictures_are_spread_evenly() -> None:
    kept: list[int] = []
    for step in range(0, 100_000, 100):
        kept = spread([*kept, step], 12)
    gaps = np.diff(kept)
    assert len(kept) == 12 and (kept[0], kept[-1]) == (0, 99_900) and gaps.max() <= 4 * gaps.min()
    assert spread([0, 5, 10], 1) == [10] and spread([0, 5, 10], 2) == [0, 10]


def test_a_report_is_written_while_a_run_goes_on(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its start, at each validation and at its end; in the end, and only then, it stops to reload itself."""
    written: list[str] = []

    def write(path: Path, text: str) -> None:
        written.append(text)
        path.write_text(text)

    monkeypatch.setattr(observer, "write_text", write)
    monkeypatch.setattr(observer, "SHARE", 0)
    run = train("Brighten", "--steps", 4, "--eval-every", 2, "--batch-size", 4)
    assert len(written) == 5  # begun, samples of step 0, two validations, done
    assert ["running: step 2 of 4" in text for text in written] == [False, False, True, False, False]
    assert ['"reload": 0' in text for text in written] == [False] * 4 + [True]
    data = data_of(run / "report.html")
    charts = {chart["title"]: chart for chart in data["charts"]}
    (own,) = [curve for curve in charts["psnr"]["curves"] if not curve.get("baseline")]
    assert own["step"] == [2, 4]
    assert own["value"] == pytest.approx([line["psnr"] for line in lines(run, "val")], rel=1e-4)
    by_name = {one["name"]: one["runs"][0] for one in data["series"]}
    assert by_name["samples"]["steps"] == [0, 2, 4] and by_name["training"]["steps"] == [0]
    assert by_name["samples"]["headings"] == ["input", "output", "target"]
    assert [len(samples) for samples in by_name["samples"]["samples"]] == [5, 5, 5]


def test_a_run_that_goes_on_has_all_of_it_on_its_page(train: Train) -> None:
    """Though its report was removed; as had it never stopped."""
    train("Brighten", "--steps", 4, "--eval-every", 2, "--batch-size", 4)
    (Path("runs/it") / "report.html").unlink()
    run = train("Brighten", "--steps", 6, "--eval-every", 2, "--batch-size", 4)
    data = data_of(run / "report.html")
    assert next(one["runs"][0]["steps"] for one in data["series"] if one["name"] == "samples") == [0, 2, 4, 6]
    assert next(one for one in data["charts"] if one["title"] == "psnr")["curves"][-1]["step"] == [2, 4, 6]


def test_what_a_validation_costs_does_not_grow(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the record nor earlier pictures are read again."""
    read: list[Path] = []
    cut = album.cut

    def count(file: Path) -> Any:
        read.append(file)
        return cut(file)

    monkeypatch.setattr(album, "cut", count)
    monkeypatch.setattr(observer, "SHARE", 0)
    monkeypatch.setattr("launchbay.launch.record.report.content.read_record", None)
    train("Brighten", "--steps", 20, "--eval-every", 1, "--batch-size", 4)
    assert len(read) == len(set(read))


@pytest.fixture
def runs(trained: Path) -> list[Path]:
    """Three runs, two of which are repeats."""
    found = []
    for name, own, figure in (("one", "seed: 0", 6.0), ("two", "seed: 1", 6.5), ("three", "lr: 0.01", 7.0)):
        run = Path(shutil.copytree(trained, Path("runs") / name))
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(re.sub(rf"^{own.partition(':')[0]}:.*$", own, config, flags=re.MULTILINE))
        summary = json.loads((run / "summary.json").read_text())
        summary["best"]["psnr"] = figure
        (run / "summary.json").write_text(json.dumps(summary))
        found.append(run)
    return found


def test_runs_beside_each_other(runs: list[Path], launchbay: Verb) -> None:
    code, said = launchbay("report", *runs)
    assert code == 0 and "report.html: 3 runs" in said
    page, data = Path("report.html").read_text(), data_of(Path("report.html"))
    assert data["runs"] == ["one", "two", "three"] and len(page) < 3_000_000
    assert re.search(r"<h2>Options that differ</h2>.*--seed.*--lr|--lr.*--seed", page, re.DOTALL)
    assert "--batch-size" in page.partition('id="all-options"')[2]
    assert "2 seeds of one" in page and "6.2500 ± 0.3536" in page and page.count("(the best)") == 1
    assert "Best of 3 is three: psnr 7.00 dB" in page and "That is 0.50 dB better than the next, two." in page
    folder, said = launchbay("report", "runs", "-o", "all.html")
    assert folder == 0 and data_of(Path("all.html"))["runs"] == ["one", "three", "two"]
    Path("runs/rates").mkdir()
    runs[1].rename("runs/rates/two")
    assert "all.html: 3 runs" in launchbay("report", "runs", "-o", "all.html")[1], "those of a sweep in it too"


def test_the_baseline_that_runs_have_in_common_comes_first(runs: list[Path]) -> None:
    """As far as it is the same, but for rounding; otherwise each run says what it differs from its own."""
    file = runs[1] / "summary.json"
    summary = json.loads(file.read_text())
    names, own = [run.name for run in runs], summary["baseline"]
    own["psnr"] += 1e-8
    file.write_text(json.dumps(summary))
    table = figures_table([read_run_folder(run) for run in runs], names)
    assert table and (table.columns[0].note or table.rows[0][0].note) == "baseline"
    assert not any(cell.note for _, cells in table.rows for cell in cells)
    own["psnr"] += 1
    file.write_text(json.dumps(summary))
    table = figures_table([read_run_folder(run) for run in runs], names)
    assert table
    notes = [cell.note for _, cells in table.rows for cell in cells if cell.note]
    assert notes == [
        f"{value - baseline:+.4f}"
        for value, baseline in zip((6, 6.5, 7), (own["psnr"] - 1, own["psnr"], own["psnr"] - 1), strict=True)
    ]


def test_where_a_report_is_written(runs: list[Path], launchbay: Verb) -> None:
    """By default in the folder of the only run; never over something else."""
    (runs[0] / "report.html").unlink()
    assert launchbay("report", "one")[0] == 0 and (runs[0] / "report.html").exists()
    Path("notes.html").write_text("mine")
    code, said = launchbay("report", "one", "-o", "notes.html")
    assert (
        code == 2 and "notes.html is there already, and no report" in said and Path("notes.html").read_text() == "mine"
    )
    code, said = launchbay("report", "none")
    assert code == 2 and "none is not a run folder" in said


def test_figures_of_parts_are_a_table(runs: list[Path]) -> None:
    """Those of classes, or of validation sets: each part a row, each figure a column."""
    summary = json.loads((runs[0] / "summary.json").read_text())
    parts = {f"{figure}/{name}": 0.5 for figure in ("recall", "precision") for name in ("cat", "dog", "emu")}
    summary["best"] |= {**parts, "recall/cat": 0.25}
    (runs[0] / "summary.json").write_text(json.dumps(summary))
    page = page_of([read_recorded(runs[0])])
    assert re.search(r'>recall</th>.*>precision</th>.*"row">cat</th><td>0.2500</td><td>0.5000</td>', page, re.DOTALL)
    assert "recall/cat" not in page.partition("<h2>Curves")[0] and ">psnr</th>" in page
    summary["best"] |= {f"recall/{number}": 0.5 for number in range(5000)}
    (runs[0] / "summary.json").write_text(json.dumps(summary))
    assert len(page_of([read_recorded(runs[0])])) < len(page) + 100_000


def test_damage_is_said_on_the_page(runs: list[Path], launchbay: Verb) -> None:
    run = runs[0]
    (run / "samples/step-00000001.png").write_bytes(b"no picture")
    with (run / "metrics.jsonl").open("a") as record:
        record.write("what?\n")
    page = page_of([read_recorded(run)])
    assert "1 picture of samples/ cannot be read" in page and "damaged, and left out: 1 line" in page
    code, said = launchbay("report", run)
    assert code == 2 and "1 picture of samples/ cannot be read" in said and "left out: 1 line" in said
    (run / "summary.json").write_text("{")
    assert "damaged: " in page_of([read_recorded(run)])


def test_a_grid_of_a_version_that_did_not_say_where_samples_are_is_beside_the_others(runs: list[Path]) -> None:
    """As a whole, and not under the wipe, where it would get the shape of a sample."""
    for file in (runs[1] / "samples").glob("*.png"):
        with Image.open(file) as grid:
            grid.load()
        grid.info.clear()
        grid.save(file)
    Path("page.html").write_text(page_of([read_recorded(run) for run in runs]))
    samples = [one for one in data_of(Path("page.html"))["series"] if one["name"] == "samples"]
    assert [[own["run"] for own in one["runs"]] for one in samples] == [[0, 2], [1]]
    assert samples[1]["runs"][0]["headings"] == [""] and len(samples[0]["runs"][0]["headings"]) > 1


def test_words_of_the_verdict(runs: list[Path]) -> None:
    assert against(30.001, 30.0, "psnr", 1) == "less than 0.01 dB better than"
    assert against(29.99, 30.0, "psnr", 1) == "0.01 dB worse than"
    assert against(0.5, 0.5001, "accuracy", 0) == "0.0001 below"
    summary = json.loads((runs[0] / "summary.json").read_text())
    for device, train in (
        ("cpu", "torchrun --nproc-per-node 2 -m -- launchbay.launch.run --config "),
        ("cuda", "accelerate launch --num_processes 2 -m launchbay.launch.run --config "),
    ):
        (runs[0] / "summary.json").write_text(json.dumps({**summary, "world_size": 2, "device": device}))
        assert commands(read_recorded(runs[0]).run)[0][1].startswith(train)


@pytest.mark.slow
def test_very_many_runs_are_on_a_small_page(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launchbay.launch.record.report.page.PICTURE_BYTES", 20_000)
    chance = np.random.default_rng(0)
    recorded = []
    for number in range(60):
        run = Path(shutil.copytree(runs[0], Path("many") / str(number)))
        noise = chance.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(run / "samples/step-00000002.png")
        recorded.append(read_recorded(run))
    Path("page.html").write_text(page := page_of(recorded))
    data = data_of(Path("page.html"))
    assert sum(len(image[0]) for image in data["images"]) < 20_000 * 1.4
    assert re.search(r"Pictures of \d\d runs are left out", page) and len(data["runs"]) == 60
    assert len(set(re.findall(r"--hue: ([\d.]+)", page))) == 60


def test_pictures_of_many_runs_keep_the_page_small(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launchbay.launch.record.report.page.PICTURE_BYTES", 100_000)
    chance = np.random.default_rng(0)
    for run in runs:
        for step in range(3, 23):
            noise = chance.integers(0, 256, (100, 100, 3), dtype=np.uint8)
            Image.fromarray(noise).save(run / f"samples/step-{step:08}-noise.png")
    Path("page.html").write_text(page := page_of([read_recorded(run) for run in runs]))
    assert sum(len(image[0]) for image in data_of(Path("page.html"))["images"]) < 100_000 * 1.4
    assert re.search(r"At most \d+ steps", page)


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ("done", "", "Done."),
        ("stopped", "SIGTERM", "Stopped at step 2 of 2: SIGTERM."),
        ("failed", "ValueError: no", "Failed at step 2 of 2: ValueError: no."),
    ],
)
def test_the_verdict_says_how_it_ended(*, status: str, reason: str, said: str, runs: list[Path]) -> None:
    summary = json.loads((runs[0] / "summary.json").read_text())
    (runs[0] / "summary.json").write_text(json.dumps({**summary, "status": status, "reason": reason}))
    first, *_, told, flattered = verdict([read_recorded(runs[0]).run], ["it"])
    gap = 6 - summary["baseline"]["psnr"]
    assert f"{abs(gap):.2f} dB {'better' if gap > 0 else 'worse'} than input" in first and told == said
    assert "--hold-out" in flattered  # said where these pictures have chosen the checkpoint, and only there
    changed = {"status": status, "reason": reason, "best_by": "held-out/psnr"}
    (runs[0] / "summary.json").write_text(json.dumps({**summary, **changed}))
    assert verdict([read_recorded(runs[0]).run], ["it"])[-1] == said


def test_what_has_ended_a_run_is_kept(train: Train, mistake: Callable[..., str]) -> None:
    mistake("--task", "toys:Single", "--run", "it", "--lr", "1e38", "--steps", "9", "--optimizer", "sgd")
    summary = json.loads(Path("runs/it/summary.json").read_text())
    assert summary["status"] == "failed" and summary["reason"].startswith("the loss of 'model' is not finite at step")
    assert summary["memory"] > 1e8
    assert how_it_ended(Stopped("--max-time is over: stopped after step 3 of 9", "go on")) == (
        "stopped",
        "--max-time is over",
    )
    assert how_it_ended(Signalled(signal.SIGTERM)) == ("stopped", "SIGTERM")
