"""Where a run is kept: runs/NAME."""

import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from pydantic import TypeAdapter

from launchbay import UserError
from launchbay.launch.files import synchronize
from launchbay.launch.record.lock import LOCK
from launchbay.models.reading import Unfit, read_json, refuse_link
from launchbay.models.saved import Count, Figures, Number, Word

SUMMARY = "summary.json"
SWEEP = "sweep.txt"
"""What the folder of a sweep, which has its runs, keeps of its command."""
PLACE_OPTIONS = ("task", "run", "output_dir", "resume", "debug", "wandb", "wandb_artifact", "track")
"""Options that do not tell what a run learns."""
FOLDERS = ("", "checkpoints", "logs", "samples", "wandb")
FILES = (
    LOCK, SUMMARY, "config.yaml", "metrics.jsonl", "report.html", "curves.png", "profile.json", "wandb_id",
    "checkpoints/last", "checkpoints/best",
)  # fmt: skip
"""What a run keeps, and itself."""
SUMMARY_BYTES = 4 << 20
"""The most that a summary.json may have: figures of 10,000 classes have 2 MB."""


@dataclass(frozen=True)
class Summary:
    """What is read of a run's summary.json."""

    status: Word
    task: Word | None = None
    data: Word | None = None
    classes: list[Word] = field(default_factory=list)
    step: Count = 0
    steps: Count = 0
    epoch: Number = 0.0
    best: Figures = field(default_factory=dict)
    """With the step that they are of."""
    final: Figures = field(default_factory=dict)
    baseline: Figures = field(default_factory=dict)
    best_by: Word = ""
    lower_is_better: bool = False
    baseline_name: Word = "baseline"
    samples_per_s: Number = 0.0
    seconds: Number = 0.0
    waited: Count = 0
    reason: Word = ""
    """What ended it before its last step."""
    use: Word = ""
    """What `launchbay apply` takes after the run: "IN OUT", "IN", "OUT" or, where the task has no use yet, nothing."""
    memory: Count | None = None
    gpu_memory: Count | None = None
    """The most bytes that its main process had so far, and those of its GPU."""
    world_size: Count | None = None
    device: Word | None = None
    threads: Count | None = None
    versions: dict[Word, Word] = field(default_factory=dict)


SUMMARY_SCHEMA = TypeAdapter(Summary)


def open_folder(output_dir: Path, run: str | None, task: str) -> Path:
    """Return the folder of the run called `run`, new or begun before; or a new one: the task's name and the next free
    number.

    Raises:
        UserError: there is something else of that name, or the folder cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        folder = open_named_folder(output_dir / run) if run is not None else make_numbered(output_dir, task)
        synchronize(output_dir)
        return folder
    except OSError as error:
        raise UserError(
            f"cannot make a run folder in {output_dir}: {error.strerror}", "choose another folder with --output-dir"
        ) from error


def open_named_folder(folder: Path) -> Path:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LOCK).exists():
        raise UserError(f"{folder} exists already, and is not a run that could be continued", "choose another --run")
    check_own(folder)
    folder.mkdir(exist_ok=True)
    return folder


def check_own(folder: Path) -> None:
    """Check that what a run keeps in `folder` is files and folders, and none of it a link that leads elsewhere. The
    folder itself may be one.

    Raises:
        UserError: something else has the name of one.
    """
    from launchbay.models.checkpoints import list_checkpoints  # with torch, which readers do without

    inside = [path for name in ("logs", "samples") if (folder / name).is_dir() for path in (folder / name).rglob("*")]
    refuse_link(*(folder / name for name in (*FOLDERS[1:], *FILES)), *inside)
    list_checkpoints(folder / "checkpoints")
    for names, wanted, what in ((FOLDERS, stat.S_ISDIR, "folder"), (FILES, stat.S_ISREG, "file")):
        if odd := [folder / name for name in names if is_other(folder / name, wanted)]:
            raise UserError(f"{odd[0]} is no {what}, and has to be one", "move it away, or choose another --run")
    if odd := [path for path in inside if not (path.is_file() or path.is_dir())]:  # opening a FIFO may wait for ever
        raise UserError(f"{odd[0]} is no file, and has to be one", "move it away, or choose another --run")


def is_other(path: Path, wanted: Callable[[int], bool]) -> bool:
    """Return whether there is something at `path` that is not of the kind `wanted`."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return not wanted(path.stat().st_mode)
    return False


def make_numbered(output_dir: Path, task: str) -> Path:
    name = task.rpartition(":")[2].lower()
    for number in count(1):
        folder = output_dir / f"{name}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
    raise AssertionError("numbers do not end")


def is_done(folder: Path) -> bool:
    """Return whether the run in `folder` has come to its end, with all that it leaves behind. Its summary says so: that
    is written again where it is damaged.
    """
    with suppress(Unfit):
        return read_summary(folder).status == "done"
    return False


def read_summary(folder: Path) -> Summary:
    """Return the summary of the run in `folder`.

    Raises:
        Unfit: there is none, or it is damaged.
    """
    return read_json(folder / SUMMARY, SUMMARY_SCHEMA, SUMMARY_BYTES)


def remove_unused(folder: Path) -> None:
    """Remove the folder of a run that was refused before it began."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


def config_file(run: Path) -> Path:
    """Return the configuration of the run in folder `run`.

    Raises:
        UserError: there is none, hence no run.
    """
    file = run / "config.yaml"
    refuse_link(*(run / name for name in (*FOLDERS[1:], *FILES)))
    if not file.exists():
        raise UserError(
            f"{run} is not a run folder: it has no config.yaml", "name a run folder, such as runs/superres-1"
        )
    return file
