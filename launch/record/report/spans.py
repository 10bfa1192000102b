"""Curves of any length as they are drawn: a few hundred spans of points, kept while the lines of a record pass by."""

from array import array

import numpy as np
from numpy.typing import NDArray

from launchbay.launch.record.figures import BASELINE
from launchbay.launch.record.lines import Line

MOST_SPANS = 512
"""That a curve is drawn with: more than a chart has columns of pixels."""
MOST_CURVES = 400
"""Of a run. 10,000 classes may have a figure each."""
AT_ONCE = 1024
"""Lines after which points become part of spans."""
NO_CURVE = ("step", "epoch", "split")
COUNT, SUM, LOW, HIGH, STEP = range(5)
"""The columns of spans: points, their sum, their lowest and highest value, and the step of the last."""


class Spans:
    """A curve: so many points in each of at most MOST_SPANS spans, a power of two. What a point costs, and the memory,
    does not depend on how many came before.
    """

    def __init__(self):
        self.steps, self.values = array("q"), array("d")  # of points that are in no span yet
        self.width = 1
        self.spans: NDArray[np.float64] = np.empty((0, 5))

    def fold(self) -> None:
        """Make the points part of spans, and have each have twice as many points where these become too many."""
        if not self.steps:
            return
        values = np.array(self.values)
        points = np.column_stack([np.ones(len(values)), values, values, values, np.array(self.steps)])
        self.steps, self.values = array("q"), array("d")
        spans = grouped(np.concatenate([self.spans, points]), self.width)
        while len(spans) > MOST_SPANS:
            self.width *= 2
            spans = grouped(spans, self.width)
        self.spans = spans

    def drawn(self, most: int = MOST_SPANS) -> dict[str, list[float]]:
        """Return the curve as the page has it, in at most so many spans: the `step` and the mean `value` of each, and
        where it has several points the `low`est and the `high`est.
        """
        self.fold()
        spans, width = self.spans, self.width
        while len(spans) > most:
            width *= 2
            spans = grouped(spans, width)
        steps, columns = spans[:, STEP].astype(int).tolist(), {"value": spans[:, SUM] / spans[:, COUNT]}
        if width > 1:
            columns |= {"low": spans[:, LOW], "high": spans[:, HIGH]}
        return {"step": steps} | {name: [float(f"{v:.5g}") for v in of.tolist()] for name, of in columns.items()}


def grouped(spans: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return `spans`, those that follow each other as one, so that all have `width` points, but for the last."""
    if not len(spans):
        return spans
    place = (np.cumsum(spans[:, COUNT]) - 1) // width
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    ends = np.append(starts[1:], len(spans)) - 1
    together = [np.add.reduceat(spans[:, of], starts) for of in (COUNT, SUM)]
    low, high = np.minimum.reduceat(spans[:, LOW], starts), np.maximum.reduceat(spans[:, HIGH], starts)
    return np.column_stack([*together, low, high, spans[ends, STEP]])


class Curves:
    """All curves of a run, by split and name. Baselines have their prefix."""

    def __init__(self):
        self.by_name: dict[tuple[str, str], Spans] = {}
        self.left_out: set[tuple[str, str]] = set()
        self.known: dict[str, dict[str, Spans | None]] = {
            split: dict.fromkeys(NO_CURVE) for split in ("train", "val")
        }  # what a line is looked up in
        self.lines = 0

    def add(self, line: Line) -> None:
        """Take note of a line of the record."""
        split, step = line["split"], line["step"]
        known = self.known[split]
        for name, value in line.items():
            if value is None:
                continue
            if name not in known:
                known[name] = self.begin(split, name)
            if (curve := known[name]) is not None:
                curve.steps.append(step)
                curve.values.append(value)
        self.lines += 1
        if self.lines % AT_ONCE == 0:
            for curve in self.by_name.values():
                curve.fold()

    def begin(self, split: str, name: str) -> Spans | None:
        """Return a new curve; None if there are too many."""
        if len(self.by_name) >= MOST_CURVES:
            self.left_out.add((split, name))
            return None
        return self.by_name.setdefault((split, name), Spans())

    def titles(self) -> list[tuple[str, str]]:
        """Return the split and the name of each curve that is no baseline."""
        return [(split, name) for split, name in self.by_name if not name.startswith(BASELINE)]
