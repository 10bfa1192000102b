"""The figures of a validation, each beside its baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")
NO_LOSS = ("/grad_norm", "/steps", "/lr")
"""What ends the names of those values of a training step that are no losses."""
NO_FIGURE = ("step", "epoch", "split", "lr", "samples_per_s")
"""What a line of the record has beside figures and losses."""
BASELINE = "baseline/"
"""The prefix that authors, metrics.jsonl and W&B give the names of figures that need no network."""


@dataclass(frozen=True)
class Figures(Generic[V]):
    """Figures by name: those of the networks, and by the same names those of the baseline."""

    own: dict[str, V] = field(default_factory=dict)
    baseline: dict[str, V] = field(default_factory=dict)

    @classmethod
    def from_named(cls, named: Mapping[str, V]) -> "Figures[V]":
        """Return the figures of one mapping, in which names of baselines have their prefix."""
        own = {name: value for name, value in named.items() if not name.startswith(BASELINE)}
        baseline = {name.removeprefix(BASELINE): value for name, value in named.items() if name not in own}
        return cls(own, baseline)

    def of_set(self, name: str) -> "Figures[V]":
        """Return them as those of the validation set `name`, "set5/psnr"; the only one has an empty name."""
        prefix = f"{name}/" if name else ""
        own, baseline = ({f"{prefix}{key}": value for key, value in of.items()} for of in (self.own, self.baseline))
        return Figures(own, baseline)

    def named(self) -> dict[str, V]:
        """Return them in one mapping, the baselines behind and with their prefix."""
        return self.own | {f"{BASELINE}{name}": value for name, value in self.baseline.items()}


HIGHER = frozenset(
    [
        "psnr",
        "psnr_y",
        "ssim",
        "ssim_y",
        "ms_ssim",
        "accuracy",
        "top5",
        "precision",
        "recall",
        "class_accuracy",
        "elbo",
        "inception_score",
        "classes",
    ]
)
LOWER = frozenset(["mse", "mae", "lpips", "fid", "kid", "cross_entropy", "reconstruction", "kl", "loss", "error"])
"""Figures of the built-in tasks of which it is known what is better. Of others the task's `monitor` alone says it."""


def which_is_better(name: str) -> int:
    """Return 1 if higher values of the figure `name` are better, -1 if lower ones are, 0 if that is not known."""
    own = name.rpartition("/")[2]
    return (own in HIGHER) - (own in LOWER)
