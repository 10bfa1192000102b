"""The options that all tasks share, in groups, and the configuration of a run.

A group has what one concern needs: data, optimization, the run folder, saving, hardware. Flags are flat (`--lr`, not
`--optimization.lr`), and so is config.yaml; `--help` shows each group under its name and docstring.

The groups are declared here, not beside the code that uses them, for two reasons: `--help` reads all of them in under
half a second, and the engine would bring in torch; and every room of `launch/` imports this one, so that importing
them back would be a circle.
"""

from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from annotated_types import Ge, Gt, Lt

from launchbay import UserError
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.files import Json


class Dataclass(Protocol):
    """Any dataclass: the options of a task."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


OWN_DATA = "data of its own"
"""What the figures of a task are of that opens its data itself."""
HELD_OUT = "held-out"
"""The name of the validation set that is a part of the training pictures."""
C_co = TypeVar("C_co", bound=Dataclass, covariant=True)
V = TypeVar("V")


@dataclass(frozen=True)
class DataOptions:
    """The data to train and to validate on."""

    data: str = "photos"
    """What to train on: a folder or a file of your own, by its path; the name of a data set, as `launchbay tasks` lists
    them; torchvision:NAME; hf:ID[:CONFIG]; or module:Class. The default needs no download."""
    data_root: Path | None = None
    """Folder of a data set that has a name, if it needs one."""
    val_data: str | tuple[str, ...] | None = None
    """Other data to validate on (all of them), named like --data, or several: set5 set14. Figures of several begin with
    the name of their set (set5/psnr); the first one decides which checkpoint is best."""
    val_root: Path | tuple[Path, ...] | None = None
    """Folder of the validation set; of several sets, one for all or one for each. Alone, it is what to validate on: a
    folder or a file."""
    hold_out: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the training pictures that is not trained on, but chooses the best checkpoint: 0.1 is usual. Without it
    the validation pictures choose, and the figures of the best checkpoint flatter it a little."""
    skip_damaged: bool = False
    """Leave out pictures that cannot be read, with the pair or the row that they are of, and count them."""
    workers: Annotated[int, Ge(0)] = 0
    """Worker processes that decode pictures in advance, per training process. Data kept in memory needs none."""
    shuffle_window: Annotated[int | None, Gt(0)] = None
    """Shuffle a pack (see launchbay pack) by its shards, and samples only within so many of them at a time: for one
    that is larger than memory or the disk that it is fetched to. None: all samples."""

    def validation_data(self) -> str:
        """Return the name of the data set that figures are of, or the names of several. Folders have their own."""
        roots = all_of(self.val_root)
        if not roots and not self.val_data and self.data == "folder":
            roots = all_of(self.data_root)
        return ", ".join(all_of(self.val_data) or [root.resolve().name for root in roots]) or self.data


@dataclass(frozen=True)
class OptimizationOptions:
    """How the networks learn, and for how long."""

    steps: Annotated[int | None, Gt(0)] = None
    """Length of the training, in optimizer steps."""
    epochs: Annotated[float | None, Gt(0)] = None
    """Length of the training, in passes through the training set (instead of --steps)."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Samples per optimizer step, over all processes and accumulated batches together."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate. The rate at a step does not depend on the number of processes."""
    optimizer: str = "adam"
    """Optimizer of the networks: adam, adamw or sgd (with momentum 0.9) of PyTorch, or one of timm by its name, such as
    muon, lamb or lion, with timm's settings but for --lr and --weight-decay."""
    optimizer_options: tuple[str, ...] = ()
    """Other settings of the optimizer, as it calls them: momentum=0.8 nesterov=true "betas=[0.9, 0.99]"."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of the optimizer."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after the warm-up."""
    warmup: Annotated[int, Ge(0)] = 50
    """Steps over which the learning rate rises to its peak."""
    clip_norm: Annotated[float | None, Gt(0)] = 1.0
    """Largest norm of the gradients of a network; larger ones are scaled down to it. None: no clipping."""
    ema: Annotated[float | None, Gt(0), Lt(1)] = None
    """Decay of a running average of the weights, such as 0.999. Figures, samples and saved weights are then those
    of the average."""
    accumulate: Annotated[int, Gt(0)] = 1
    """Micro-batches that each batch is split into, computed one after the other to save memory. Does not change the
    result, but for BatchNorm, whose statistics are those of each micro-batch. For tasks with one network, which takes
    one step and keeps no state."""
    sync_batchnorm: bool = False
    """Compute the statistics of BatchNorm over all processes: slower, but the same on any number of them."""
    seed: int = 0
    """Seed of all random numbers."""


