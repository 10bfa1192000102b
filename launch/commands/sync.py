"""`launchbay sync RUN...`: what a tracker lacks of finished runs is sent, from metrics.jsonl."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from launchbay.launch.config.option_file import read_values
from launchbay.launch.record.lines import read_record
from launchbay.launch.record.lock import lock
from launchbay.launch.record.run_folder import config_file
from launchbay.launch.record.trackers import WANDB, Tracked, check_trackers
from launchbay.launch.record.wandb_mode import wanted_mode


def sync_runs(runs: Sequence[Path], tracker: str, console: Console) -> bool:
    """Send what `tracker` lacks of `runs`: to W&B's service, unless WANDB_MODE says offline. Return whether it has all.

    Raises:
        UserError: there is no such tracker, one of `runs` is none, or is going on.
    """
    mode = ""
    if tracker == WANDB:
        chosen, _ = wanted_mode(None, {"WANDB_MODE": "online", **os.environ})
        mode = "online" if chosen == "off" else chosen
    else:
        check_trackers([tracker])
    whole = True
    for run in runs:
        options, _ = read_values(config_file(run))
        with lock(run):
            rows = sum(1 for _ in read_record(run))
            one = Tracked(tracker, mode, run, {**options, "wandb": mode or None}, rows=rows)
            if one.complete():
                console.print(f"{one.label} has all {rows} rows of {run}", highlight=False, soft_wrap=True)
            else:
                whole = False
    return whole
