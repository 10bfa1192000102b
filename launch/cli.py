"""The `launchbay` command: what needs no launcher."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from launchbay import UserError
from launchbay.launch import errors
from launchbay.launch.commands import new
from launchbay.launch.commands.verbs import parser
from launchbay.launch.config.data_names import check_names
from launchbay.launch.config.run_options import find_run
from launchbay.launch.terminal import unbreakable

DIFFERENT, NOT_FOUND_OUT = 1, 2
"""Exit codes of `compare`, as cmp and diff have them: the latter also for a bug of ours."""
LESS_MEMORY = {
    "evaluate": "lower --batch-size, which changes no figure; or take smaller pictures, or a machine with more memory",
    "apply": "give a smaller --tile; or take a machine with more memory",
    "check": errors.LESS_MEMORY,
}
"""What a command can do whose memory is too small."""


def main() -> int:
    if sys.argv[1:2] == ["train"]:
        from launchbay.launch.train import main as train

        return train(sys.argv[2:])
    with unbreakable():  # a reader that goes away must not read as compare's "different"
        return obey()


def obey() -> int:
    """Do what the command line says, and return the exit code."""
    try:
        arguments, rest = parser().parse_known_args(sys.argv[1:] or ["--help"])
        if rest and arguments.verb not in ("evaluate", "apply", "sweep"):
            raise UserError(f"unrecognized arguments: {' '.join(rest)}", f"launchbay {arguments.verb} --help shows all")
        return run_verb(arguments, rest)
    except (Exception, KeyboardInterrupt) as error:
        advice = LESS_MEMORY.get(next(iter(sys.argv[1:]), ""), "close what else runs here, or take another machine")
        code = errors.report(errors.out_of_memory(error, advice) or error, debug="--debug" in sys.argv).code
        return NOT_FOUND_OUT if sys.argv[1:2] == ["compare"] and code == DIFFERENT else code


def run_verb(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Do what the verb says; `rest` are options of the run's task. Returns the exit code."""
    console = Console()
    if "run" in arguments:
        arguments.run = Path(find_run(str(arguments.run)))
    match arguments.verb:
        case "tasks":
            from launchbay.launch.config.listing import show_plugins

            show_plugins(console)
        case "runs" | "report" | "sweep" | "sync" | "compare":
            return run_verb_of_many(arguments, rest, console)
        case "doctor":
            from launchbay.launch.commands.doctor import examine_machine
            from launchbay.launch.commands.doctor_machines import examine_machines

            if arguments.machines:
                return examine_machines(arguments.machines, console)
            examine_machine(console)
        case "evaluate":
            check_names([*arguments.val_data, *([arguments.data] if arguments.data else [])])
            from launchbay.launch.commands.evaluate import Named, Wanted, evaluate_run
            from launchbay.launch.commands.several import in_processes

            names = ("task", "data", "val_data", "val_root", "batch_size", "skip_damaged")
            named = Named(*(getattr(arguments, name) for name in names))
            wanted = Wanted(arguments.form, arguments.per_picture, arguments.worst_and_best)
            given = arguments.run, arguments.checkpoint, named, console

            def work() -> int:
                evaluate_run(*given, argv=rest, wanted=wanted)
                return errors.DONE

            return in_processes(arguments.processes, sys.argv[1:], console, work)
        case "apply":
            from launchbay.launch.commands.apply import How as HowToApply
            from launchbay.launch.commands.apply import apply_run
            from launchbay.launch.commands.several import in_processes

            how = HowToApply(**{field.name: getattr(arguments, field.name) for field in fields(HowToApply)})
            given = arguments.run, arguments.checkpoint, arguments.paths, how, console

            def use() -> int:
                return errors.DONE if apply_run(*given, name=arguments.task, argv=rest) else DIFFERENT

            return in_processes(arguments.processes, sys.argv[1:], console, use)
        case "export":
            from launchbay.launch.commands.export import How, export_run

            how = How(arguments.checkpoint, arguments.task, arguments.license, arguments.push)
            export_run(arguments.run, arguments.target, how, console)
        case "check":
            from launchbay.launch.check.command import check_named

            check_named(arguments.task, arguments.options, console)
        case "pack":
            check_names([arguments.data])
            from launchbay.launch.commands.pack import pack_data

            given = arguments.data, arguments.data_root, arguments.target, console
            pack_data(*given, skip_damaged=arguments.skip_damaged)
        case "new":
            new.write_package(arguments.name, arguments.kind, console, dataset=arguments.dataset)
    return errors.DONE


def run_verb_of_many(arguments: argparse.Namespace, rest: list[str], console: Console) -> int:
    """Do what a verb says that is about many runs. Returns the exit code."""
    match arguments.verb:
        case "runs":
            from launchbay.launch.commands.runs import show_runs

            chosen = arguments.sort, arguments.task, arguments.form
            return errors.DONE if show_runs(arguments.folder, *chosen, console) else NOT_FOUND_OUT
        case "report":
            from launchbay.launch.commands.report import write_report

            is_whole = write_report(arguments.named, arguments.target, console, show=arguments.show)
            return errors.DONE if is_whole else NOT_FOUND_OUT
        case "sweep":
            from launchbay.launch.commands.sweep import How, sweep

            chosen = How(arguments.name, arguments.jobs, arguments.launcher, arguments.trials)
            return sweep([arguments.task, *rest], chosen, console)
        case "sync":
            from launchbay.launch.commands.sync import sync_runs

            named = [Path(find_run(str(run))) for run in arguments.runs]
            return errors.DONE if sync_runs(named, arguments.to, console) else DIFFERENT
        case "compare":
            from launchbay.launch.commands.compare import compare

            others = [Path(find_run(str(other))) for other in arguments.others]
            return errors.DONE if compare([arguments.run, *others], console) else DIFFERENT
    raise AssertionError(arguments.verb)
