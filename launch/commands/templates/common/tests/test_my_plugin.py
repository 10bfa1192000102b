"""The task keeps launchbay's contract: each check is a test."""

from my_plugin.task import MyPlugin

from launchbay.testing import parametrize_with_checks


@parametrize_with_checks([MyPlugin])
def test_it_keeps_the_contract(task, check):
    check(task)
