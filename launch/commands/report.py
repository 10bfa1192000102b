"""`launchbay report RUN...`: one HTML file on a run, or on several beside each other."""

import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from launchbay import UserError, number_of, printable
from launchbay.launch.commands.runs import names_in
from launchbay.launch.config.run_options import find_run
from launchbay.launch.files import write_text, writing
from launchbay.launch.record.report.content import Recorded, read_recorded
from launchbay.launch.record.report.page import REPORT, page_of
from launchbay.launch.record.run_folder import config_file

OURS = b'<meta name="generator" content="launchbay '
"""What is in the first 2 kB of a report."""
RELOAD = 30
"""Seconds after which the report of a run that goes on looks for what that has written since."""


def write_report(named: Sequence[Path], target: Path | None, console: Console, *, show: bool = False) -> bool:
    """Write the report of the runs `named`, or of those in folders of runs, to `target`: by default to the folder of
    the only run, or this one; with `show`, open it in a browser. Return whether all could be read.

    Raises:
        UserError: one is no run, or there is something else than a report where it is to be.
    """
    runs = list(dict.fromkeys(run for folder in named for run in runs_of(Path(find_run(str(folder))))))
    where = target or (runs[0] / REPORT if len(runs) == 1 else Path(REPORT))
    if where.is_dir():
        where /= REPORT
    if is_other(where):
        raise UserError(f"{where} is there already, and no report", "choose another file with -o")
    recorded = [read_recorded(run) for run in runs]
    goes_on = target is None and len(runs) == 1 and recorded[0].run.status == "running"
    with writing(where.parent, "choose another file with -o"):
        write_text(where, page_of(recorded, RELOAD if goes_on else 0))
    of = number_of(len(runs), "run")
    console.print(
        f"{where}: {of}, {where.stat().st_size / 1000:,.0f} kB", highlight=False, markup=False, soft_wrap=True
    )
    damage = [said for one in recorded for said in damage_of(one)]
    for said in damage:
        console.print(printable(said), highlight=False, markup=False, soft_wrap=True)
    if show and not webbrowser.open(where.resolve().as_uri()):
        console.print("no browser was found; open the file in one", highlight=False)
    return not damage


def damage_of(one: Recorded) -> list[str]:
    """Return what of a run cannot be read, in words."""
    said = [*filter(None, [one.run.damage]), *one.said]
    if unread := one.album.unread():
        said.append(f"{one.run.folder}: {number_of(unread, 'picture')} of samples/ cannot be read")
    return said


def runs_of(folder: Path) -> list[Path]:
    """Return the run `folder`; or the runs in it, where it is a folder of runs, and of sweeps in it.

    Raises:
        UserError: it is neither.
    """
    inside = [] if (folder / "config.yaml").exists() else [folder / name for name in names_in(folder)]
    for run in inside or [folder]:
        config_file(run)
    return inside or [folder]


def is_other(file: Path) -> bool:
    """Return whether there is something else than a report of ours."""
    if not file.exists() and not file.is_symlink():
        return False
    with suppress(OSError), file.open("rb") as opened:
        return file.is_symlink() or OURS not in opened.read(2000)
    return True
