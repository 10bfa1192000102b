"""`launchbay.train(...)` and `launchbay.load(...)`: a run in the hands of a program or of a notebook."""

import logging
import os
import signal
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from launchbay import UserError
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.plugins import TASKS, installed
from launchbay.launch.config.run_options import find_run
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.ranks import find_rank
from launchbay.launch.distributed.signals import Stop
from launchbay.launch.errors import Signalled, Stopped, out_of_memory
from launchbay.launch.files import Json
from launchbay.launch.record.curves import Curve
from launchbay.launch.record.reader import RunFolder, read_run_folder
from launchbay.launch.record.run_folder import config_file
from launchbay.launch.terminal import unbreakable

if TYPE_CHECKING:
    from torch import nn

    from launchbay.launch.commands.applying import OpenedRun, Picture
    from launchbay.tasks.base import AnyTask

LOGGER = logging.getLogger("launchbay")
NAMED: set[str] = set()
"""Tasks whose code this program has named itself: what a run folder says is theirs may be used."""


@contextmanager
def saying_what_to_do() -> Generator[None]:
    """Have an error that Python shows end in what to do about it."""
    try:
        yield
    except UserError as error:
        if error.hint and (note := f"→ {error.hint}") not in getattr(error, "__notes__", []):
            error.add_note(note)
        raise


class Run:
    """A run: what it has recorded, and its network, ready for use. Everything is read when it is asked for: a run that
    goes on is shown as it is by now. A notebook shows its figures, its curves and its last samples.
    """

    folder: Path
    """Where it is kept."""
    checkpoint: Literal["best", "last"]
    """Whose figures and networks these are."""

    def __init__(self, folder: Path, checkpoint: Literal["best", "last"], task: str | None, options: Json):
        self.folder, self.checkpoint = folder.absolute(), checkpoint  # a notebook may change its folder
        self._task, self._options = task, options

    def __reduce__(self) -> tuple[object, ...]:
        return Run, (self.folder, self.checkpoint, self._task, self._options)

    def __repr__(self) -> str:
        run = self._record
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(self.figures.items())[:3])
        return f"<Run {run.name}: {run.task}, {run.status}{f', {shown}' * bool(shown)}>"

    def _repr_html_(self) -> str:
        from launchbay.launch.commands.showing import html_of

        return html_of(self._record, self.checkpoint)

    @property
    def _record(self) -> RunFolder:
        """What is in its folder, as it is now."""
        return read_run_folder(self.folder)

    @property
    def status(self) -> str:
        """How it stands: "done", "stopped", "running"..."""
        return self._record.status

    @property
    def options(self) -> Json:
        """All its options by their names, and its `task`."""
        return self._record.options

    @property
    def figures(self) -> dict[str, float]:
        """The figures of the network on the validation set; of several sets, behind their names: "set5/psnr"."""
        return self._record.figures(self.checkpoint).own

    @property
    def baseline(self) -> dict[str, float]:
        """By the same names the figures of what needs no training, such as bicubic enlargement."""
        return self._record.figures(self.checkpoint).baseline

    def curves(self) -> dict[str, dict[str, Curve]]:
        """Return {panel: {label: curve}}: a panel "training loss" with a curve for each loss, and one for each figure,
        with "validation" and its baseline. A curve has `steps` and `values`, two arrays.
        """
        return self._record.curves(LOGGER.warning)

    @saying_what_to_do()
    def samples(self, step: int | None = None) -> dict[str, Image.Image]:
        """Return the pictures of the validation at `step`, by default the last one: the grid "samples", and those that
        the task draws beside it.

        Raises:
            UserError: there was none at that step.
        """
        found = self._record.pictures()
        if not found and step is None:
            return {}
        wanted = max(found) if step is None else step
        if wanted not in found:
            known = ", ".join(map(str, found)) or "none"
            raise UserError(f"{self.folder} has no samples of step {wanted}", f"there are those of steps: {known}")
        pictures: dict[str, Image.Image] = {}
        for name, file in found[wanted].items():
            with Image.open(file) as image:
                pictures[name] = image.copy()
        return pictures

    @saying_what_to_do()
    def network(self, name: str = "") -> "nn.Module":
        """Return its network in evaluation mode; of several the one called `name`.

        Raises:
            UserError: there is none of that name, or it cannot be built or read.
        """
        networks = self._opened.networks()
        if name in networks:
            return networks[name]
        if len(networks) == 1 and not name:
            return next(iter(networks.values()))
        said = f"this run has no network {name!r}" if name else f"this run has {len(networks)} networks"
        raise UserError(said, f"name one of them: {', '.join(networks)}")

    @saying_what_to_do()
    def apply(self, image: "Picture", *, tile: int | None = None) -> Any:  # as `image` is, and the task
        """Return what the network makes of a picture: of a PIL image or the path of a file a PIL image; of an array
        (H×W or H×W×C, 8 or 16 bits or floats in [0, 1]) an array; of a tensor (C×H×W or N×C×H×W in [0, 1]) a tensor. A
        task that makes several pictures gives them by their names. One that tells pictures apart gives the classes with
        their probabilities, the most probable first.

        A PIL image keeps colour profile and EXIF, and 16 bits if it is grey: in colour Pillow has 8 (an array or
        `launchbay apply` keeps 16).

        Args:
            tile: side of the tiles of a large picture, in its pixels (default: by the memory).

        Raises:
            UserError: it is no picture that this run can be used on.
        """
        return self._opened.apply(image, tile or 0)

    @saying_what_to_do()
    def draw(self, count: int = 16, *, label: str | int | None = None, seed: int = 0) -> list[Image.Image]:
        """Return pictures that a run of a generator draws, of the class `label` if it was trained with classes.

        Raises:
            UserError: this run draws none, or has no such class.
        """
        return self._opened.draw(count, label, seed)

    @cached_property
    def _opened(self) -> "OpenedRun":
        from launchbay.launch.commands.applying import open_for_use

        known = str(self.options.get("task", ""))
        if ":" in known and self._task is None and known not in NAMED:
            said = f"{self.folder} names code as its task, {known}, which may be a stranger's"
            raise UserError(said, f"if you trust it: launchbay.load({str(self.folder)!r}, task={known!r})")
        return open_for_use(self.folder, self.checkpoint, self._task or known, self._options)


