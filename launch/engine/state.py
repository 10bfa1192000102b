"""How far a run has come, and how well it does: what its summary and its checkpoints have of that."""

from dataclasses import dataclass, field


@dataclass
class State:
    """How far a run has come."""

    step: int = 0
    epoch: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    samples_per_s: float = 0.0
    seconds: float = 0.0
    waited: int = 0
    """Validations since the best one."""
