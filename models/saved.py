"""What the JSON files of a checkpoint hold: their schemas. A file that does not keep to them is damaged."""

from dataclasses import dataclass, field
from math import nan
from typing import Annotated

from annotated_types import Ge, Gt, Le, Predicate
from pydantic import AllowInfNan, BeforeValidator, Field, Strict, TypeAdapter

MOST_TEXT = 1000
"""Characters of a name."""
STATE_BYTES, MANIFEST_BYTES = 16 << 20, 4 << 20
"""The most that a state.json and a manifest.json may have. Those of a network with 10,000 tensors have 2 MB and 1 kB;
reading the worst that fits takes less than 1 GB.
"""


def is_word(text: str) -> bool:
    """Return whether `text` may be a name: short, and without control characters."""
    return len(text) <= MOST_TEXT and text.isprintable()


def is_file(name: str) -> bool:
    """Return whether `name` may be that of a file in the folder at hand."""
    return 0 < len(name) <= 200 and name.isprintable() and name[0] != "." and not set(name) & {"/", "\\", ":"}


def is_network(name: str) -> bool:
    """Return whether `name` may be that of a network, hence of a file, and of what stands before its tensors' names."""
    return is_file(name) and "." not in name


def number_or_nan(value: object) -> object:
    """to_json has written null for what was not finite."""
    return nan if value is None else value


def none_if_empty(value: object) -> object:
    """A scaler that is switched off has no state."""
    return value or None


Count = Annotated[int, Strict(), Ge(0), Le(10**15)]
Number = Annotated[float, Strict(), AllowInfNan(False), Ge(0)]
Figure = Annotated[float, Strict(), BeforeValidator(number_or_nan)]
Word = Annotated[str, Predicate(is_word)]
Figures = dict[Word, Figure]


@dataclass(frozen=True)
class File:
    """Size and SHA-256 of a file of a checkpoint."""

    bytes: Count
    sha256: Word


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json: the files of a checkpoint, and a digest of that list."""

    files: dict[Annotated[str, Predicate(is_file)], File]
    seal: Word


@dataclass(frozen=True)
class Progress:
    """How far a run had come."""

    step: Count
    epoch: Number = 0.0
    best: Figures = field(default_factory=dict)
    final: Figures = field(default_factory=dict)
    baseline: Figures = field(default_factory=dict)
    samples_per_s: Number = 0.0
    seconds: Number = 0.0
    waited: Count = 0


@dataclass(frozen=True)
class Group:
    """A group of parameters of an optimizer: their names, and its settings by name."""

    params: list[Word]
    settings: dict[Word, object]


def group_of(value: object) -> object:
    """Return a group as `Group` has it: in the file its parameters are among its settings."""
    if not isinstance(value, dict):
        return value
    return {"params": value.get("params"), "settings": {key: value[key] for key in value if key != "params"}}


@dataclass(frozen=True)
class SavedOptimizer:
    """An optimizer's state, tensors aside: `values` are by NETWORK.PARAMETER.KEY."""

    kind: Annotated[Word, Field(alias="class")]
    groups: list[Annotated[Group, BeforeValidator(group_of)]]
    values: dict[Word, object]


@dataclass(frozen=True)
class Scaler:
    """The state of torch's GradScaler."""

    scale: Annotated[Number, Gt(0)]
    growth_factor: Annotated[Number, Gt(1)]
    backoff_factor: Annotated[Number, Gt(0)]
    growth_interval: Annotated[Count, Gt(0)]
    tracker: Annotated[Count, Field(alias="_growth_tracker")]

    def state_dict(self) -> dict[str, float]:
        """Return it as GradScaler takes it."""
        return {"_growth_tracker" if name == "tracker" else name: value for name, value in vars(self).items()}


@dataclass(frozen=True)
class State:
    """The content of state.json. What has a default is not in those of older versions."""

    format: Count
    step: Count
    optimizers: dict[Annotated[str, Predicate(is_network)], SavedOptimizer]
    config: dict[Word, object]
    progress: Progress
    data: dict[Word, Word]
    steps: Annotated[Count, Gt(0)] | None = None
    scaler: Annotated[Scaler | None, BeforeValidator(none_if_empty)] = None
    samples: Count = 0
    owes_validation: Annotated[bool, Strict()] = False
    world_size: Count = 1
    threads: Count | None = None
    versions: dict[Word, Word] = field(default_factory=dict)
    extra_state: dict[Word, object] | None = None
    initial: dict[Word, Word] | None = None
    not_finite: dict[Word, list[Word]] | None = None

    def __post_init__(self) -> None:
        if self.progress.step != self.step:
            raise ValueError(f"step {self.step}, and a progress of {self.progress.step}")
        if not isinstance(self.config.get("task"), str):
            raise ValueError("the config names no task")

    @property
    def task(self) -> str:
        """The name of the run's task."""
        return str(self.config["task"])


MANIFEST, STATE = TypeAdapter(Manifest), TypeAdapter(State)
