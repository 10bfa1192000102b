"""Check that a task keeps its contract: `check_task`, the same as tests of pytest, and the lines of `launchbay check`.

In a plugin's tests:

    from launchbay.testing import parametrize_with_checks

    @parametrize_with_checks([Deblur])
    def test_it_keeps_the_contract(task, check):
        check(task)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from launchbay import UserError
from launchbay.launch.check import figures, options, runs, same, steps
from launchbay.launch.check.bench import Bench, isolated
from launchbay.launch.check.results import Broken, Check, NotApplicable, Result, explain
from launchbay.launch.config.options import Dataclass
from launchbay.tasks.base import AnyTask
from launchbay.tasks.places import Place

if TYPE_CHECKING:
    import pytest

CONTRACT: tuple[Check, ...] = (
    options.options_are_declared,
    options.it_can_be_built,
    options.options_go_through_yaml,
    options.each_option_has_help,
    options.import_is_light,
    options.it_is_built_from_options_alone,
    options.processes_are_not_its_business,
    options.samples_repeat_and_travel,
    figures.figures_are_of_samples,
    figures.baselines_stand_beside_figures,
    figures.monitor_is_a_figure,
    figures.pictures_are_well_formed,
    figures.odd_sizes_are_restored_or_refused,
    steps.steps_can_be_taken,
    steps.losses_keep_their_order,
    steps.a_loss_moves_only_its_network,
    steps.each_parameter_learns,
    steps.randomness_comes_from_the_batch,
    steps.the_loss_falls,
    steps.networks_are_only_called,
    same.a_step_repeats_bit_for_bit,
    same.evaluation_changes_nothing,
    same.precisions_can_be_chosen,
    same.a_batch_of_one_is_enough,
    same.losses_are_means_over_samples,
    same.figures_do_not_depend_on_the_batch,
    runs.networks_can_be_compiled,
    runs.a_checkpoint_holds_everything,
    runs.a_run_goes_on_bit_for_bit,
    runs.two_processes_learn_the_same,
)
Subject = type[AnyTask] | tuple[type[AnyTask], Dataclass | None]
"""A task, or a task and its options."""
COLOURS = {"ok": "green", "failed": "bold red", "not applicable": "dim"}


def check_task(task_type: type[AnyTask], options: Dataclass | None = None) -> list[Result]:
    """Return what comes of each check of the contract for `task_type`, with the defaults of its options or with
    `options`.

    It trains for some dozens of steps on a few samples of the task's default data, on the CPU, and starts a process for
    what only a fresh one can tell and two to compare one process with two. Small networks take less than a minute.
    Nothing is raised for what fails: look for results whose `state` is "failed".
    """
    return list(run_checks(Bench(task_type, options)))


def parametrize_with_checks(tasks: Sequence[Subject]) -> "pytest.MarkDecorator":
    """Make a test function with the arguments `task` and `check` a test of each check for each of `tasks`.

        @parametrize_with_checks([Deblur, (Deblur, DeblurConfig(sigma=1.0))])
        def test_it_keeps_the_contract(task, check):
            check(task)

    A task is a class, or a pair of a class and its options. `check(task)` fails, or skips what is not applicable.
    """
    import pytest

    cases = []
    for task in tasks:
        name = (task[0] if isinstance(task, tuple) else task).__name__
        cases += [pytest.param(task, PytestCheck(check), id=f"{name}-{check.__name__}") for check in CONTRACT]
    return pytest.mark.parametrize(("task", "check"), cases)


@dataclass(frozen=True)
class PytestCheck:
    """One check as the body of a test."""

    check: Check

    def __call__(self, task: Subject) -> None:
        import pytest

        result = outcome(shared_bench(task), self.check)
        if result.state == "not applicable":
            pytest.skip(result.happened)
        if result.state == "failed":
            pytest.fail(str(result), pytrace=False)


@lru_cache(maxsize=1)
def shared_bench(task: Subject) -> Bench:
    """Return one bench for all checks of a task, which come one after the other."""
    return Bench(*task) if isinstance(task, tuple) else Bench(task)


def run_checks(bench: Bench) -> Iterator[Result]:
    return (outcome(bench, check) for check in CONTRACT)


def outcome(bench: Bench, check: Check) -> Result:
    """Return what comes of `check`, found out once."""
    if check not in bench.results:
        bench.results[check] = run_check(bench, check)
    return bench.results[check]


def run_check(bench: Bench, check: Check) -> Result:
    """Run `check`, if those before it hold that it needs."""
    name, expected, remedy = words(check)
    for other in needed(check):
        if outcome(bench, other).state == "failed":
            return Result(name, "not applicable", expected, f"fix this first: {words(other)[0]}")
    try:
        with isolated():
            check(bench)
        return Result(name, "ok", expected)
    except NotApplicable as reason:
        return Result(name, "not applicable", expected, str(reason))
    except Exception as error:
        broken = error if isinstance(error, Broken) else explain(error, bench.task_type)
        if broken is None:
            raise
        place = broken.place or (None if broken is error else bench.place())
        return Result(name, "failed", expected, broken.happened, said(place), broken.remedy or remedy)


def said(place: Place | None) -> str:
    return place.short() if place else ""


def words(check: Check) -> tuple[str, str, str]:
    """Its name, what it expects, and how to fix what is not so."""
    expected, _, remedy = (" ".join(part.split()) for part in (check.__doc__ or "").partition("\n\n"))
    return check.__name__.replace("_", " "), expected, remedy


def needed(check: Check) -> Iterator[Check]:
    """Return the checks that have to hold before `check`, and before those."""
    for other in getattr(check, "needs", ()):
        yield from needed(other)
        yield other


def show_checks(name: str, bench: Bench, console: Console) -> None:
    """Run the checks and print the result of each as it comes, with what is wrong and how to fix it.

    Raises:
        UserError: the task does not keep the contract.
    """
    width = max(len(words(check)[0]) for check in CONTRACT) + 2
    console.print(Text(f"{'check':<{width}}result", "bold"))
    failed: list[str] = []
    with console.status("") as status:  # on a terminal; elsewhere it shows nothing
        for number, check in enumerate(CONTRACT, 1):
            status.update(f"{number}/{len(CONTRACT)}  {words(check)[0]}")
            result = outcome(bench, check)
            reason = f"  {result.happened}" if result.state == "not applicable" else ""
            line = Text.assemble(f"{result.check:<{width}}", (result.state, COLOURS[result.state]), (reason, "dim"))
            console.print(line, soft_wrap=True)
            if result.state == "failed":
                console.print(failure_panel(result))
                failed.append(result.check)
    if failed:
        raise UserError(
            f"{name} fails {len(failed)} of {len(CONTRACT)} checks: {', '.join(failed)}", "fix the first one first"
        )
    console.print(Text(f"\n{name} keeps the contract"))


def failure_panel(result: Result) -> Panel:
    lines = {"expected": result.expected, "happened": result.happened, "at": result.where}
    text = Text("\n").join(Text.assemble((f"{key:<10}", "bold"), value) for key, value in lines.items() if value)
    text.append(f"\n→ {result.remedy}", style="bold")
    return Panel(text, title=result.check, title_align="left", border_style="red", width=110)
