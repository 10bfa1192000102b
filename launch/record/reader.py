"""The one reader of a run folder: options, figures beside baselines, curves, pictures, how it stands. Whatever shows
runs reads them here. Without torch."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launchbay import UserError, printable
from launchbay.launch.config.option_file import read_values
from launchbay.launch.config.options import HELD_OUT
from launchbay.launch.files import Json
from launchbay.launch.record.curves import Curve, collect_curves
from launchbay.launch.record.drawing import SAMPLES
from launchbay.launch.record.figures import Figures
from launchbay.launch.record.lines import METRICS, last_step, read_record
from launchbay.launch.record.lock import owner_lives
from launchbay.launch.record.run_folder import PLACE_OPTIONS, SUMMARY, Summary, config_file, read_summary
from launchbay.models.reading import Unfit

STALLED = 600
"""Seconds without a line in the record after which a run that is running is said to have stalled."""
FLATTERED = "a best checkpoint was chosen by its figures, which flatter it a little: --hold-out 0.1 lets others choose"
PICTURE = re.compile(r"step-(?P<step>\d{8,15})(-(?P<name>.+))?\.png", re.ASCII)
"""The files in samples/."""


@dataclass(frozen=True)
class RunFolder:
    """What there is to say of a run, also where its folder is damaged."""

    folder: Path
    name: str
    status: str
    """done, running, stalled for..., starting, killed, stopped, failed or damaged."""
    changed: float
    """When something was last written, in seconds since 1970."""
    options: Json = field(default_factory=dict)
    """All of them, as config.yaml has them, `task` too."""
    summary: Summary | None = None
    """What it had come to at its last validation, with versions and hardware; None before the first."""
    damage: str = ""
    """What cannot be read of it, and why."""

    @property
    def task(self) -> str:
        return str(self.options.get("task", ""))

    @property
    def data(self) -> str | None:
        """The name of the data that figures are of."""
        return self.summary.data if self.summary else self.options.get("data")

    @property
    def step(self) -> int:
        """How far it has come by its record, to which steps are written more often than it validates."""
        return max(self.summary.step if self.summary else 0, last_step(self.folder))

    @property
    def own_options(self) -> Json:
        """The options that tell what the run learns, and not where it is kept."""
        return {name: value for name, value in self.options.items() if name not in PLACE_OPTIONS}

    @property
    def flatters(self) -> bool:
        """Whether the figures of its best checkpoint are of the pictures that have chosen it."""
        chosen = self.summary.best_by if self.summary else ""
        return bool(chosen) and not chosen.startswith(f"{HELD_OUT}/")

    @property
    def reported(self) -> str:
        """The figure that says how good the run is: the one that chooses its best checkpoint, or, where held-out
        pictures choose, the same figure of the first of the others. Empty if none chooses.
        """
        chosen = self.summary.best_by if self.summary else ""
        name = chosen.removeprefix(f"{HELD_OUT}/")
        if self.summary is None or name == chosen:
            return chosen
        return next((other for other in self.summary.best if other != chosen and other.endswith(f"/{name}")), chosen)

    @property
    def baseline_name(self) -> str:
        return self.summary.baseline_name if self.summary else "baseline"

    def figures(self, checkpoint: str = "best") -> Figures[float]:
        """Return the figures of the "best" or the "last" checkpoint, each beside its baseline; none before the first
        validation."""
        if self.summary is None:
            return Figures()
        own = self.summary.best if checkpoint == "best" else self.summary.final
        return Figures({name: value for name, value in own.items() if name != "step"}, dict(self.summary.baseline))

    def best(self, figure: str = "") -> float | None:
        """Return the value of `figure` at the best checkpoint, by default of that which is `reported`."""
        return self.summary.best.get(figure or self.reported) if self.summary else None

    def curves(self, tell: Callable[[str], object] = lambda said: None) -> dict[str, dict[str, Curve]]:
        """Return {panel: {label: curve}}: "training loss" with a curve for each loss, and a panel for each figure with
        "validation" and the baseline's name. The record is read line by line; what is damaged in it goes to `tell`.
        """
        return collect_curves(read_record(self.folder, tell=tell), self.baseline_name)

    def pictures(self) -> dict[int, dict[str, Path]]:
        """Return {step: {name: file}}, the first step first: the sample grid is called "samples", others as the task's
        gallery calls them; those of several validation sets are behind the set's name, "set5/samples".
        """
        top = self.folder / "samples"
        found: dict[int, dict[str, Path]] = {}
        for file in sorted(top.rglob("step-*.png")):
            if (known := PICTURE.fullmatch(file.name)) and file.is_file() and not file.is_symlink():
                where = file.parent.relative_to(top) / (known["name"] or SAMPLES)
                found.setdefault(int(known["step"]), {})[where.as_posix()] = file
        return {step: found[step] for step in sorted(found)}

    def bytes(self) -> int:
        """Return how much is in the folder."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.lstat().st_size for path in files)

    def plain(self) -> Json:
        """Return all of it as JSON has it, but for curves and pictures."""
        summary = self.summary
        return {
            "run": self.name,
            "task": self.task,
            "data": self.data,
            "status": self.status,
            "damage": self.damage,
            "step": self.step if summary else None,
            "steps": summary.steps if summary else None,
            "best_by": summary.best_by if summary else "",
            "flatters": self.flatters,
            "best": dict(summary.best) if summary else {},
            "baseline": dict(summary.baseline) if summary else {},
            "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.changed)),
            "bytes": self.bytes(),
            "options": self.own_options,
        }


def read_run_folder(folder: Path, name: str = "") -> RunFolder:
    """Return what there is to say of the run in `folder`, called `name` (default: as the folder), also where it is
    damaged.
    """
    written = [path for path in (folder, folder / METRICS, folder / SUMMARY) if path.exists()]
    changed = max((path.stat().st_mtime for path in written), default=0.0)
    name, options = name or folder.name, Json()
    try:
        options, _ = read_values(config_file(folder))
        summary = read_summary(folder) if (folder / SUMMARY).exists() else None
    except (UserError, Unfit) as error:
        what = "" if isinstance(error, UserError) else f"{folder / SUMMARY} "
        return RunFolder(folder, name, "damaged", changed, options, damage=printable(f"{what}{error}"))
    return RunFolder(folder, name, status_of(folder, summary, changed), changed, options, summary)


def status_of(folder: Path, summary: Summary | None, changed: float) -> str:
    """Return how it stands with a run: what its summary says, if its process is there to say otherwise."""
    if summary is not None and summary.status != "running":
        return summary.status
    if owner_lives(folder) is False:
        return "killed"
    if (silent := time.time() - changed) > STALLED:
        return f"stalled for {ago(silent)}"
    return "running" if summary else "starting"


def ago(seconds: float) -> str:
    """Return a time span in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
