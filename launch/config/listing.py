"""The top-level help and the tables of installed tasks and data sets. Imports no plugin, hence no torch."""

from typing import get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchbay.launch.config.data_kinds import CODE, FILES, FOLDERS, PICTURES, PREFIXES
from launchbay.launch.config.plugins import DATASETS, KINDS, TASKS, installed
from launchbay.models.spandrel_names import PREFIX, SpandrelDenoise, SpandrelSuperRes

USAGE = """[bold]launchbay[/bold] trains image models.

  accelerate launch \\[accelerate's flags] launch/run.py --task NAME \\[options]
  accelerate launch -m launchbay.launch.run --task NAME \\[options]      (installed with pip)

[bold]Examples[/bold]
  accelerate launch launch/run.py --task superres
  accelerate launch launch/run.py --task superres --data DIR --scale 2 --model srcnn
  accelerate launch --config_file accelerate_configs/multi_cpu.yaml launch/run.py --task superres
  python launch/run.py --config runs/superres-1/config.yaml --lr 5e-4
  python launch/run.py --task superres --help      all options, those of the task too
"""


def show_help() -> None:
    """Print how to start a run, the tables of plugins and the options that all tasks share."""
    import contextlib

    import tyro

    from launchbay.launch.config.command_line import join_lines, one_column
    from launchbay.launch.config.options import GROUP_TYPES, TrainOptions

    console = Console()
    console.print(USAGE, highlight=False)
    show_plugins(console)
    console.print("\n[bold]Options of all tasks[/bold] (a task may have other defaults)")
    for group in GROUP_TYPES.values():
        join_lines(group)
    with one_column(), contextlib.suppress(SystemExit):
        tyro.cli(
            TrainOptions,
            args=["--help"],
            prog="run.py --task NAME",
            description="",
            config=(tyro.conf.OmitArgPrefixes,),
        )


def show_plugins(console: Console) -> None:
    """Print the tables of installed tasks and data sets, each with its summary or its fault."""
    for group in (TASKS, DATASETS):
        plugins = installed(group)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in (KINDS[group], "summary", "package", "version"):
            table.add_column(heading)
        for plugin in plugins:
            others = [str(other) for other in plugins if other.name == plugin.name and other != plugin]
            clash = f"! claimed by {' and by '.join(others)} too → uninstall one of them"
            table.add_row(plugin.name, Text(clash if others else plugin.summary()), plugin.package, plugin.version)
        console.print(table)
        console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("--data also takes", "what that is"):
        table.add_column(heading)
    for kind in dict.fromkeys((PICTURES, *FILES.values(), *FOLDERS.values(), *PREFIXES.values(), CODE)):
        table.add_row(Text(kind.written), Text(kind.about))
    console.print(table)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("--model spandrel/", "networks that other upscalers load (pip install 'launchbay[spandrel]')"):
        table.add_column(Text(heading))
    for task, kind in (("superres", SpandrelSuperRes), ("denoise", SpandrelDenoise)):
        table.add_row(task, Text(", ".join(name.removeprefix(PREFIX) for name in get_args(kind))))
    console.print(table)
    console.print()
