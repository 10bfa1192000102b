"""What a run leaves behind: metrics.jsonl (the truth), summary.json, sample grids, curves."""

import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from launchbay import devices
from launchbay.launch.config.option_file import to_yaml
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.files import Json, remove_leftovers, replacing, to_json, write_text, writing
from launchbay.launch.record import curves
from launchbay.launch.record.drawing import LAYOUT, CannotDraw, drawing, picture_file
from launchbay.launch.record.lines import METRICS, Line, read_record
from launchbay.launch.record.log import say
from launchbay.launch.record.place import Place
from launchbay.launch.record.run_folder import SUMMARY

COMPRESSION = 4
"""Of PNG: takes half as long as the default, 6, for 5 % more bytes."""


class Observer:
    """Is told what happens in a run. Observers live on the main process only, and decide nothing."""

    def step(self, step: int) -> None:
        """Take note that a step has been taken."""

    def phase(self, name: str, share: float | None) -> None:
        """Take note of what goes on in a validation, by the name of a task's method, and how much of it is done."""

    def line(self, line: Line) -> None:
        """There are new figures."""

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        """There are new pictures: the sample grid, under SAMPLES, and those of the task's gallery; those of several
        validation sets behind their names, "set5/samples".
        """

    def summary(self, summary: Json) -> None:
        """Take note of the new content of summary.json."""

    def close(self) -> None:
        """Take note that the run is over, in whatever way its summary says."""


class Record(Observer):
    """The run folder's own files."""

    def __init__(self, folder: Path, config: AnyConfig, earlier: Iterable[Line]):
        self.folder, self.baseline_name = folder, "baseline"
        with writing(folder):
            write_text(folder / "config.yaml", to_yaml(config))
            (folder / "samples").mkdir(exist_ok=True)
            for place in (folder, folder / "samples", *(folder / "samples").glob("*/")):
                remove_leftovers(place)
            # What was recorded after the checkpoint that the run goes on from happens again.
            with replacing(folder / METRICS) as temporary, temporary.open("w", encoding="utf-8") as metrics:
                metrics.writelines(to_json(line) + "\n" for line in earlier)
            self.metrics = (folder / METRICS).open("a", encoding="utf-8")
            self.place = Place(folder)

    def line(self, line: Line) -> None:
        self.metrics.write(to_json(line) + "\n")
        self.metrics.flush()

    def samples(self, step: int, pictures: Mapping[str, Image.Image]) -> None:
        for name, picture in pictures.items():
            file = picture_file(self.folder, step, name)
            file.parent.mkdir(exist_ok=True)
            with drawing(), replacing(file) as temporary:
                picture.save(temporary, compress_level=COMPRESSION, pnginfo=texts(picture))

    def check_place(self) -> None:
        """Raise an OSError if there is another folder now, or none: what is not this run's is left alone."""
        if gone := self.place.gone():
            raise FileNotFoundError(gone)

    def summary(self, summary: Json) -> None:
        self.baseline_name = summary["baseline_name"]
        self.check_place()
        write_text(self.folder / SUMMARY, to_json(summary, indent=2) + "\n")

    def close(self) -> None:
        self.metrics.close()
        self.check_place()
        file = self.folder / "curves.png"
        try:
            with drawing():
                curves.draw_curves(read_record(self.folder), self.baseline_name, file)
        except CannotDraw as error:
            say(f"{file} cannot be drawn: {error}")


def texts(picture: Image.Image) -> PngInfo:
    """Return the texts that the PNG of `picture` has: how a grid is laid out."""
    kept = PngInfo()
    if LAYOUT in picture.info:
        kept.add_text(LAYOUT, picture.info[LAYOUT], zip=True)
    return kept


def surroundings(processes: int, device: torch.device) -> Json:
    """Return what decides on the last digit of a run's figures, beside its options."""
    return {"world_size": processes, "threads": torch.get_num_threads(), "versions": versions(device)}


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Return the most bytes that this process has had so far, and how many of its GPU."""
    return {"memory": peak_of_process(), "gpu_memory": devices.peak_memory(device)}


def peak_of_process() -> int:
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@cache
def versions(device: torch.device) -> dict[str, str]:
    """Return the versions of what decides on a run's figures, and what its GPU is and computes in TF32."""
    names = ("launchbay", "torch", "accelerate")
    of_libraries = {name: version(name) for name in names}
    return {"python": platform.python_version(), **of_libraries, **devices.describe(device)}


def tell_all(observers: Sequence[Observer], folder: Path, action: Callable[[Observer], None]) -> None:
    """Do `action` with each of the `observers` of the run in `folder`, also where it fails with one of them.

    Raises:
        UserError: the run folder cannot be written to.
    """
    with writing(folder), ExitStack() as stack:
        for observer in reversed(observers):
            stack.callback(action, observer)
