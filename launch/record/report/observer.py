"""report.html of a run that goes on: written anew at each validation, from what this process has seen of it."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from launchbay.launch.files import Json, write_text
from launchbay.launch.record.drawing import CannotDraw, drawing, picture_file
from launchbay.launch.record.lines import Line
from launchbay.launch.record.log import say
from launchbay.launch.record.place import Place
from launchbay.launch.record.reader import read_run_folder
from launchbay.launch.record.report.content import Recorded
from launchbay.launch.record.report.page import REPORT, page_of
from launchbay.launch.record.tracking import Observer

SHARE, LONGEST = 20, 10
"""Validations that follow each other fast are not all on the page: writing it takes a twentieth of the time, or is due
after so many seconds."""
SOONEST, LATEST = 10, 120
"""Seconds after which the page reloads itself."""


class Report(Observer):
    """That of the run in `folder`, which goes on from `step` after the lines `earlier`. What a validation costs here
    does not depend on how many came before.
    """

    def __init__(self, folder: Path, step: int, earlier: Iterable[Line]):
        self.folder, self.place = folder, Place(folder)
        self.recorded = Recorded(read_run_folder(folder))
        for line in earlier:
            self.recorded.curves.add(line)
        for of, files in self.recorded.run.pictures().items():
            if of <= step:  # later ones happen again
                self.recorded.album.add(of, files)
        self.written, self.not_before, self.is_said = time.monotonic(), 0.0, False

    def line(self, line: Line) -> None:
        self.recorded.curves.add(line)

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        self.recorded.album.add(step, {name: picture_file(self.folder, step, name) for name in pictures})

    def summary(self, summary: Json) -> None:
        is_over = summary["status"] != "running"
        begun = time.monotonic()
        if self.place.gone() or (begun < self.not_before and not is_over):
            return
        try:
            with drawing():
                self.write(0 if is_over else min(max(SOONEST, begun - self.written), LATEST))
        except CannotDraw as error:
            if not self.is_said:
                say(f"{self.folder / REPORT} cannot be written: {error}")
            self.is_said = True
        self.written = time.monotonic()
        self.not_before = self.written + min(SHARE * (self.written - begun), LONGEST)

    def write(self, reload: float) -> None:
        self.recorded.run = read_run_folder(self.folder)
        write_text(self.folder / REPORT, page_of([self.recorded], round(reload)))
