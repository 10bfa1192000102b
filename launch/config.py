"""The options that all tasks share, and one configuration from defaults < YAML < command line. No torch in here."""

import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, make_dataclass, replace
from difflib import get_close_matches
from keyword import iskeyword
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

from annotated_types import Ge, Gt, Lt

from launchbay import UserError

C = TypeVar("C")
SEE_HELP = "--help tells what it is, and its default"


@dataclass(frozen=True)
class Shared:
    data: str = "photos"
    """Data set to train on; `launchbay tasks` lists them. The default needs no download."""
    data_root: Path | None = None
    """Folder of the data set, where it needs one."""
    val_data: str | None = None
    """Another data set to validate on (all of it)."""
    val_root: Path | None = None
    """Folder of the validation set. Alone, it means a folder of photographs."""
    run: str | None = None
    """Name of the run, and of its folder; if it was begun before, it goes on. Default: the task's name and a number."""
    output_dir: Path = Path("runs")
    """Where run folders go."""
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
    log_every: Annotated[int, Gt(0)] = 10
    """Steps between two lines of training losses."""
    resume: str = "auto"
    """auto: with --run, go on where that run stopped. Or where to start from: a run's folder, or a checkpoint's."""
    max_time: str | None = None
    """Stop with a checkpoint after this time, such as 90s, 45m or 11.5h; the same command goes on from there."""
    stuck_after: str = "60s"
    """Report, with its stack, a process that has got nowhere for this long."""
    eval_every: Annotated[int | None, Gt(0)] = None
    """Steps between two validations. Default: ten in the whole training."""
    save_every: Annotated[int | None, Gt(0)] = None
    """Steps between two checkpoints. Default: with every validation."""
    keep: Annotated[int, Gt(0)] = 3
    """Checkpoints to keep. The last and the best are always kept."""
    wandb: Literal["offline", "online", "off"] = "offline"
    """Weights & Biases. offline: a run in the run folder, for `wandb sync`; nothing leaves this machine."""
    workers: Annotated[int, Ge(0)] = 0
    """Processes that decode pictures ahead, for each training process. Data kept in memory needs none."""
    precision: Literal["fp32", "bf16", "fp16", "fp64"] | None = None
    """Default: what accelerate was told, otherwise fp32. fp64 is for comparing runs to the last digit."""
    compile: bool = False
    """torch.compile the networks."""
    cuda_graphs: bool = False
    """torch.compile the networks and replay their training steps as CUDA graphs: for small networks, where a GPU waits
    for the next thing to do. For one process, one network, no --accumulate."""
    profile: Annotated[int | None, Gt(0)] = None
    """Say where the time of a step goes, over so many steps, and write a trace of them for Chrome."""
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

    def validation_data(self) -> str:
        """The name of the data set that figures are of."""
        return self.val_data or ("folder" if self.val_root else self.data)


@dataclass(frozen=True)
class Config(Generic[C]):
    """Everything that decides a run: `config.yaml` is this, flat."""

    task: str
    shared: Shared
    options: C

    def flat(self) -> dict[str, Any]:
        parts = [(part, field.name) for part in (self.shared, self.options) for field in fields(part)]  # pyright: ignore
        return {"task": self.task} | {name: getattr(part, name) for part, name in parts}

    def plain(self) -> dict[str, Any]:
        """`flat`, as JSON can have it."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in self.flat().items()}


def seconds_of(duration: str) -> float:
    """Seconds of "90s", "45m" or "11.5h".

    Raises:
        ValueError: it is none of these.
    """
    seconds = float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}.get(duration[-1:], float("nan"))
    if not 0 < seconds < float("inf"):
        raise ValueError(duration)
    return seconds


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def checked(options: type, name: str, value: object, where: str, hint: str = SEE_HELP, *, strict: bool = False) -> Any:
    """`value` as the option `name` of the dataclass `options`, which was given `where`.

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


def shared_defaults(task: str, defaults: Mapping[str, object]) -> Shared:
    """The shared options with a task's own defaults.

    Raises:
        UserError: the task names a shared option that does not exist.
    """
    known = [field.name for field in fields(Shared)]
    if unknown := [name for name in defaults if name not in known]:
        near = get_close_matches(str(unknown[0]), known, n=1)
        raise UserError(
            f"task {task!r} sets a default for {', '.join(map(str, unknown))}, which is no shared option"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            "a task's own options have theirs where they are declared",
        )
    return replace(Shared(), **defaults)  # pyright: ignore[reportArgumentType]


