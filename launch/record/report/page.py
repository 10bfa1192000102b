"""The page: what was recorded of some runs -> HTML, with its style, script, curves and pictures in it."""

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from launchbay import __version__, number_of, printable
from launchbay.launch.files import Json
from launchbay.launch.record.drawing import SAMPLES
from launchbay.launch.record.reader import RunFolder
from launchbay.launch.record.report.album import MOST_SAMPLES, Sheet, fit
from launchbay.launch.record.report.content import MOST_CHARTS, Recorded, charts_of, series_of
from launchbay.launch.record.report.tables import MOST_FIGURES, facts_table, figures_table, options_table, parts_table
from launchbay.launch.record.report.words import STATES, commands, state, verdict

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("charts.js", "pictures.js", "page.js")
GENERATOR = f"launchbay {__version__}"
PICTURE_BYTES = 1_600_000
"""Of all pictures on the page, which has a third more of them in text."""
HUES = (255, 45, 150, 330, 95, 200, 20, 290)
"""Of the first runs, in degrees; others are a golden angle apart."""
HEADINGS = {
    SAMPLES: "Samples", "worst": "Worst pictures", "best": "Best pictures", "confusion": "Confusion matrix",
    "generated": "Generated pictures", "walk": "Walks from one latent to another", "classes": "A row for each class",
    "training": "What it trains on",
}  # fmt: skip
"""Of pictures, in the order of the page; then come others, under their own names."""
WORDS = ("answer", "classes")
"""Columns of sample grids that have words in them: nothing to compare pixel by pixel."""
NOTES = {
    "worst": "Those of the validation set with the worst values of the figure that chooses the best checkpoint.",
    "best": "Those of the validation set with the best values of the figure that chooses the best checkpoint.",
    "training": "Samples of the first batch as the networks get to see them, augmented.",
}


def page_of(several: Sequence[Recorded], reload: float = 0) -> str:
    """Return the page of `several` runs. It reloads itself every `reload` seconds; 0: never."""
    runs = [recorded.run for recorded in several]
    names = names_of(runs)
    sheets = fit([recorded.album for recorded in several], PICTURE_BYTES)
    charts, groups = charts_of(several)
    images, series = series_of(sheets)
    parts: Json = {
        "figures": figures_table(runs, names),
        "by_part": parts_table(runs[0]) if len(runs) == 1 else None,
        "differing": options_table(runs, names, differing=True) if len(runs) > 1 else None,
        "same": options_table(runs, names, differing=False),
        "facts": facts_table(runs, names),
        "charts": groups,
        "pictures": pictures_of(series),
    }
    style, script = style_for(len(runs)), f'"use strict";\n{"".join(map(text_of, SCRIPTS))}'
    written = time.time()
    shown = {"runs": names, "words": WORDS, "charts": charts, "images": images, "series": series}
    return template().render(
        **parts,
        title=title_of(runs, names),
        kicker=" · ".join(dict.fromkeys(f"{run.task} on {printable(run.data or 'unknown data')}" for run in runs)),
        verdict=verdict(runs, names),
        runs=[described(run, name) for run, name in zip(runs, names, strict=True)],
        notes=notes_on(several, sheets),
        sections=sections_of(parts),
        generator=GENERATOR,
        written=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(written)),
        data={**shown, "reload": reload, "written": round(written)},
        style=Markup(style),
        style_hash=hash_of(style),
        script=Markup(script),
        script_hash=hash_of(script),
    )


def names_of(runs: Sequence[RunFolder]) -> list[str]:
    """Return what to call each run: its name, or its folder where several have the same."""
    names = [run.name for run in runs]
    return [printable(str(run.folder) if names.count(run.name) > 1 else run.name) for run in runs]


def title_of(runs: Sequence[RunFolder], names: Sequence[str]) -> str:
    return ", ".join(names) if len(runs) <= 4 else f"{len(runs)} runs: {names[0]} to {names[-1]}"


def described(run: RunFolder, name: str) -> Json:
    return {"name": name, "status": state(run), "kind": STATES.get(run.status, "bad"), "commands": commands(run)}


def sections_of(parts: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the places of the page and their headings."""
    named = {"figures": "Figures", "differing": "Options that differ", "charts": "Curves"}
    places = {"differing": "options", "charts": "curves"}
    found = [(places.get(part, part), heading) for part, heading in named.items() if parts[part]]
    found += [(one["place"], one["heading"]) for one in parts["pictures"]]  # pyright: ignore
    return [*found, ("speed", "Speed"), ("commands", "Commands")]


def pictures_of(series: Sequence[Json]) -> list[Json]:
    """Return the parts of the page with pictures: heading, note, place, and the numbers of the series in each."""
    parts: dict[str, Json] = {}
    for number, one in enumerate(series):
        where, _, own = str(one["name"]).rpartition("/")
        heading = HEADINGS.get(own, own)
        place = f"pictures-{crc32(one['name'].encode()):08x}"
        said = printable(f"{heading} · {where}" if where else heading)
        part = parts.setdefault(
            one["name"], {"heading": said, "note": NOTES.get(own, ""), "place": place, "series": []}
        )
        part["series"].append({"number": number, "run": one["run"]})
    return list(parts.values())


def notes_on(several: Sequence[Recorded], sheets: Sequence[Mapping[str, Mapping[int, Sheet]]]) -> list[str]:
    """Return what is not as it should be, or not on the page."""
    said = [printable(line) for recorded in several for line in recorded.said]
    unread = sum(recorded.album.unread() for recorded in several)
    said += [f"{number_of(unread, 'picture')} of samples/ cannot be read, and left out."] if unread else []
    left_out = sum(len(recorded.curves.left_out) for recorded in several)
    left_out += max(0, len({key for recorded in several for key in recorded.curves.titles()}) - MOST_CHARTS)
    said += [f"Only metrics.jsonl has {number_of(left_out, 'more curve')}."] if left_out else []
    if any(len(recorded.run.figures().own) > MOST_FIGURES for recorded in several):
        said.append(f"Tables have at most {MOST_FIGURES} rows; summary.json has all figures.")
    if bare := sum(not own and bool(one.album.files) for one, own in zip(several, sheets, strict=True)):
        said.append(f"Pictures of {bare} runs are left out, to keep this file small.")
    if fewer := [recorded.album.shown for recorded in several if recorded.album.is_cut()]:
        steps, samples = fewer[0]
        of_samples = f" and {samples} samples" * (samples < MOST_SAMPLES)
        said.append(f"At most {steps} steps{of_samples} of each picture are shown here; samples/ has all.")
    return said


def style_for(runs: int) -> str:
    """Return the style of a page of so many `runs`, each of which has a colour."""
    hues = [HUES[place] if place < len(HUES) else round(place * 137.508 % 360, 1) for place in range(runs)]
    return "\n".join([text_of("page.css"), *(f".run-{place} {{ --hue: {hue}; }}" for place, hue in enumerate(hues))])


def text_of(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def hash_of(text: str) -> Markup:
    """Return what a content policy names `text` by, so that it may stand in the page, and nothing else may."""
    return Markup(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'")


@cache
def template() -> Template:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text_of("page.html"))
