"""The task keeps launchbay's contract: each check is a test."""

from launchbay.testing import parametrize_with_checks

from finetune.task import Finetune


@parametrize_with_checks([Finetune])
def test_it_keeps_the_contract(task, check):
    check(task)
