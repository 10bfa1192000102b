"""Whether a run is kept in W&B, and how: what --wandb and W&B's own environment variables say."""

from collections.abc import Mapping

from launchbay import UserError
from launchbay.launch.errors import did_you_mean

MODES = {"offline": "offline", "dryrun": "offline", "online": "online", "run": "online", "disabled": "off"}
"""What WANDB_MODE may be, and what we call that."""
YES = ("1", "true", "on", "yes")
UNUSED = {
    "WANDB_DIR": "W&B's files are in the run folder",
    "WANDB_RESUME": "the run folder says which W&B run goes on",
    "WANDB_RESUME_FROM": "the run folder says which W&B run goes on",
    "WANDB_FORK_FROM": "the run folder says which W&B run goes on",
    "WANDB_CONSOLE": "what is printed is not sent to W&B",
    "WANDB_SILENT": "W&B prints nothing",
}
"""W&B's environment variables that are not used, and why. All others are W&B's business."""
AS_IT_IS = {"WANDB_RESUME": "allow", "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}
"""Values of some that say what is done anyway."""
SWEEP_ID = "WANDB_SWEEP_ID"
"""Is set by `wandb agent`, whose sweep waits for the figures of a run: they have to reach it."""


def wanted_mode(option: str | None, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return whether W&B is "offline", "online" or "off", and lines on what the `environment` has to do with it. The
    `option` --wandb comes first, then WANDB_DISABLED and WANDB_MODE. A run of a W&B sweep is online by itself.

    Raises:
        UserError: WANDB_MODE is none of W&B's modes.
    """
    name, value = "WANDB_MODE", environment.get("WANDB_MODE", "")
    if not value and environment.get(SWEEP_ID):
        name, value = SWEEP_ID, environment[SWEEP_ID]
    mode = "online" if name == SWEEP_ID else MODES.get(value or "offline")
    if environment.get("WANDB_DISABLED", "").lower() in YES:
        name, value, mode = "WANDB_DISABLED", environment["WANDB_DISABLED"], "off"
    if mode is None and option is None:
        raise UserError(
            f"WANDB_MODE={value} is not one of {', '.join(MODES)}{did_you_mean(value, MODES)}",
            "set it to one of these, or say what is wanted with --wandb offline, online or off",
        )
    chosen = option or mode or "offline"
    # `wandb agent` sets WANDB_DIR for each run that it starts: nobody has asked for it.
    asked = [n for n in UNUSED if environment.get(n, "").lower() not in ("", AS_IT_IS.get(n)) and name != SWEEP_ID]
    told = [] if chosen == "off" else [f"{n}={environment[n]} is not used: {UNUSED[n]}" for n in asked]
    if option and value and mode != option:
        told.append(f"{name}={value} is not used: --wandb {option}")
    elif not option and chosen != "offline":
        told.append(f"W&B is {chosen}: {name}={value}")
    return chosen, told
