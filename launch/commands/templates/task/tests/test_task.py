"""The task keeps launchbay's contract: each check is a test."""

from collections.abc import Callable

from launchbay.testing import parametrize_with_checks

from my_plugin.task import MyPlugin


@parametrize_with_checks([MyPlugin])
def test_it_keeps_the_contract(task: type[MyPlugin], check: Callable[[type[MyPlugin]], None]) -> None:
    check(task)
