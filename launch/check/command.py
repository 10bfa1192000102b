"""`launchbay check NAME [options]`: a task with the options that it would be trained with."""

from rich.console import Console
from rich.text import Text

from launchbay import UserError
from launchbay.launch.check.bench import OF_RUNS, SHORT, Bench
from launchbay.launch.check.suite import show_checks
from launchbay.launch.config.command_line import parse, read_first
from launchbay.launch.config.options import flag
from launchbay.launch.config.plugins import TASKS, find_plugin, load_plugin
from launchbay.launch.config.setup import check_is_task, default_config
from launchbay.tasks.authors import AuthorError
from launchbay.tasks.base import AnyTask


def check_named(name: str, argv: list[str], console: Console) -> None:
    """Check the task `name` with the options in `argv`, and say which of these a check has no use for.

    Raises:
        UserError: there is no such task or option, or the task does not keep the contract.
    """
    task_type = check_is_task(name, load_plugin(find_plugin(TASKS, name)))
    try:
        default_config(name, task_type)
    except AuthorError:
        bench = Bench(task_type)  # its first check tells what is wrong with the options
    else:
        bench = with_options(name, task_type, argv, console)
    show_checks(name, bench, console)


def with_options(name: str, task_type: type[AnyTask], argv: list[str], console: Console) -> Bench:
    """Return the bench for the task and the options in `argv`; print those that differ from its defaults."""
    given, file, rest = read_first(argv)
    if given not in (None, name):
        raise UserError(f"this is a check of {name}, not of {given}", "name one task")
    default = default_config(name, task_type)
    config, changes = parse(default, rest, file, quiet=False, command="launchbay check")
    before, now = default.flat(), config.flat()
    unused = [flag(option) for option in (*SHORT, *OF_RUNS) if now[option] != before[option]]
    if unused:
        changes.append(f"without effect on a check: {', '.join(unused)}")
    header = f"{name}: short runs on a few samples, on the CPU"
    console.print(Text("\n  ".join([header, *changes])), soft_wrap=True)  # as it is: a Text has no markup
    return Bench(task_type, config.options, config.train)
