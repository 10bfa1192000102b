"""The options that all tasks share, in groups, and the configuration of a run. No torch in here.

Each group is handed to the room that uses it: `OptimizationOptions` to the engine, `SavingOptions` to checkpoints...
Flags are flat (`--lr`, not `--optimization.lr`), and so is config.yaml.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_type_hints

from annotated_types import Ge, Gt, Lt

from launchbay import UserError
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json


class Dataclass(Protocol):
    """Any dataclass: the options of a task."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


C_co = TypeVar("C_co", bound=Dataclass, covariant=True)
SEE_HELP = "--help tells what it is, and its default"


@dataclass(frozen=True)
class DataOptions:
    """The pictures to train and to validate on."""

    data: str = "photos"
    """Data set to train on; `launchbay tasks` lists them. The default needs no download."""
    data_root: Path | None = None
    """Folder of the data set, where it needs one."""
    val_data: str | None = None
    """Another data set to validate on (all of it)."""
    val_root: Path | None = None
    """Folder of the validation set. Alone, it means a folder of photographs."""
    workers: Annotated[int, Ge(0)] = 0
    """Processes that decode pictures ahead, for each training process. Data kept in memory needs none."""

    def validation_data(self) -> str:
        """Return the name of the data set that figures are of."""
        return self.val_data or ("folder" if self.val_root else self.data)


@dataclass(frozen=True)
class OptimizationOptions:
    """How the networks learn, and for how long."""

    steps: Annotated[int | None, Gt(0)] = None
    """Length of the training, in optimizer steps."""
    epochs: Annotated[float | None, Gt(0)] = None
    """Length of the training, in passes through the data (instead of steps)."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Samples per optimizer step, over all processes and accumulated batches together."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Learning rate at its highest. It depends on the step alone, not on the number of processes."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """sgd has momentum 0.9."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of the optimizer."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup: Annotated[int, Ge(0)] = 50
    """Steps in which the learning rate rises to its highest."""
    clip_norm: Annotated[float | None, Gt(0)] = 1.0
    """Gradients of a network with a larger norm are scaled down to it. None: never."""
    ema: Annotated[float | None, Gt(0), Lt(1)] = None
    """Decay of a running average of the weights, such as 0.999; figures, samples and saved weights are then its."""
    accumulate: Annotated[int, Gt(0)] = 1
    """Parts that each batch is computed in, one after the other, to save memory. Does not change the result.
    For tasks with one network."""
    sync_batchnorm: bool = False
    """BatchNorm's statistics over all processes: slower, but the same on any number of them."""
    seed: int = 0
    """Everything random follows from it."""


@dataclass(frozen=True)
class RunOptions:
    """The place of a run, its start and its reports."""

    run: str | None = None
    """Name of the run, and of its folder; if it exists, it is continued. Default: the task's name and a number."""
    output_dir: Path = Path("runs")
    """Where run folders go."""
    resume: str = "auto"
    """auto: with --run, continue where that run stopped. Or where to start from: a run's folder, or a checkpoint's."""
    max_time: str | None = None
    """Stop with a checkpoint after this time, such as 90s, 45m or 11.5h; the same command continues from there."""
    stuck_after: str = "60s"
    """Report, with its stack, a process that makes no progress for this long."""
    log_every: Annotated[int, Gt(0)] = 10
    """Steps between two lines of training losses."""
    wandb: Literal["offline", "online", "off"] = "offline"
    """Weights & Biases. offline: a run in the run folder, for `wandb sync`; nothing leaves this machine."""
    debug: bool = False
    """Show the whole traceback of an error."""

    def __post_init__(self) -> None:
        for name in ("max_time", "stuck_after"):
            try:
                seconds_of(getattr(self, name) or "1s")
            except ValueError as error:
                said = f"{flag(name)} {getattr(self, name)} is no time"
                raise UserError(said, "such as 90s, 45m or 11.5h") from error
        if self.run is not None and (not self.run or Path(self.run).name != self.run or self.run.startswith(".")):
            raise UserError(f"--run {self.run!r} has to be a plain folder name", "say where it goes with --output-dir")


@dataclass(frozen=True)
class SavingOptions:
    """When to validate and to save."""

    eval_every: Annotated[int | None, Gt(0)] = None
    """Steps between two validations. Default: ten in the whole training."""
    save_every: Annotated[int | None, Gt(0)] = None
    """Steps between two checkpoints. Default: with every validation."""
    keep: Annotated[int, Gt(0)] = 3
    """Checkpoints to keep. The last and the best are always kept."""


