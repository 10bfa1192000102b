"""What the page's script draws, as JSON: curves by chart, pictures by name, run, step, sample and column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launchbay import printable
from launchbay.launch.files import Json
from launchbay.launch.record.drawing import BEST, SAMPLES, TRAINING, WORST
from launchbay.launch.record.figures import BASELINE, NO_LOSS
from launchbay.launch.record.lines import read_record
from launchbay.launch.record.reader import RunFolder, read_run_folder
from launchbay.launch.record.report.album import Album, Cell, Sheet
from launchbay.launch.record.report.spans import MOST_SPANS, Curves

MOST_CHARTS = 48
ALL_SPANS = 16_000
"""Of all curves on the page. One has some 30 bytes."""
OWN_SAMPLES = (WORST, BEST, TRAINING)
ORDER = (SAMPLES, WORST, BEST, "confusion", "generated", "walk", "classes")
"""Of pictures on the page. Others follow, and at the end what a task trains on."""


@dataclass
class Recorded:
    """What a page shows of a run."""

    run: RunFolder
    curves: Curves = field(default_factory=Curves)
    album: Album = field(default_factory=Album)
    said: list[str] = field(default_factory=list)
    """What is damaged, in words."""


def read_recorded(folder: Path) -> Recorded:
    """Return what there is of the run in `folder`."""
    recorded = Recorded(read_run_folder(folder))
    if recorded.run.summary and recorded.run.summary.step and not (folder / "metrics.jsonl").exists():
        recorded.said.append("metrics.jsonl is not there any more: no curves.")
    for line in read_record(folder, tell=recorded.said.append):
        recorded.curves.add(line)
    for step, files in recorded.run.pictures().items():
        recorded.album.add(step, files)
    return recorded


def charts_of(several: Sequence[Recorded]) -> tuple[list[Json], list[Json]]:
    """Return the charts, each with a curve of each run, and {heading, places of its charts, open or not} of groups."""
    keys = list(dict.fromkeys(key for recorded in several for key in recorded.curves.titles()))
    groups: dict[str, list[tuple[str, str]]] = {
        "Validation": [],
        "Training losses": [],
        "Speed, learning rates, gradients": [],
    }
    for split, name in keys:
        aside = name.endswith(NO_LOSS) or name in ("lr", "samples_per_s")
        groups[
            "Validation" if split == "val" else "Speed, learning rates, gradients" if aside else "Training losses"
        ].append((split, name))
    drawn = [key for group in groups.values() for key in group][:MOST_CHARTS]
    most = max(16, min(MOST_SPANS, ALL_SPANS // max(1, 2 * len(drawn) * len(several))))
    charts = [chart_of(several, split, name, most) for split, name in drawn]
    found = [
        {"heading": heading, "charts": [drawn.index(key) for key in group if key in drawn], "open": place < 2}
        for place, (heading, group) in enumerate(groups.items())
    ]
    return charts, [group for group in found if group["charts"]]


def chart_of(several: Sequence[Recorded], split: str, name: str, most: int) -> Json:
    """Return the curves of a value, baselines before them; one that is the same for all runs once."""
    curves: list[Json] = []
    baselines: list[Json] = []
    for place, recorded in enumerate(several):
        if (split, f"{BASELINE}{name}") in recorded.curves.by_name:
            values = recorded.curves.by_name[split, f"{BASELINE}{name}"].drawn(most)
            baselines.append({"run": place, "baseline": printable(recorded.run.baseline_name), **values})
        if (split, name) in recorded.curves.by_name:
            curves.append({"run": place, **recorded.curves.by_name[split, name].drawn(most)})
    if len({(*baseline["value"][-1:], baseline["baseline"]) for baseline in baselines}) == 1:
        baselines = [{**max(baselines, key=lambda one: one["step"][-1]), "run": None}]
    return {
        "title": printable(name),
        "split": split,
        "smooth": split == "train",
        "first": 0,
        "curves": [*baselines, *curves],
    }


def series_of(sheets: Sequence[Mapping[str, Mapping[int, Sheet]]]) -> tuple[list[tuple[str, int, int]], list[Json]]:
    """Return the pictures, each once; and series of them: {name, runs: run, step, sample and column of which}. Those
    that are of other samples in each run are a series for each `run`.
    """
    places: dict[bytes, int] = {}
    images: list[tuple[str, int, int]] = []
    series: list[Json] = []

    def place(cell: Cell) -> int:
        if cell.webp not in places:
            places[cell.webp] = len(images)
            images.append(cell.plain())
        return places[cell.webp]

    for name in sorted({name for own in sheets for name, of in own.items() if of}, key=rank):
        runs = [one_of(run, own[name], place) for run, own in enumerate(sheets) if own.get(name)]
        if name.rpartition("/")[2] in OWN_SAMPLES and len(sheets) > 1:
            series += [{"name": name, "run": one["run"], "runs": [one]} for one in runs]
        else:
            wholes = [one for one in runs if one["headings"] == [""]]  # of a version that did not say where samples are
            cut = [one for one in runs if one not in wholes]
            series += [{"name": name, "run": None, "runs": alike} for alike in (cut, wholes) if alike]
    return images, series


def rank(name: str) -> tuple[int, str]:
    """Return where on the page pictures called `name` are, by which names are sorted."""
    own = name.rpartition("/")[2]
    return (ORDER.index(own) if own in ORDER else len(ORDER) + (own == TRAINING), name)


def one_of(run: int, sheets: Mapping[int, Sheet], place: Callable[[Cell], int]) -> Json:
    """Return the pictures of one name of a run. All steps have the columns of the last."""
    last = sheets[max(sheets)]
    like = {step: sheet for step, sheet in sheets.items() if sheet.headings == last.headings and sheet.samples}
    samples = [[[place(cell) for cell in row] for row in sheet.samples] for sheet in like.values()]
    return {"run": run, "steps": list(like), "headings": list(map(printable, last.headings)), "samples": samples}
