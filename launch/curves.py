"""metrics.jsonl -> curves.png: training losses, and each validation figure beside its baseline."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NO_CURVE = {"step", "epoch", "split", "lr", "samples_per_s"}
BASELINE = "baseline/"


def draw(lines: Iterable[dict[str, Any]], path: Path) -> None:
    """Draw the record's `lines` to `path`."""
    from matplotlib.figure import Figure  # half a second that only a finished run pays

    panels = collect(lines)
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows), layout="constrained")
    for number, (title, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for label, points in curves.items():
            axes.plot(
                *zip(*points, strict=True), label=label, linestyle="--" if label == "baseline" else "-", linewidth=1.2
            )
        if title == "training loss" and all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def collect(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """{panel's title: {curve's label: [(step, value)...]}}"""
    panels: defaultdict[str, defaultdict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        for name, value in line.items():
            if name in NO_CURVE or name.endswith("/grad_norm"):
                continue
            if line["split"] == "train":
                title, label = "training loss", name
            else:
                title, label = name.removeprefix(BASELINE), "baseline" if name.startswith(BASELINE) else "validation"
            panels[title][label].append((line["step"], value))
    return {title: dict(curves) for title, curves in panels.items()}
