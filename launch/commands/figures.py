"""The figures of several runs beside each other, with those of repeats as their mean and deviation."""

import re
from collections.abc import Sequence
from statistics import mean, stdev

from rich.table import Table
from rich.text import Text

from launchbay import printable
from launchbay.launch.commands.runs import shown
from launchbay.launch.record.beside import ABSENT, common_baseline, repeated
from launchbay.launch.record.reader import RunFolder

SEED = re.compile(r"(^|,|(?<=/))seed=[^,/]*")
"""In the names of a sweep's runs, what repeats differ in."""


def figures_of(rows: Sequence[RunFolder]) -> Table:
    """Return a table of the figures at the best step of each run, below those of the baseline; and of runs that differ
    in their seed only, mean ± standard deviation.
    """
    names = list(dict.fromkeys(name for row in rows if row.summary for name in row.summary.best if name != "step"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("best step of", overflow="fold")
    for name in ("step", *names):
        table.add_column(Text(printable(name)), justify="right", no_wrap=True)
    if baseline := common_baseline(rows):
        table.add_row("the baseline", ABSENT, *(shown(baseline.get(name)) for name in names))
    for row in rows:
        step = row.best("step")
        cells = [ABSENT if step is None else f"{step:,.0f}", *(shown(row.best(name)) for name in names)]
        table.add_row(Text(row.name), *cells)
    for repeats in repeated(rows):
        values = [[value for row in repeats if (value := row.best(name)) is not None] for name in names]
        name = Text(f"{len(repeats)} seeds of {SEED.sub('', repeats[0].name) or 'it'}: mean")
        table.add_row(name, "", *(f"{mean(of):.4f}" if len(of) > 1 else ABSENT for of in values))
        table.add_row("  ± deviation", "", *(f"±{stdev(of):.4f}" if len(of) > 1 else ABSENT for of in values))
    return table
