"""The words of each `--help`, without the layout that they happen to have: what tests/help/ keeps."""

import contextlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest.mock import patch

from launchbay.launch import cli, train
from launchbay.launch.config import listing
from launchbay.launch.config.plugins import TASKS, Plugin, installed

WIDTH = 88
Options = dict[str, str]
"""What an option is called and takes, such as "--seed INT", and what is said of it."""


def help_texts() -> Iterator[tuple[str, str]]:
    """What each file of tests/help/ has to say, by its name."""
    with patch.object(listing, "installed", ours):
        start, shared, groups = read(said(train.main, "--help"))
    yield "run.txt", "\n".join([start, *listed(shared, groups)])
    for task in ours(TASKS):
        start, options, _ = read(said(train.main, "--task", task.name, "--help"))
        own = {name: text for name, text in options.items() if name not in shared}
        other = {name: default(text) for name, text in options.items() if shared.get(name, text) != text}
        usage = f"run.py --task {task.name} [options]"
        about = "\n\n".join(textwrap.fill(" ".join(words.split()), WIDTH) for words in start.split("\n\n"))
        parts = [f"Options of {task.name}", *listed(own), "", "Other defaults of options of all tasks", *listed(other)]
        yield f"{task.name}.txt", "\n".join([usage, "", about, "", *parts])
    verbs = re.findall(r"^    (\w+) ", said(launchbay, "--help"), re.MULTILINE)
    for verb in verbs:
        if verb != "train":
            yield f"launchbay-{verb}.txt", said(launchbay, verb, "--help")
    yield "launchbay.txt", said(launchbay, "--help")


def ours(group: str) -> list[Plugin]:
    """The plugins that come along, in a wheel or a checkout of whatever version."""
    return [replace(plugin, package="", version="") for plugin in installed(group) if plugin.package == "launchbay"]


def launchbay(argv: list[str]) -> int:
    with patch.object(sys, "argv", ["launchbay", *argv]):
        return cli.main()


def said(main: Callable[[list[str]], int], *argv: str) -> str:
    """What a command prints on a terminal that is wide enough for all of it."""
    output = io.StringIO()
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_COLOR")}
    with (
        patch.dict(os.environ, {**plain, "COLUMNS": "1000", "NO_COLOR": "1"}, clear=True),
        contextlib.redirect_stdout(output),
        contextlib.suppress(SystemExit),
    ):
        main(list(argv))
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip()


def read(text: str) -> tuple[str, Options, dict[str, str]]:
    """Take a help of tyro's apart: the text before the options, the options, and the heading of each option's group.
    What tyro says of itself (its usage line, -h) is left out."""
    start, *panels = re.split(r"^ options$", text, maxsplit=1, flags=re.MULTILINE)
    options: Options = {}
    groups: dict[str, str] = {}
    group = name = ""
    # Names of choices may go on in the next line.
    for line in re.sub(r",\s*\n\s*(?=[^{}]*\})", ",", "".join(panels)).splitlines():
        words = line.strip()
        if name and line.startswith(" " * 8):  # first: a line of help may begin with the name of an option
            options[name] = f"{options[name]} {words}".strip()
        elif re.match(r"--?\w", words):
            name, _, help_line = words.partition("  ")
            options[name], groups[name] = help_line.strip(), group
        elif words and set(words) != {"-"}:
            name, heading = "", words.endswith(" options") and line.startswith(" ") and not line.startswith("  ")
            group = words if heading else f"{group}: {words}"
    start = re.sub(r"^usage: .*\n", "", start, flags=re.MULTILINE)
    own = {name: text for name, text in options.items() if name[:2] != "-h"}
    return re.sub(r"\n{3,}", "\n\n", start).strip(), own, groups


def default(text: str) -> str:
    return text[text.rindex("(default: ") :]


def listed(options: Options, groups: dict[str, str] | None = None) -> Iterator[str]:
    heading = ""
    for name, text in options.items():
        if groups and groups[name] != heading:
            heading = groups[name]
            yield f"\n{heading[0].upper()}{heading[1:]}\n"
        yield f"  {name}"
        yield textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
