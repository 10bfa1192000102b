"""report.html in a browser: what it shows and does after its scripts ran, and that it asks nobody for anything."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from chromium import Chromium, Page, opened

from launchbay.launch.files import to_json, write_text
from launchbay.launch.record.report.content import read_recorded
from launchbay.launch.record.report.page import page_of

pytestmark = pytest.mark.skipif(chromium.found() is None, reason="no Chromium: apt-get install chromium")
HOSTILE = """</script><script>document.title="owned"</script><img src=x onerror=alert(1)>"&{{ 7*7 }}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with opened(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def several(trained: Path) -> Path:
    """The page of two runs of the same task."""
    other = Path(shutil.copytree(trained, "other"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(re.sub(r"^seed:.*$", "seed: 3", config, flags=re.MULTILINE))
    Path("report.html").write_text(page_of([read_recorded(trained), read_recorded(other)]))
    return Path("report.html")


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_it_fits_and_is_quiet(*, width: int, dark: bool, browser: Chromium, several: Path) -> None:
    """On a phone and on a wide screen, light and dark: no scrolling to the right, no request, no error."""
    page = Page(browser, width, dark=dark)
    page.open(several)
    assert page("document.documentElement.scrollWidth") <= width
    assert page("document.querySelectorAll('.chart svg path.curve').length") > 4
    assert page("document.querySelectorAll('.chart svg path.baseline').length") == 1
    assert page("[...document.images].every(image => image.complete && image.naturalWidth > 0)") is True
    page("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page("document.documentElement.scrollWidth") <= width
    paper, ink = page("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    darker, lighter = (paper, ink) if dark else (ink, paper)
    assert brightness(darker) < 60 and brightness(lighter) > 200
    assert page.seen == []


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_sliders_move_pictures(browser: Chromium, several: Path) -> None:
    page = Page(browser, 1280, dark=False)
    page.open(several)
    part = "document.querySelector('.pictures')"
    slide = f"{part}.querySelector('.slide')"
    right = f"{part}.querySelectorAll('.wipe img')[1]"
    assert page(f"{part}.querySelector('.tag.left').textContent") == "it · output"
    assert page(f"{part}.querySelector('.tag.right').textContent") == "other · output"
    page(f"{slide}.scrollIntoView({{ block: 'center' }})")
    box = f"{part}.querySelector('.wipe').getBoundingClientRect()"
    x, wide, y = page(f"(({{ x, width, bottom }}) => [x, width, bottom - 30])({box})")
    page.drag((x + wide / 2, y), (x + wide / 4, y))
    assert float(page(f"{slide}.value")) == pytest.approx(25, abs=1)
    assert page(f"getComputedStyle({right}).clipPath").startswith("inset(0px 0px 0px 25")
    page(f"{slide}.focus()")
    page.press("ArrowRight")
    assert float(page(f"{slide}.value")) == pytest.approx(25.5, abs=1)
    steps, before = f"{part}.querySelector('input[type=range]')", page(f"{right}.src")
    page(f"{steps}.focus()")
    assert page(f"{part}.querySelector('output').textContent") == "2"
    page.press("ArrowLeft")
    assert page(f"{part}.querySelector('output').textContent") == "1" and page(f"{right}.src") != before
    page(f"{part}.querySelectorAll('.sample')[2].querySelector('button').click()")
    assert (
        page(f"{right}.alt").startswith("Sample 3: ")
        and page(f"{part}.querySelectorAll('[aria-pressed=true]').length") == 1
    )
    assert page.seen == []


def test_curves_answer(browser: Chromium, several: Path) -> None:
    """To keys, to a logarithmic scale and to runs that are not to be drawn."""
    page = Page(browser, 1280, dark=False)
    page.open(several)
    chart = "document.querySelector('.chart')"
    page(f"{chart}.focus()")
    page.press("ArrowRight")
    tip = page(f"{chart}.querySelector('.tip').innerText")
    assert tip.startswith("step 1") and "it" in tip and "other" in tip and "input" in tip
    assert "ends at" in page(f"{chart}.querySelector('svg').getAttribute('aria-label')")
    loss = "[...document.querySelectorAll('.chart')].find(one => one.innerText.includes('model/l1'))"
    before = page(f"{loss}.querySelector('.curve').getAttribute('d')")
    page("document.getElementById('logarithmic').click()")
    after = page(f"{loss}.querySelector('.curve').getAttribute('d')")
    page("document.getElementById('smoothing').value = 0.95")
    page("document.getElementById('smoothing').dispatchEvent(new Event('input'))")
    assert len({before, after, page(f"{loss}.querySelector('.curve').getAttribute('d')")}) == 3
    page("document.getElementById('draw-1').click()")
    assert page(f"{chart}.querySelectorAll('.curve').length") == 1
    assert page.seen == []


def test_it_reloads_while_the_run_goes_on_and_keeps_what_was_chosen(browser: Chromium, trained: Path) -> None:
    recorded, page = read_recorded(trained), Page(browser, 1280, dark=False)
    Path("report.html").write_text(page_of([recorded], reload=0.5))  # pyright: ignore[reportArgumentType]
    page.open(Path("report.html"))
    page("document.getElementById('logarithmic').click(); document.querySelector('.slide').value = 80")
    page(
        "document.getElementById('more-curves').open = true; document.querySelector('.slide').focus(); scrollTo(0, 700)"
    )
    write_text(Path("report.html"), page_of([recorded]).replace("</h1>", " anew</h1>"))
    page.wait_for_load()
    assert page("document.querySelector('h1').textContent") == "it anew"
    assert page("document.getElementById('logarithmic').checked && document.getElementById('more-curves').open") is True
    kept = page("[document.querySelector('.slide').value, document.activeElement.className, scrollY]")
    assert kept == ["80", "slide", 700]
    assert page.seen == []


def test_hostile_names_are_words(browser: Chromium, trained: Path) -> None:
    """Of runs, figures, pictures, options, versions and classes."""
    run = Path(shutil.copytree(trained, Path("runs") / HOSTILE.replace("/", "∕")))
    summary = json.loads((run / "summary.json").read_text())
    own = {"best": {**summary["best"], HOSTILE: 1.0}, "baseline": {HOSTILE: 0.5}, "baseline_name": HOSTILE}
    own |= {"data": HOSTILE, "reason": HOSTILE, "status": "failed", "versions": {HOSTILE: HOSTILE}, "use": HOSTILE}
    (run / "summary.json").write_text(to_json({**summary, **own}))
    with (run / "metrics.jsonl").open("a") as record:
        record.write(to_json({"step": 2, "split": "val", HOSTILE: 1.0, f"baseline/{HOSTILE}": 2.0}) + "\n")
    with (run / "config.yaml").open("a") as config:
        config.write(json.dumps(HOSTILE) + ": " + json.dumps(HOSTILE) + "\n")
    (run / "samples/step-00000002.png").rename(run / f"samples/step-00000002-{HOSTILE.replace('/', '∕')}.png")
    Path("report.html").write_text(page_of([read_recorded(run), read_recorded(trained)]))
    page = Page(browser, 1280, dark=False)
    page.open(Path("report.html"))
    assert page("document.title").startswith("<∕script>") and page("document.scripts.length") == 2
    assert page("document.querySelectorAll('img:not([src^=\"data:image/webp\"])').length") == 0
    assert page("document.body.innerText.split('onerror=alert').length") > 8
    assert page("document.documentElement.scrollWidth") <= 1280
    assert page.seen == []


def test_nothing_from_outside_is_allowed(browser: Chromium, trained: Path) -> None:
    """Whatever would stand in the page: its policy lets it neither run nor ask."""
    text = page_of([read_recorded(trained)])
    added = '<script>document.title="owned"</script><img src="http://127.0.0.1:9/x.png"><p style="color:red" id="p">'
    Path("report.html").write_text(text.replace("<main>", f"<main>{added}"))
    page = Page(browser, 1280, dark=False)
    page.open(Path("report.html"))
    assert page("document.title") == "it"
    assert page("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
    blocked = [event["params"]["entry"]["text"] for event in page.seen if event["method"] == "Log.entryAdded"]
    assert len(blocked) == 3 and all("Content Security Policy" in text for text in blocked)
    page.browser.events.clear()
