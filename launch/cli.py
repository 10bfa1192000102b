"""The `launchbay` command: what needs no launcher."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from launchbay import UserError, __version__
from launchbay.launch import failure


def main() -> int:
    if sys.argv[1:2] == ["train"]:
        from launchbay.launch.train import main as train

        return train(sys.argv[2:])
    try:
        run(parser().parse_args())
        return failure.DONE
    except (Exception, KeyboardInterrupt) as error:
        return failure.report(error, debug="--debug" in sys.argv).code


class Parser(argparse.ArgumentParser):
    """Its errors are panels, as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"{self.prog} --help")


def parser() -> argparse.ArgumentParser:
    parser = Parser(prog="launchbay", description="Train image models. Tasks are plugins.")
    parser.add_argument("--version", action="version", version=f"launchbay {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("train", add_help=False, help="train in this one process: launchbay train --task NAME [options]")
    verbs.add_parser("tasks", help="list the installed tasks and data sets")
    verbs.add_parser("doctor", help="what would run on this machine, and the command for it")

    evaluate = verbs.add_parser("evaluate", help="the figures of a finished run, on its own or on other pictures")
    evaluate.add_argument("run", type=Path, metavar="RUN", help="run folder, such as runs/superres-1")
    evaluate.add_argument("--val-data", metavar="NAME", help="data set, all of it (default: the run's validation set)")
    evaluate.add_argument("--val-root", type=Path, metavar="DIR", help="its folder; alone, a folder of photographs")

    apply = verbs.add_parser("apply", help="run a finished network on your own pictures")
    apply.add_argument("run", type=Path, metavar="RUN", help="run folder, such as runs/superres-1")
    apply.add_argument("source", type=Path, metavar="IN", help="a picture, or a folder of them")
    apply.add_argument("target", type=Path, metavar="OUT", help="the picture or folder to write")

    check = verbs.add_parser("check", help="whether a task keeps its contract, for those who write one")
    check.add_argument("task", metavar="NAME", help="an installed task, or module:Class seen from this folder")

    for verb in (evaluate, apply, check):
        verb.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    for verb in (evaluate, apply):
        verb.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default: best)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    console = Console()
    match arguments.verb:
        case "tasks":
            from launchbay.launch.listing import show_plugins

            show_plugins(console)
        case "doctor":
            from launchbay.launch.doctor import examine

            examine(console)
        case "evaluate":
            from launchbay.launch.finished import evaluate_run

            evaluate_run(arguments.run, arguments.checkpoint, arguments.val_data, arguments.val_root, console)
        case "apply":
            from launchbay.launch.finished import apply_run

            apply_run(arguments.run, arguments.checkpoint, arguments.source, arguments.target, console)
        case "check":
            from launchbay.launch import plugins
            from launchbay.tasks import testing

            testing.show(arguments.task, plugins.load(plugins.find(plugins.TASKS, arguments.task)), console)
