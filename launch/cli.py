"""The `launchbay` command: what needs no launcher."""

import argparse
import sys

from launchbay import __version__
from launchbay.launch import failure


def main() -> int:
    parser = argparse.ArgumentParser(prog="launchbay", description="Train image models. Tasks are plugins.")
    parser.add_argument("--version", action="version", version=f"launchbay {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("train", add_help=False, help="train in this one process: launchbay train --task NAME [options]")
    verbs.add_parser("tasks", help="list the installed tasks and data sets")
    verbs.add_parser("doctor", help="what would run on this machine, and the command for it")
    if sys.argv[1:2] == ["train"]:
        from launchbay.launch.train import main as train

        return train(sys.argv[2:])
    verb = parser.parse_args().verb
    try:
        from rich.console import Console

        if verb == "tasks":
            from launchbay.launch.listing import show_plugins

            show_plugins(Console())
        else:
            from launchbay.launch.doctor import examine

            examine(Console())
    except Exception as error:
        return failure.report(error, debug=False)
    return failure.DONE
