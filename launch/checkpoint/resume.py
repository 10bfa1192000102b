"""Where a run goes on: from which checkpoint, and whether what is asked for is still the same run."""

import json
from collections.abc import Mapping
from pathlib import Path

from launchbay import UserError
from launchbay.launch.config.data_names import DATA, placeless
from launchbay.launch.config.options import flag
from launchbay.launch.files import Json, to_json
from launchbay.models import checkpoints
from launchbay.models.saved import State

MAY_CHANGE = {
    "data_root", "val_root", "run", "output_dir", "steps", "epochs", "accumulate", "log_every", "eval_every",
    "eval_first", "shown", "patience", "skip_damaged",
    "save_every", "keep", "wandb", "wandb_artifact", "track", "workers", "resume", "max_time", "stuck_after",
    "timeout", "profile", "debug", "shard", "recompute",
}  # fmt: skip
"""Options that another start of a run may have: none of them decides what the next step does to the weights, except
for the length of the training, which is meant to."""
NEW_RUN_MAY_CHANGE = {
    "lr", "clip_norm", "schedule", "warmup", "weight_decay", "weights", "weights_except", "freeze", "freeze_for",
}  # fmt: skip
"""What a run may have otherwise, beside these, that starts from another's checkpoint: how it learns from there on, and
where the other one had started."""


def find_start(folder: Path, resume: str) -> Path | None:
    """Return the checkpoint to go on from: the newest intact one in `folder`, a run's; otherwise what `resume` names, a
    run's folder or a checkpoint's; None if there is none and `resume` is "auto".

    Raises:
        UserError: there is nothing under that name, or no intact checkpoint.
    """
    own = folder / "checkpoints"
    if checkpoints.list_checkpoints(own):
        return checkpoints.newest_checkpoint(own)
    if resume == "auto":
        return None
    return checkpoints.open_checkpoint(Path(resume), "newest", f"--resume {resume}")


def differs(name: str, before: Json, now: Json) -> bool:
    """Return whether the option `name` has another value. Data may have moved; whether they are the same, their
    fingerprints say.
    """
    values = before.get(name), now.get(name)
    return values[0] != values[1] and (name not in DATA or placeless(values[0]) != placeless(values[1]))


def check_same(
    saved: State,
    config: Json,
    data: Mapping[str, str],
    where: Path,
    steps: int,
    *,
    its_own: bool,
) -> None:
    """Raise a UserError if a run of so many `steps` with these options, on these data, cannot go on from the state
    `saved` in checkpoint `where`: its own, or, for a run that has just begun, another's.

    Raises:
        UserError: it is not; says what differs.
    """
    before, config = saved.config, json.loads(to_json(config))
    if before["task"] != config["task"]:
        raise UserError(
            f"{where} is of task {before['task']!r}, not {config['task']!r}", "choose another --run or --resume"
        )
    free = MAY_CHANGE | (set() if its_own else NEW_RUN_MAY_CHANGE)
    names = [name for name in {**before, **config} if name not in free and differs(name, before, config)]
    if names:
        told = [f"{flag(name)} was {before.get(name)}, is now {config.get(name)}" for name in names]
        raise UserError(
            "\n".join([f"{where} is of a run with other options:", *told]),
            "give the same ones (config.yaml in the run's folder has them all), or "
            + ("choose another --run" if its_own else "leave --resume out"),
        )
    if saved.step > steps or (saved.step == steps and not its_own):
        said = f"{where} has taken {saved.step} steps, this run is to have {steps}"
        raise UserError(said, "give more --steps or --epochs" + ", or another --run" * its_own)
    changed = [split for split in {**saved.data, **data} if saved.data.get(split) != data.get(split)]
    if changed:
        raise UserError(
            f"the {' and '.join(changed)} pictures are not those that {where} was trained with",
            "put the data back as they were, or start another --run",
        )
