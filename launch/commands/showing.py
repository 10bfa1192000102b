"""A run as a notebook shows it: its figures beside the baseline, its curves and its last samples, as HTML."""

from base64 import b64encode
from html import escape
from io import BytesIO

from launchbay import printable
from launchbay.launch.record.curves import curves_figure
from launchbay.launch.record.drawing import SAMPLES
from launchbay.launch.record.figures import Figures
from launchbay.launch.record.reader import RunFolder, ago

CELL = "text-align: right; font-variant-numeric: tabular-nums"
PICTURE = "max-width: 100%; height: auto; display: block; margin-top: 0.5em"


def html_of(run: RunFolder, checkpoint: str) -> str:
    """Return what a notebook shows of `run`, with the figures of its "best" or "last" checkpoint."""
    parts = [f"<p><b>{text(run.name)}</b>: {text(headline(run, checkpoint))}</p>"]
    if run.damage:
        parts.append(f"<p>{text(run.damage)}</p>")
    figures = run.figures(checkpoint)
    if figures.own:
        parts.append(table(figures, run.baseline_name))
    if (drawn := curves_figure(run.curves(), run.baseline_name)) is not None:
        file = BytesIO()
        drawn.savefig(file, format="png", dpi=80)
        parts.append(picture(file.getvalue(), "curves"))
    if found := run.pictures():
        last = max(found)
        grids = [file for name, file in found[last].items() if name.rpartition("/")[2] == SAMPLES]
        parts += [picture(file.read_bytes(), f"samples of step {last}") for file in grids[:1]]
    return f"<div>{''.join(parts)}</div>"


def headline(run: RunFolder, checkpoint: str) -> str:
    """Return in one line what run this is, how it stands and whose figures these are."""
    said = f"{run.task} on {run.data}, {run.status}"
    if run.summary is None:
        return said
    summary = run.summary
    said += f" at step {summary.step:,} of {summary.steps:,} after {ago(summary.seconds)}"
    at = summary.best.get("step") if checkpoint == "best" else None
    chosen = ", which was chosen by these figures" * run.flatters
    return said + (f"; figures of the best checkpoint, that of step {at:,.0f}{chosen}" if at is not None else "")


def table(figures: Figures[float], baseline_name: str) -> str:
    """Return a table of each figure of the network beside that of the baseline."""
    heads = ["figure", "network", *([baseline_name, "difference"] if figures.baseline else [])]
    rows = [f"<tr>{''.join(f'<th>{text(head)}</th>' for head in heads)}</tr>"]
    for name, value in figures.own.items():
        cells = [f"{value:z.4f}"]
        if name in figures.baseline:
            cells += [f"{figures.baseline[name]:z.4f}", f"{value - figures.baseline[name]:+z.4f}"]
        shown = "".join(f'<td style="{CELL}">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{text(name)}</td>{shown}</tr>")
    return f"<table>{''.join(rows)}</table>"


def picture(png: bytes, what: str) -> str:
    return f'<img alt="{what}" style="{PICTURE}" src="data:image/png;base64,{b64encode(png).decode()}">'


def text(said: str) -> str:
    """Return text, which may be a stranger's, as HTML shows it."""
    return escape(printable(said, 300))
