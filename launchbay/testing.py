"""Check that a task keeps its contract: for the tests of packages that define one.

from launchbay.testing import parametrize_with_checks

@parametrize_with_checks([Deblur])
def test_it_keeps_the_contract(task, check):
    check(task)
"""

from launchbay.launch.check.suite import Result, check_task, parametrize_with_checks

__all__ = ["Result", "check_task", "parametrize_with_checks"]
