"""One of two processes that learn a task together, in float64. One of the questions of fresh.py; its answer is the
record of the run, or what has gone wrong and when.
"""

import os
import time
from datetime import timedelta

from torch import distributed

from launchbay.launch.check.bench import Bench, isolated
from launchbay.launch.check.fresh import Asked, asked
from launchbay.launch.check.results import explain
from launchbay.launch.check.runs import record_run
from launchbay.launch.errors import Elsewhere
from launchbay.launch.files import Json

PATIENCE = timedelta(minutes=2)
"""For which a process waits for another."""


def main() -> None:
    question = asked()
    places = {"RANK": question.rank, "LOCAL_RANK": question.rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in places.items()}
    store = distributed.FileStore(str(question.folder / "store"), 2)  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("gloo", store=store, rank=question.rank, world_size=2, timeout=PATIENCE)
    try:
        question.answer(learn(question))
    finally:
        distributed.destroy_process_group()  # the other one notices at once


def learn(question: Asked) -> Json:
    """Return the record of a run, or what has gone wrong; neither if the other process says what has."""
    config = question.config()
    bench = Bench(question.task_type(), config.options, config.train)
    try:
        with isolated():
            bench.task()  # opens the data sets as the first process has, before anything is float64
            return {"lines": record_run(bench, question.folder / "run")}
    except Elsewhere:
        return {}
    except Exception as error:
        broken = explain(error, bench.task_type)
        if broken is None:
            raise
        place = broken.place and (broken.place.file, broken.place.line, broken.place.name)
        return {"happened": broken.happened, "place": place, "remedy": broken.remedy, "at": time.time()}


if __name__ == "__main__":
    main()