@dataclass(frozen=True)
class StartOptions:
    """The weights that networks start from, and what of them stays as it is."""

    weights: tuple[str, ...] = ()
    """Start from these weights: RUN (its name or folder), CHECKPOINT (a folder), FILE (.safetensors, .pth, .pt, .ckpt,
    .bin), timm/NAME or hf-hub:ID. Of a run each network of the same name starts from its best; NETWORK=SOURCE names
    another one, or a part of one: model.encoder=timm/resnet18."""
    weights_except: tuple[str, ...] = ()
    """Do not load these: names of parts or tensors, with or without that of their network, * for anything: head,
    model.head.bias, '*.norm'."""
    freeze: tuple[str, ...] = ()
    """Do not train these parts: model.encoder, or encoder of whatever network. BatchNorm and Dropout in them are in
    evaluation mode."""
    freeze_for: Annotated[int | None, Gt(0)] = None
    """Steps for which they stay frozen. Default: the whole training, which also saves their part of the time."""


@dataclass(frozen=True)
class RunOptions:
    """The run folder, where to start from, and what is reported."""

    run: str | None = None
    """Name of the run and of its folder. An existing run is continued. Default: the task's name and a number."""
    output_dir: Path = Path("runs")
    """Folder for run folders."""
    resume: str = "auto"
    """auto: with --run, continue where that run stopped. Otherwise the run to start from, by its name in
    --output-dir or its folder, or the folder of a checkpoint."""
    max_time: str | None = None
    """Stop with a checkpoint after this time, such as 90s, 45m, 11.5h or 2d; the same command continues from there."""
    stuck_after: str = "60s"
    """Report, with its stack, a process that makes no progress for this long, or waits so long for others to come at
    the start; it ends after ten times that if they do not."""
    timeout: str = "5m"
    """End the run where a process or machine cannot be reached for this long, or takes so much longer for a step than
    the others; the same command goes on. One that validates, draws or saves is waited for twelve times as long."""
    log_every: Annotated[int, Gt(0)] = 10
    """Steps between two reports of the training losses."""
    wandb: Literal["offline", "online", "off"] | None = None
    """Weights & Biases. offline: keep its files in the run folder, for `wandb sync`; nothing leaves this machine.
    Default: as WANDB_MODE or WANDB_DISABLED say, online in a W&B sweep, otherwise offline."""
    wandb_artifact: bool = False
    """At the end, log the best checkpoint to W&B as an artifact, a model."""
    track: tuple[str, ...] = ()
    """Other programs to show the run in: tensorboard, trackio, mlflow, or one that a package brings."""
    debug: bool = False
    """Show the full traceback of an error."""

    def __post_init__(self) -> None:
        for name in ("max_time", "stuck_after", "timeout"):
            try:
                seconds_of(getattr(self, name) or "1s")
            except ValueError as error:
                said = f"{flag(name)} {getattr(self, name)} is not a length of time"
                raise UserError(said, "give a number and s, m, h or d: 90s, 45m, 11.5h, 2d; at most 10000h") from error
        if self.run is not None and (not self.run or Path(self.run).name != self.run or self.run.startswith(".")):
            said = f"--run {self.run!r} has to be a plain folder name"
            raise UserError(said, "give a plain name; --output-dir chooses the folder that it goes in")


