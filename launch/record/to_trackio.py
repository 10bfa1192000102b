"""Trackio: a run in the project TRACKIO_PROJECT, or "launchbay", on this machine; `trackio show` shows it."""

import os

import trackio  # pyright: ignore[reportMissingImports]
from trackio.api import Run  # pyright: ignore[reportMissingImports]
from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

from launchbay.trackers import Row, Tracker

PROJECT = "launchbay"


class Trackio(Tracker):
    """A curve for each figure and a slider for each picture. Written anew when a run goes on."""

    def begin(self) -> int:
        for run in self.mine():
            run.delete()
        config = {**self.run.options, "folder": str(self.run.folder)}
        self.trackio = trackio.init(
            self.project(),
            self.run.folder.name,
            self.run.group,
            config=config,
            embed=False,
            auto_log_gpu=False,  # each look at it would be one more row
            auto_log_cpu=False,
        )
        return 0

    def project(self) -> str:
        return os.environ.get("TRACKIO_PROJECT") or PROJECT

    def mine(self) -> list[Run]:
        """Return what there is of the run in the folder: names may be those of others, too."""
        if not SQLiteStorage.get_project_db_path(self.project()).exists():
            return []
        runs = trackio.Api().runs(self.project())
        return [run for run in runs if (run.config or {}).get("folder") == str(self.run.folder)]

    def write(self, row: Row) -> None:
        pictures = {name: trackio.Image(file, caption=row.caption) for name, file in row.pictures.items()}
        self.trackio.log({**row.figures, **pictures}, step=row.step)

    def end(self, status: str) -> None:
        self.trackio.finish()

    def kept(self) -> tuple[int, bool]:
        """Count by Trackio's own reader. Only what was ended is written in full."""
        logs = [SQLiteStorage.get_logs(self.project(), run.name, run_id=run.id) for run in self.mine()]
        return max(map(len, logs), default=0), False
