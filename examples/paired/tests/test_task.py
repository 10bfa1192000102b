"""The task keeps launchbay's contract: each check is a test."""

from launchbay.testing import parametrize_with_checks

from paired.task import Paired


@parametrize_with_checks([Paired])
def test_it_keeps_the_contract(task, check):
    check(task)
