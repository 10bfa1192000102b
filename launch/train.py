"""Train: from the command line to the exit code. Nothing heavy is imported before it is needed: help, and most
mistakes, are answered at once."""

import os
import sys
from pathlib import Path

from launchbay import UserError
from launchbay.launch import errors
from launchbay.launch.config import plugins
from launchbay.launch.config.command_line import check_given, parse, read_first
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.setup import task_of
from launchbay.launch.distributed.ranks import find_rank
from launchbay.launch.distributed.signals import Stop, end_with_parent
from launchbay.launch.others import launch_command, process_rank
from launchbay.launch.terminal import unbreakable


def main(argv: list[str]) -> int:
    """Train as `argv` says. Return the exit code: 0 done, 1 a bug, 2 the user's mistake, 75 stopped, and
    the same command goes on, 130 ended by Ctrl-C before training began."""
    with unbreakable():
        return train(argv)


def train(argv: list[str]) -> int:
    stop = Stop()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a process that is gone is named by us, not by a C++ stack
    try:
        find_rank()
        with stop:
            if launch_command():
                end_with_parent()  # before what takes long, so that no process is left over if that is killed now
            run(argv, stop)
        leave_processes()
        # Several processes end here and now: at Python's exit torch's threads abort one of them now and then.
        return errors.end(errors.Report(errors.DONE, shown=True))
    except (Exception, errors.Signalled, KeyboardInterrupt) as error:
        early = stop.noted and stop.watch is None  # libraries may have made another error of it
        reported = errors.Signalled(stop.noted) if early else error
        return errors.end(errors.report(reported, debug="--debug" in argv))
    except SystemExit as exit:  # tyro has shown help or an error
        code = exit.code if isinstance(exit.code, int) else errors.BUG
        return errors.end(errors.Report(code, shown=process_rank() == 0))


def leave_processes() -> None:
    """Let go of the other processes, which would otherwise complain that this one went without a word."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run(argv: list[str], stop: Stop) -> None:
    """Do what `argv` says: show help, or train."""
    name, file, rest = read_first(argv)
    if name is None:
        if not {"--help", "-h"} & set(rest):
            known = ", ".join(plugin.name for plugin in plugins.installed(plugins.TASKS))
            raise UserError("no task was named", f"add --task NAME, one of: {known}. --help shows all options")
        if process_rank() == 0:
            from launchbay.launch.config.listing import show_help

            show_help()
        return
    check_given(rest)
    task_type, default = task_of(name)
    is_launchbay = Path(sys.argv[0]).stem == "launchbay" or not argv[0].startswith("-")
    command = "launchbay train" if is_launchbay else "run.py --task"
    config, changes = parse(default, rest, file, quiet=process_rank() > 0, command=command)
    if config.train.run.max_time:
        stop.limit(seconds_of(config.train.run.max_time))
    from launchbay.launch.engine import session

    session.train(task_type, config, changes, stop)