@saying_what_to_do()
def load(
    run: str | Path, checkpoint: Literal["best", "last"], task: "str | type[AnyTask] | None", options: Json
) -> Run:
    """Return the run in the folder `run`, or of that name in runs/.

    Raises:
        UserError: it is no run.
    """
    if checkpoint not in ("best", "last"):
        raise UserError(f"checkpoint {checkpoint!r} is none that a run keeps", 'it is "best" or "last"')
    folder = Path(find_run(str(run)))
    config_file(folder)
    loaded = Run(folder, checkpoint, None if task is None else name_of(task), options)
    if options:
        check_options_of_use(loaded, name_of(task or str(loaded.options.get("task", ""))), options)
    return loaded


def check_options_of_use(run: Run, task: str, options: Json) -> None:
    """Raise a UserError if `options` are not those of the use of `run`; of a task that is not installed and that this
    program has not named, that is said when it is used.
    """
    from launchbay.launch.config.option_file import read_options
    from launchbay.launch.config.run_options import with_values_of_use

    if task and (":" not in task or task in NAMED):
        config, _ = read_options(config_file(run.folder), task_of(task)[1])
        with_values_of_use(config, options, "apply")


@saying_what_to_do()
def train(task: "str | type[AnyTask]", file: str | Path | None, options: Mapping[str, object]) -> Run:
    """Train `task` in this process, which is left as it was found, and return the run; also where --max-time, or a
    signal that this process outlives, has ended it early.

    Raises:
        UserError: it cannot be trained so.
        KeyboardInterrupt: it was interrupted, and goes on if it is called again with the same `run`.
    """
    from launchbay.launch.config.keywords import configure

    find_rank()
    name = name_of(task)
    NAMED.add(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm wants widgets, which are not used here
        from launchbay.launch.engine import session

        task_type, default = task_of(name)
    config, changes = configure(default, dict(options), Path(file) if file else None)
    stop = Stop(guest=True)
    if config.train.run.max_time:
        stop.limit(seconds_of(config.train.run.max_time))
    with as_found(), unbreakable():
        try:
            with stop:
                folder = session.train(task_type, config, changes, stop)
                wait_for_all()
        except (Stopped, Signalled) as stopped:
            if stop.folder is None:
                interrupted(stop.noted)
                raise KeyboardInterrupt("ended before training began") from None
            folder = stop.folder
            said = stopped.args[0] if isinstance(stopped, Stopped) else f"{signal.Signals(stop.noted).name}: stopped"
            print(f"{said}. The same call with run={folder.name!r} continues", flush=True)
            interrupted(stop.noted)
        except Exception as error:
            if memory := out_of_memory(error):
                raise memory from error
            raise
    return Run(folder, "best", name, {})


def wait_for_all() -> None:
    """Wait until the main process has written all that the others may want to read."""
    from launchbay.launch.distributed.collectives import on_main_process

    on_main_process(lambda: None)


@contextmanager
def as_found() -> Generator[None]:
    """Within it, something is done in a process that is somebody else's, and left as it was found."""
    from launchbay.launch.distributed.guest import as_guest

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with as_guest():
        yield


def interrupted(number: int) -> None:
    """Let the signal `number` that ended a training, if one did, do what it does in this process; Ctrl-C raises
    KeyboardInterrupt."""
    if number in [each.value for each in signal.Signals]:
        signal.raise_signal(number)


def name_of(task: "str | type[AnyTask]") -> str:
    """Return the name of a task, which may be given as its class: "module:Class" if that is not installed."""
    if isinstance(task, str):
        return task
    if not isinstance(task, type):
        raise UserError(f"{task!r} is no task", "give the name of one, or a class that derives from Task")
    target = f"{task.__module__}:{task.__qualname__}"
    return next((plugin.name for plugin in installed(TASKS) if plugin.target == target), target)