@dataclass(frozen=True)
class HardwareOptions:
    """How the hardware is used."""

    precision: Literal["fp32", "bf16", "fp16", "fp64"] | None = None
    """Default: what accelerate was told, otherwise fp32. fp64 is for comparing runs to the last digit."""
    compile: bool = False
    """torch.compile the networks."""
    cuda_graphs: bool = False
    """torch.compile the networks and replay their training steps as CUDA graphs: for small networks, where a GPU waits
    for the next thing to do. For one process, one network, no --accumulate."""
    profile: Annotated[int | None, Gt(0)] = None
    """Say where the time of a step goes, over so many steps, and write a trace of them for Chrome."""


@dataclass(frozen=True)
class TrainOptions:
    """The options that all tasks share."""

    data: DataOptions = field(default_factory=DataOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    run: RunOptions = field(default_factory=RunOptions)
    saving: SavingOptions = field(default_factory=SavingOptions)
    hardware: HardwareOptions = field(default_factory=HardwareOptions)

    def flat(self) -> Json:
        """Return the value of each option, by its name."""
        return {name: getattr(getattr(self, group), name) for name, group in GROUPS.items()}

    def with_values(self, **values: object) -> "TrainOptions":
        """Return these options with other `values` for some, by their names."""
        groups = {
            group.name: {name: value for name, value in values.items() if GROUPS[name] == group.name}
            for group in fields(self)
        }
        changed = {name: replace(getattr(self, name), **inside) for name, inside in groups.items() if inside}
        return replace(self, **changed)


GROUP_TYPES: dict[str, type] = {
    "data": DataOptions, "optimization": OptimizationOptions, "run": RunOptions, "saving": SavingOptions,
    "hardware": HardwareOptions,
}  # fmt: skip
"""The class of each group."""
GROUPS = {option.name: group for group, kind in GROUP_TYPES.items() for option in fields(kind)}
"""The group of each option that all tasks share."""


@dataclass(frozen=True)
class Config(Generic[C_co]):
    """Everything that decides a run: `config.yaml` is this, flat."""

    task: str
    train: TrainOptions
    options: C_co

    def flat(self) -> Json:
        """Return the value of each option, by its name."""
        own = {field.name: getattr(self.options, field.name) for field in fields(self.options)}
        return {"task": self.task} | self.train.flat() | own

    def plain(self) -> Json:
        """Return `flat`, as JSON can have it."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in self.flat().items()}


AnyConfig = Config[Dataclass]
"""The configuration of whatever task."""


def seconds_of(duration: str) -> float:
    """Return seconds of "90s", "45m" or "11.5h".

    Raises:
        ValueError: it is none of these.
    """
    seconds = float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}.get(duration[-1:], float("nan"))
    if not 0 < seconds < float("inf"):
        raise ValueError(duration)
    return seconds


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def checked(
    options: type, name: str, value: object, where: str, hint: str = SEE_HELP, *, strict: bool = False
) -> object:
    """Return `value` as the option `name` of the dataclass `options`, which was given `where`.

    Raises:
        UserError: it is of another type, no finite number, or outside of what the option is `Annotated` with.
    """
    from pydantic import TypeAdapter, ValidationError

    kind = get_type_hints(options, include_extras=True)[name]
    try:
        return TypeAdapter(kind, config={"allow_inf_nan": False}).validate_python(value, strict=strict)
    except ValidationError as error:
        needed = error.errors()[0]["msg"].replace("Input should be", "has to be")
        raise UserError(f"{where} {value!r} {needed}", hint) from error


def train_defaults(task: str, defaults: Mapping[str, object]) -> TrainOptions:
    """Return the options that all tasks share, with a task's own `defaults`.

    Raises:
        UserError: the task names one that does not exist.
    """
    if unknown := [name for name in defaults if name not in GROUPS]:
        raise UserError(
            f"task {task!r} sets a default for {', '.join(map(str, unknown))}, which is no shared option"
            + did_you_mean(str(unknown[0]), GROUPS),
            "a task's own options have theirs where they are declared",
        )
    return TrainOptions().with_values(**defaults)


def check_options(task: str, options: type) -> None:
    """Raise a UserError if the dataclass `options` of a task cannot be options of a command line.

    Raises:
        UserError: one has no default, or the name of one that all tasks share.
    """
    own = fields(options)  # pyright: ignore[reportArgumentType]
    if taken := {"task", "config", *GROUPS} & {field.name for field in own}:
        raise UserError(
            f"task {task!r} declares {', '.join(map(flag, sorted(taken)))}, which all tasks share",
            "rename the option, or set the shared one's default in Task.defaults",
        )
    if missing := [field.name for field in own if field.default is MISSING and field.default_factory is MISSING]:
        raise UserError(f"{options.__name__} has no default for {', '.join(missing)}", "give every option one")
