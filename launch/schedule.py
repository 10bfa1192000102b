"""Learning rate as a function of the step. There is no scheduler object, so nothing to save and nothing to restore."""

from math import cos, pi


def factor(step: int, steps: int, schedule: str, warmup: int) -> float:
    """What the base learning rate is multiplied with for optimizer step `step` (1..`steps`).

    Linear warm-up over `warmup` steps, then "constant", "cosine" or "linear", the latter two ending near 0.
    """
    if step <= warmup:
        return step / warmup
    progress = (step - 1 - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return 0.5 * (1 + cos(pi * progress))
    raise ValueError(schedule)
