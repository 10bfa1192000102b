"""metrics.jsonl -> curves.png: training losses, and each validation figure beside its baseline."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from launchbay.launch.files import Json, replacing
from launchbay.launch.record.figures import BASELINE, NO_FIGURE, NO_LOSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAINING = "training loss"
MOST_POINTS = 2000
"""That a curve is drawn with: more than a panel has columns of pixels."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The values of something at steps."""

    steps: NDArray[np.int64]
    """After which a value was recorded."""
    values: Values
    """As many, float64."""

    def smoothed(self) -> "Curve":
        """Return the mean over a window of a twentieth of all values around each."""
        return Curve(self.steps, smooth(self.values))

    def thinned(self, most: int = MOST_POINTS) -> "Curve":
        """Return some `most` points, by which the curve looks the same."""
        return Curve(*thin(self.steps, self.values, most))


def draw_curves(lines: Iterable[Json], baseline_name: str, path: Path) -> None:
    """Draw the record's `lines` to `path`."""
    figure = curves_figure(collect_curves(lines, baseline_name), baseline_name)
    if figure is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)


def curves_figure(panels: Mapping[str, Mapping[str, Curve]], baseline_name: str) -> "Figure | None":
    """Draw a panel for each title; of none nothing. Training losses are smoothed; what they were shows faintly."""
    from matplotlib.figure import Figure  # half a second that only a finished run pays

    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows), layout="constrained")
    for number, (title, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        for label, curve in curves.items():
            style = "--" if label == baseline_name else "-"
            shown = (curve.smoothed() if title == TRAINING else curve).thinned()
            (line,) = axes.plot(shown.steps, shown.values, style, label=label)
            if title == TRAINING:
                behind = curve.thinned()
                axes.plot(behind.steps, behind.values, color=line.get_color(), alpha=0.25, linewidth=0.8)
        if title == TRAINING and all(curve.values.min() > 0 for curve in curves.values()):
            axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def collect_curves(lines: Iterable[Json], baseline_name: str) -> dict[str, dict[str, Curve]]:
    """Return {panel's title: {curve's label: its curve}}, in one go through the record's `lines`."""

    @cache
    def place(name: str, split: str) -> tuple[str, str] | None:
        """Return the panel and the label of a value, or None if it is none to draw."""
        if name in NO_FIGURE or name.endswith(NO_LOSS):
            return None
        if name.startswith(BASELINE):
            return name.removeprefix(BASELINE), baseline_name
        return (TRAINING, name) if split == "train" else (name, "validation")

    panels: dict[str, dict[str, tuple[array[int], array[float]]]] = {}
    for line in lines:
        for name, value in line.items():
            where = place(name, line["split"])
            if where is not None and value is not None:
                title, label = where
                steps, values = panels.setdefault(title, {}).setdefault(label, (array("q"), array("d")))
                steps.append(line["step"])
                values.append(value)
    return {
        title: {label: Curve(np.asarray(steps), np.asarray(values)) for label, (steps, values) in curves.items()}
        for title, curves in panels.items()
    }


def smooth(values: Values) -> Values:
    """Return the mean over a window of a twentieth of all values around each."""
    half = len(values) // 40
    width = 2 * half + 1
    # A window ends in the block of its width after the one that it begins in: the end of one and the start of the other
    # add up to it. Differences of running sums would lose small values behind a large one.
    padded = np.zeros(-(-(len(values) + 2 * half) // width) * width)
    padded[half : half + len(values)] = values
    blocks = padded.reshape(-1, width)
    begun = blocks.cumsum(axis=1).ravel()
    left = blocks[:, ::-1].cumsum(axis=1)[:, ::-1].ravel()
    first = np.arange(len(values))
    sums = begun[first + width - 1] + np.where(first % width, left[first], 0)
    counts = np.minimum(first + half, len(values) - 1) - np.maximum(first - half, 0) + 1
    return sums / counts


def thin(steps: NDArray[np.int64], values: Values, most: int = MOST_POINTS) -> tuple[NDArray[np.int64], Values]:
    """Return the points of a curve that can be told apart in a picture: of many, the lowest and the highest of each of
    so many parts."""
    if len(values) <= most:
        return steps, values
    bounds = np.linspace(0, len(values), most // 2 + 1).astype(int).tolist()
    parts = [(first, values[first:end]) for first, end in pairwise(bounds)]
    chosen = {first + int(place) for first, part in parts for place in (part.argmin(), part.argmax())}
    kept = np.array(sorted(chosen | {0, len(values) - 1}))
    return steps[kept], values[kept]
