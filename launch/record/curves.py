"""metrics.jsonl -> curves.png: training losses, and each validation figure beside its baseline."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from launchbay.launch.files import Json, replacing
from launchbay.launch.record.figures import NO_LOSS, Figures

NO_CURVE = {"step", "epoch", "split", "lr", "samples_per_s"}
TRAINING = "training loss"


def draw_curves(lines: Iterable[Json], baseline_name: str, path: Path) -> None:
    """Draw the record's `lines` to `path`. Training losses are smoothed; what they were shows faintly behind."""
    from matplotlib.figure import Figure  # half a second that only a finished run pays

    panels = collect_curves(lines, baseline_name)
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows), layout="constrained")
    for number, (title, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for label, points in curves.items():
            steps, values = zip(*points, strict=True)
            style = "--" if label == baseline_name else "-"
            (line,) = axes.plot(steps, smooth(values) if title == TRAINING else values, style, label=label)
            if title == TRAINING:
                axes.plot(steps, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
        if title == TRAINING and all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def collect_curves(lines: Iterable[Json], baseline_name: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return {panel's title: {curve's label: [(step, value)...]}}."""
    panels: defaultdict[str, defaultdict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        shown = {name: value for name, value in line.items() if name not in NO_CURVE and value is not None}
        figures = Figures.from_named({name: value for name, value in shown.items() if not name.endswith(NO_LOSS)})
        for name, value in figures.own.items():
            title, label = (TRAINING, name) if line["split"] == "train" else (name, "validation")
            panels[title][label].append((line["step"], value))
        for name, value in figures.baseline.items():
            panels[name][baseline_name].append((line["step"], value))
    return {title: dict(curves) for title, curves in panels.items()}


def smooth(values: Sequence[float]) -> list[float]:
    """Return the mean over a window of a twentieth of all values around each."""
    half = len(values) // 40
    windows = (values[max(0, place - half) : place + half + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows]
