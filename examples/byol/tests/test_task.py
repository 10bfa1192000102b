"""The task keeps launchbay's contract: each check is a test."""

from launchbay.testing import parametrize_with_checks

from byol.task import Byol


@parametrize_with_checks([Byol])
def test_it_keeps_the_contract(task, check):
    check(task)
