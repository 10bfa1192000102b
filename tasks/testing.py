"""The former name of launchbay.testing, for packages written for version 1 of the API; it goes with the next one."""

from warnings import warn

from launchbay.testing import Result, check_task, parametrize_with_checks

__all__ = ["Result", "check_task", "parametrize_with_checks"]

warn(
    "launchbay.tasks.testing is launchbay.testing now; import it from there: the old name will be removed",
    FutureWarning,
    2,
)
