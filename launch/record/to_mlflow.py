"""MLflow: a run in the experiment MLFLOW_EXPERIMENT_NAME, or "launchbay", of the server that MLFLOW_TRACKING_URI names;
by default mlflow.db in the current folder, which `mlflow ui` shows.
"""

import os
from contextlib import suppress

from mlflow.entities import Metric, Param, Run  # pyright: ignore[reportMissingImports]
from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]
from PIL import Image

from launchbay.launch.files import write_text
from launchbay.trackers import Row, Tracker

ROW = "row"
"""The metric that numbers the rows, so that none is there twice."""
STATES = {"done": "FINISHED", "stopped": "KILLED", "interrupted": "KILLED"}
AT_ONCE = 100
"""Options that go out in one request, which may have so many."""


class MLflow(Tracker):
    """A metric for each figure, an image for each picture, a parameter for each option."""

    def begin(self) -> int:
        self.client, id = MlflowClient(), self.run.folder / "mlflow_id"
        if id.exists():
            with suppress(MlflowException):  # another server, or somebody has removed it
                self.take(self.client.get_run(id.read_text(encoding="utf-8")))
                self.client.update_run(self.id, status="RUNNING")
                return self.rows()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "launchbay")
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        tags = {"task": self.run.task, "data": self.run.data, "group": self.run.group}
        self.take(self.client.create_run(experiment, run_name=self.run.folder.name, tags=tags))
        parameters = [Param(name, str(value)) for name, value in self.run.options.items()]
        for start in range(0, len(parameters), AT_ONCE):
            self.client.log_batch(self.id, params=parameters[start : start + AT_ONCE])
        write_text(id, self.id)
        return 0

    def take(self, run: Run) -> None:
        self.id, self.began = run.info.run_id, run.info.start_time

    def rows(self) -> int:
        last = self.client.get_run(self.id).data.metrics.get(ROW)
        return 0 if last is None else int(last) + 1

    def write(self, row: Row) -> None:
        when = self.began + row.number  # the same each time: a second one is no double
        figures = {**row.figures, ROW: row.number}
        self.client.log_batch(self.id, [Metric(name, value, when, row.step) for name, value in figures.items()])
        for name, file in row.pictures.items():
            with Image.open(file) as picture:
                self.client.log_image(self.id, picture, key=name, step=row.step)

    def end(self, status: str) -> None:
        self.client.set_terminated(self.id, STATES.get(status, "FAILED"))

    def kept(self) -> tuple[int, bool] | None:
        if not hasattr(self, "id"):
            return None  # not begun
        return self.rows(), self.client.get_run(self.id).info.status == "FINISHED"
