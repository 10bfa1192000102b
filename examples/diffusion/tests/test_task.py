"""The task keeps launchbay's contract: each check is a test."""

from launchbay.testing import parametrize_with_checks

from diffusion.task import Diffusion


@parametrize_with_checks([Diffusion])
def test_it_keeps_the_contract(task, check):
    check(task)
