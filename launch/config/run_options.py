"""Options about other runs: runs that are named instead of their folders, and what an evaluation may choose anew."""

from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args, get_type_hints

from launchbay import UserError
from launchbay.launch.config.option_file import with_options
from launchbay.launch.config.options import Config, Dataclass, RunOptions, flag
from launchbay.launch.errors import did_you_mean
from launchbay.launch.files import Json

if TYPE_CHECKING:
    from launchbay.tasks.options import Mark

C = TypeVar("C", bound=Dataclass)
RUN_FILES = ("config.yaml", "manifest.json")
"""What the folder of a run, or of a checkpoint, has."""


def find_run(name: str, output_dir: Path = RunOptions.output_dir) -> str:
    """Return the path of the run called `name`: its folder in `output_dir`, or that of a run of a sweep there,
    "rates/lr=1e-3"; unless a run or a file here has that name. What names nothing, or is a path, stays as it is.
    """
    here, inside = Path(name), output_dir / name
    of_sweep = len(here.parts) == 2 and not here.exists() and (inside / RUN_FILES[0]).is_file()
    if here.is_absolute() or ".." in here.parts or not inside.is_dir() or (here.name != name and not of_sweep):
        return name
    return name if here.is_file() or any((here / file).is_file() for file in RUN_FILES) else str(inside)


def with_run_folders(config: Config[C]) -> Config[C]:
    """Return `config` with the folder of each run that is named in it: by --resume, by --weights, or by an option of
    the task that is marked so.
    """
    from launchbay.tasks.options import Mark

    output_dir = config.train.run.output_dir
    found = {name: getattr(config.options, name) for name in marked(type(config.options), Mark.RUN)}
    named = {name: find_run(value, output_dir) for name, value in found.items() if isinstance(value, str)}
    resume = config.train.run.resume
    weights = [asked.rpartition("=") for asked in config.train.start.weights]  # NETWORK=RUN
    train = config.train.with_values(
        resume=resume if resume == "auto" else find_run(resume, output_dir),
        weights=tuple(part + sign + find_run(source, output_dir) for part, sign, source in weights),
    )
    return Config(config.task, train, replace(config.options, **named))  # pyright: ignore


def marked(options: type, mark: "Mark") -> list[str]:
    """Return the names of the options of a task that have a `mark`."""
    hints = get_type_hints(options, include_extras=True)
    return [option.name for option in fields(options) if mark in get_args(hints[option.name])]


def mark_of(verb: str) -> "Mark":
    """Return the mark of the options that `verb` may choose anew."""
    from launchbay.tasks.options import Mark

    return {"evaluate": Mark.EVALUATION, "apply": Mark.APPLY}[verb]


def with_options_of_use(config: Config[C], argv: Sequence[str], verb: str) -> tuple[Config[C], list[str]]:
    """Return the `config` of a run with those of its task's options that `argv` chooses anew for its use by `verb`,
    "evaluate" or "apply", and a line for each that differs.

    Raises:
        UserError: `argv` has an option that the task has not, or that training depends on.
    """
    if not argv:
        return config, []
    import tyro

    own = type(config.options)
    names = marked(own, mark_of(verb))
    check_given(config, argv, names, verb)
    hints = get_type_hints(own, include_extras=True)
    before = {name: getattr(config.options, name) for name in names}
    kind = make_dataclass("Options", [(name, hints[name], field(default=before[name])) for name in names])
    answers = vars(tyro.cli(kind, args=list(argv), prog=f"launchbay {verb} RUN"))
    changed = {name: value for name, value in answers.items() if value != before[name]}
    config = with_run_folders(with_options(config, changed, {name: flag(name) for name in changed}))
    lines = [f"{flag(name)} {value}  (command line; the run has {before[name]})" for name, value in changed.items()]
    return config, lines


def with_values_of_use(config: Config[C], values: Json, verb: str) -> Config[C]:
    """Return the `config` of a run with `values` for those of its task's options that its use by `verb`, "evaluate" or
    "apply", may choose anew.

    Raises:
        UserError: training depends on one, or the task has it not.
    """
    names = marked(type(config.options), mark_of(verb)) if values else []
    hint = f"task {config.task} has these for its use: {', '.join(names) or 'none'}"
    for name in values:
        if name in config.flat() and name not in names:
            raise UserError(f"{name} is for training, which is over: the run has {config.flat()[name]}", hint)
        if name not in names:
            raise UserError(f"task {config.task} has no option {name}{did_you_mean(name, names)}", hint)
    return with_run_folders(with_options(config, values, {name: name for name in values}))


def check_given(config: Config[C], argv: Sequence[str], names: Sequence[str], verb: str) -> None:
    """Raise a UserError if `argv` has something else than the options `names`."""
    hint = f"task {config.task} has these for launchbay {verb}: {', '.join(map(flag, names)) or 'none'}"
    for word in argv:
        name = word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if word == argv[0] and not word.startswith("--"):
            raise UserError(f"what is {word!r} for?", f"write launchbay {verb} RUN [options]")
        if not word.startswith("--") or name in names:
            continue
        if name in config.flat():
            raise UserError(f"{word} is for training, which is over: the run has {config.flat()[name]}", hint)
        raise UserError(f"task {config.task} has no option {word}{did_you_mean(name, names)}", hint)