@dataclass(frozen=True)
class SavingOptions:
    """How often to validate and to save checkpoints, and how many to keep."""

    eval_every: Annotated[int | None, Gt(0)] = None
    """Steps between two validations. Default: a tenth of the training, or so many more that validations take at most a
    tenth of its work, counted in pixels that pass through networks."""
    patience: Annotated[int | None, Gt(0)] = None
    """End the training early, after this many validations in a row that are no better than the best one before, by
    the figure that chooses the best checkpoint. Default: train to the last step."""
    eval_first: bool = False
    """Validate before the first step too: figures and pictures of the untrained network."""
    shown: Annotated[int, Gt(0)] = 6
    """Validation samples in the sample grid."""
    save_every: Annotated[int | None, Gt(0)] = None
    """Steps between two checkpoints. Default: as --eval-every, but at most a tenth of the training; each best one
    too."""
    keep: Annotated[int, Gt(0)] = 3
    """Checkpoints to keep. The last and the best are always kept."""


@dataclass(frozen=True)
class HardwareOptions:
    """Number format, compilation and profiling."""

    precision: Literal["fp32", "bf16", "fp16", "fp64"] | None = None
    """Number format. Default: that of accelerate's configuration, otherwise fp32. fp64 is for comparing runs to the
    last digit."""
    compile: bool = False
    """Compile the networks with torch.compile."""
    cuda_graphs: bool = False
    """Compile the networks, and replay their training steps as CUDA graphs: for small networks, which leave a GPU
    waiting for work. For one process and one network, without --accumulate."""
    shard: bool = False
    """Share out weights, gradients, averages and optimizer states among the processes (FSDP2), for networks that are
    too large for one device with all of these. The same curve as without, with less memory and more traffic."""
    recompute: bool = False
    """Compute the blocks of networks (residual blocks, layers of a transformer) a second time in the backward pass,
    rather than keep what they have computed: less memory, about a third more time, the same result."""
    profile: Annotated[int | None, Gt(0)] = None
    """Profile this many steps: report where their time goes, and write a trace for Chrome."""

    def __post_init__(self) -> None:
        other, compiled = "--cuda-graphs" if self.cuda_graphs else "--compile", self.cuda_graphs or self.compile
        clashes = {"--shard": self.shard and self.cuda_graphs, "--recompute": self.recompute and compiled}
        if found := [name for name, clash in clashes.items() if clash]:
            why = "torch compiles nothing for both"
            hint = f"leave one of them out: {found[0]} saves memory, the other may save time"
            raise UserError(f"{found[0]} and {other} do not go together: {why}", hint)


@dataclass(frozen=True)
class TrainOptions:
    """The options that all tasks share."""

    data: DataOptions = field(default_factory=DataOptions)
    optimization: OptimizationOptions = field(default_factory=OptimizationOptions)
    start: StartOptions = field(default_factory=StartOptions)
    run: RunOptions = field(default_factory=RunOptions)
    saving: SavingOptions = field(default_factory=SavingOptions)
    hardware: HardwareOptions = field(default_factory=HardwareOptions)

    def __post_init__(self) -> None:
        if self.start.weights and self.run.resume != "auto":
            said = f"--weights {' '.join(self.start.weights)} and --resume {self.run.resume} both say where to start"
            raise UserError(said, "give one of them: --resume goes on exactly, --weights begins anew")

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
    "data": DataOptions, "optimization": OptimizationOptions, "start": StartOptions, "run": RunOptions,
    "saving": SavingOptions, "hardware": HardwareOptions,
}  # fmt: skip
"""The class of each group."""
GROUPS = {option.name: group for group, kind in GROUP_TYPES.items() for option in fields(kind)}
"""The group of each option that all tasks share."""


def declaring_class(option: str, own: type) -> type:
    """Return the dataclass that declares `option`: a group of shared options, or else `own`, a task's."""
    return GROUP_TYPES[GROUPS[option]] if option in GROUPS else own


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
        return {name: plain(value) for name, value in self.flat().items()}


AnyConfig = Config[Dataclass]
"""The configuration of any task."""


def plain(value: object) -> object:
    """Return the value of an option, as JSON and YAML can have it."""
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def all_of(value: V | tuple[V, ...] | None) -> tuple[V, ...]:
    """Return the values of an option that takes one, several or none."""
    return () if value is None else value if isinstance(value, tuple) else (value,)


def flag(name: str) -> str:
    """Return the option `name` as it stands on the command line."""
    return "--" + name.replace("_", "-")
