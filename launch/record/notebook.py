"""What a person sees in a notebook while a run goes on: a bar that is drawn anew in its place. It needs no widgets."""

import sys
import time
from html import escape
from typing import Any

from launchbay import printable
from launchbay.launch.files import Json
from launchbay.launch.record.progress import PHASES, Clock, beside, first_figures
from launchbay.launch.record.tracking import Line

SECONDS_BETWEEN = 0.5


def in_notebook() -> bool:
    """Return whether this process shows what it says in a notebook."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


class NotebookBar(Clock):
    """For a notebook."""

    def __init__(self, step: int, steps: int, end: float):
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        super().__init__(step, steps, end)
        self.at, self.shown, self.train, self.val, self.speed, self.doing = step, 0.0, "", "", "", ""
        self.handle: Any = display(self.html(), raw=True, display_id=True)

    def html(self) -> dict[str, str]:
        """Return the bar, in the kinds that a notebook may show."""
        said = "  ".join(filter(None, (f"step {self.at:,}/{self.steps:,}", self.train, self.val, self.speed)))
        said = printable(f"{said}  {self.doing or self.left(self.at)}".rstrip())
        bar = f'<progress max="{self.steps}" value="{self.at}" style="width: 20em"></progress>'
        return {"text/html": f"<div>{bar} <code>{escape(said)}</code></div>", "text/plain": said}

    def show(self) -> None:
        self.shown = time.monotonic()
        self.handle.update(self.html(), raw=True)

    def show_now_and_then(self) -> None:
        if time.monotonic() - self.shown > SECONDS_BETWEEN:
            self.show()

    def step(self, step: int) -> None:
        self.at, self.doing = step, ""
        self.show_now_and_then()

    def phase(self, name: str, share: float | None) -> None:
        self.doing = PHASES[name] + ("" if share is None else f" {share:.0%}")
        self.show_now_and_then()

    def line(self, line: Line) -> None:
        if line["split"] == "val":
            self.val = first_figures(line, 2)
        else:
            self.train, self.speed = first_figures(line, 1), f"{line['samples_per_s']:.0f} samples/s"

    def summary(self, summary: Json) -> None:
        self.doing = ""
        if summary["best_by"]:
            self.val = beside(summary)

    def close(self) -> None:
        self.doing = ""
        self.show()
