"""The task keeps launchbay's contract; each check is a test."""

from deblur.task import Deblur

from launchbay.testing import parametrize_with_checks


@parametrize_with_checks([Deblur])
def test_it_keeps_the_contract(task, check):
    check(task)
