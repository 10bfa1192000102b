"""The table at the end of a run of tests/faults: what was tried, how often, and how much of it was survived."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each test function. One that tries several faults says how many: `record_property("faults", 9)`."""
    tried, survived = Counter[str](), Counter[str]()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            if "tests/faults/" not in report.nodeid or (outcome == "passed" and report.when != "call"):
                continue
            kind = report.nodeid.partition("::test_")[2].partition("[")[0].replace("_", " ")
            faults = int(dict(report.user_properties).get("faults", 1))
            tried[kind] += faults
            survived[kind] += faults if outcome == "passed" else 0
    if not tried:
        return
    table = Table("fault", "tried", "survived")
    for kind, number in tried.items():
        table.add_row(kind, str(number), str(survived[kind]), style="" if survived[kind] == number else "red")
    table.add_section()
    table.add_row("all", str(tried.total()), str(survived.total()))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    terminalreporter.write("\n" + capture.get())
