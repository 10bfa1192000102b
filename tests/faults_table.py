"""The table at the end of the tests: kinds of faults, how many were tried, and how many of them were survived.

All of it comes from the tests themselves: each in tests/faults is one fault, of the kind that its `fault` mark names or
else its file; one elsewhere counts if it has such a mark. A test that tries several counts them with `one_fault`.
"""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

OneFault = Callable[[str], AbstractContextManager[None]]
CountFaults = Callable[[int, int], None]


@pytest.fixture
def count_faults(request: pytest.FixtureRequest) -> CountFaults:
    """Count faults that another process has tried: how many, and how many of them were survived."""
    return lambda tried, survived: request.node.user_properties.append(
        ("faults", {"tried": tried, "survived": survived})
    )


@pytest.fixture
def one_fault(request: pytest.FixtureRequest) -> Generator[OneFault]:
    """Try one of several faults within it: `with one_fault("call 7"): ...`. It is survived if nothing is raised there.
    The others are tried all the same; the test fails in the end.
    """
    counts, errors = {"tried": 0, "survived": 0}, list[Exception]()
    request.node.user_properties.append(("faults", counts))  # reports take what it holds when the test is over

    @contextmanager
    def counted(what: str) -> Generator[None]:
        counts["tried"] += 1
        try:
            yield
            counts["survived"] += 1
        except (Exception, SystemExit) as error:
            errors.append(AssertionError(f"{what}: {error}").with_traceback(error.__traceback__))

    yield counted
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {counts['tried']} faults were not survived", errors)


@pytest.hookimpl(tryfirst=True)  # before -m chooses among them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("fault")
        if mark is None and item.path.parent.name == "faults":
            mark = pytest.mark.fault(item.path.stem.removeprefix("test_").replace("_", " ")).mark
            item.add_marker(mark.name)
        if mark is not None:
            item.user_properties.append(("kind", *mark.args))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each test function."""
    tried, survived, skipped = Counter[tuple[str, str]](), Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    seen = set[str]()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            properties = dict(getattr(report, "user_properties", ()))
            if "kind" not in properties or (outcome == "passed" and report.when != "call"):
                continue
            row = properties["kind"], report.nodeid.partition("::test_")[2].partition("[")[0].replace("_", " ")
            if outcome == "skipped":
                skipped[row] = str(report.longrepr[2]).removeprefix("Skipped: ")
                continue
            if report.nodeid in seen:  # it has failed, and what came after it too
                continue
            seen.add(report.nodeid)
            counts = properties.get("faults", {"tried": 1, "survived": int(outcome == "passed")})
            tried[row] += counts["tried"]
            survived[row] += counts["survived"]
    if tried or skipped:
        with (console := Console(width=120)).capture() as capture:
            console.print(faults_table(tried, survived, skipped))
        terminalreporter.write("\n" + capture.get())


def faults_table(
    tried: Counter[tuple[str, str]], survived: Counter[tuple[str, str]], skipped: dict[tuple[str, str], str]
) -> Table:
    table = Table("kind", "fault", "tried", "survived")
    before = ""
    for kind, fault in sorted({*tried, *skipped}):
        row = kind, fault
        if kind != before:
            table.add_section()
        reason = f" (skipped: {skipped[row]})" if row in skipped else ""
        style = "" if survived[row] == tried[row] and not reason else "red"
        table.add_row(kind if kind != before else "", fault + reason, str(tried[row]), str(survived[row]), style=style)
        before = kind
    table.add_section()
    table.add_row("all", "", str(tried.total()), str(survived.total()))
    return table
