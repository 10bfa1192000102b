"""TensorBoard: event files in the run folder. `tensorboard --logdir runs` shows all runs."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from launchbay.trackers import Row, Tracker

OPTIONS, STATUS = "options", "status"
"""Texts beside the rows."""


class TensorBoard(Tracker):
    """A curve for each figure, a slider for each picture, and the options. Written anew when a run goes on."""

    def begin(self) -> int:
        shutil.rmtree(self.folder(), ignore_errors=True)
        self.writer = EventFileWriter(str(self.folder()))
        table = "".join(f"| {name} | {value} |\n" for name, value in self.run.options.items())
        self.add(0, text_pb(OPTIONS, f"| option | value |\n|---|---|\n{table}").value)
        return 0

    def folder(self) -> Path:
        return self.run.folder / "tensorboard"

    def add(self, step: int, values: Iterable[Summary.Value]) -> None:
        self.writer.add_event(Event(step=step, summary=Summary(value=values)))

    def write(self, row: Row) -> None:
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in row.figures.items()]
        self.add(row.step, [*scalars, *(picture(name, file) for name, file in row.pictures.items())])

    def end(self, status: str) -> None:
        self.add(0, text_pb(STATUS, status).value)
        self.writer.close()

    def kept(self) -> tuple[int, bool]:
        """Count by TensorBoard's own reader."""
        files = sorted(self.folder().glob("events.out.tfevents.*"))
        events = [event for file in files for event in LegacyEventFileLoader(str(file)).Load()]
        tags = [event.summary.value[0].tag for event in events if event.summary.value]
        return len([tag for tag in tags if tag not in (OPTIONS, STATUS)]), tags[-1:] == [STATUS]


def picture(name: str, file: Path) -> Summary.Value:
    with Image.open(file) as opened:
        width, height = opened.size
    content = Summary.Image(width=width, height=height, encoded_image_string=file.read_bytes())
    return Summary.Value(tag=name, image=content)