def check_options(task: str, options: type) -> None:
    """Whether the dataclass `options` of a task can be options of a command line.

    Raises:
        UserError: one has no default, or the name of one that all tasks share.
    """
    own = fields(options)  # pyright: ignore[reportArgumentType]
    if taken := {"task", "config", *(field.name for field in fields(Shared))} & {field.name for field in own}:
        raise UserError(
            f"task {task!r} declares {', '.join(map(flag, sorted(taken)))}, which all tasks share",
            "rename the option, or set the shared one's default in Task.defaults",
        )
    if missing := [field.name for field in own if field.default is MISSING and field.default_factory is MISSING]:
        raise UserError(f"{options.__name__} has no default for {', '.join(missing)}", "give every option one")


def parse(default: Config[C], argv: list[str], file: Path | None, *, quiet: bool) -> tuple[Config[C], list[str]]:
    """The configuration of a run, and a line on each value that is not the default: what it is and where it came from.

    `argv` has neither --task nor --config. Prints help or an error and exits (0, 2) where `argv` asks for it, as tyro
    does; `quiet` processes print nothing.
    """
    import tyro

    from launchbay.launch.yaml_config import read

    from_file, lines = read(file, default) if file else (default, {})
    for options in (Shared, type(default.options)):
        join_lines(options)
    own = re.sub(r"\W", "_", default.task)  # tyro heads the task's own options with this
    if not own.isidentifier() or iskeyword(own) or own == "shared":
        own = f"task_{own}"
    kind: Any = make_dataclass("Options", [("shared", Shared), (own, type(default.options))])
    about = sys.modules[type(default.options).__module__].__doc__ or ""
    answers = tyro.cli(
        kind,
        args=argv,
        default=kind(from_file.shared, from_file.options),
        prog=f"run.py --task {default.task}",
        description=paragraphs(f"{about}\n\nAny of these options can come from a YAML file: --config FILE."),
        console_outputs=not quiet,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    parsed = Config(default.task, answers.shared, getattr(answers, own))
    parsed = settle_length(parsed, from_file, default)
    for part, before in ((parsed.shared, from_file.shared), (parsed.options, from_file.options)):
        for field in fields(part):  # pyright: ignore[reportArgumentType]
            if (value := getattr(part, field.name)) != getattr(before, field.name):
                checked(type(part), field.name, value, flag(field.name))
    return parsed, changes(parsed, from_file, default, lines)


def join_lines(options: type) -> None:
    """Write the help of each option as paragraphs into its metadata: tyro would keep a docstring's line breaks."""
    from docstring_parser import parse_from_object

    documented = {parameter.arg_name: parameter.description or "" for parameter in parse_from_object(options).params}
    for field in fields(options):
        if text := documented.get(field.name):
            field.metadata = MappingProxyType({"help": paragraphs(text), **field.metadata})


def paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def settle_length(parsed: Config[C], from_file: Config[C], default: Config[C]) -> Config[C]:
    """Of --steps and --epochs the one that was said last, on the command line or in the file, replaces the other."""
    shared = parsed.shared
    if shared.steps is None or shared.epochs is None:
        return parsed
    for earlier in (from_file.shared, default.shared):
        said = [name for name in ("steps", "epochs") if getattr(shared, name) != getattr(earlier, name)]
        if len(said) == 2:
            break
        if len(said) == 1:
            other = {"steps": "epochs", "epochs": "steps"}[said[0]]
            return replace(parsed, shared=replace(shared, **{other: None}))
    raise UserError(
        f"--steps {shared.steps} and --epochs {shared.epochs:g} both say how long to train", "give one of them"
    )


def changes(parsed: Config[C], from_file: Config[C], default: Config[C], lines: dict[str, str]) -> list[str]:
    """One line for each option that differs from the task's default."""
    before, file, now = default.flat(), from_file.flat(), parsed.flat()
    settled = [name for name in ("steps", "epochs") if now[name] is None]  # the other one was given
    changed = [name for name, value in now.items() if value != before[name] and name not in settled]
    origin = {name: lines.get(name, "") if now[name] == file[name] else "command line" for name in changed}
    return [f"{flag(name)} {now[name]}  ({origin[name]}; default {before[name]})" for name in changed]
