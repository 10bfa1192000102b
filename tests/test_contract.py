"""The contract of a task: the built-in tasks keep it, and each way to break it is noticed by one check."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import broken_tasks
import pytest
import wrong_toys
from conftest import ROOT, Command
from PIL import Image
from stateful_tasks import Contrast, FiveSteps, Queue, QueuePerProcess
from toys import Deblur, DeblurConfig, Dropout, Gan, LaysBy, Single, Tied

from launchbay.launch.check import suite
from launchbay.launch.check.bench import Bench
from launchbay.launch.check.suite import CONTRACT, outcome
from launchbay.tasks import Task
from launchbay.tasks.classify import Classify
from launchbay.tasks.dcgan import DCGAN, DCGANConfig
from launchbay.tasks.denoise import Denoise, DenoiseConfig
from launchbay.tasks.reconstruct import Reconstruct
from launchbay.tasks.superres import SuperRes, SuperResConfig
from launchbay.tasks.unmix import Unmix
from launchbay.tasks.vae import VAE, VAEConfig
from launchbay.testing import Result, check_task, parametrize_with_checks

BREAKS = broken_tasks.BREAKS
STARTS_PROCESSES = ("import_is_light", "it_is_built_from_options_alone", "two_processes_learn_the_same")
FAST: dict[type[Task[Any]], Any] = {
    SuperRes: SuperResConfig(width=8, blocks=1),
    Denoise: DenoiseConfig(width=8, blocks=1),
    Reconstruct: None,
    VAE: VAEConfig(width=8, samples=7),
    Classify: None,
    Deblur: None,
    Gan: None,
    Dropout: None,
    Tied: None,
    LaysBy: None,
    Contrast: None,
    Queue: None,
    FiveSteps: None,
}
ALL = {**FAST, DCGAN: DCGANConfig(dropout=0.0), Unmix: None}


def in_this_process(task_type: type[Task[Any]], options: Any = None) -> list[Result]:
    bench = Bench(task_type, options)
    return [outcome(bench, check) for check in CONTRACT if check.__name__ not in STARTS_PROCESSES]


def failures(results: list[Result]) -> dict[str, Result]:
    return {result.check.replace(" ", "_"): result for result in results if result.state == "failed"}


@pytest.mark.parametrize("task_type", FAST)
def test_tasks_keep_the_contract_as_far_as_one_process_can_tell(task_type: type[Task[Any]]) -> None:
    failed = failures(in_this_process(task_type, FAST[task_type]))
    assert not failed, "\n\n".join(map(str, failed.values()))


@pytest.mark.slow
@pytest.mark.parametrize("task_type", ALL)
def test_tasks_keep_the_contract(task_type: type[Task[Any]]) -> None:
    results = check_task(task_type, ALL[task_type])
    assert not failures(results), "\n\n".join(map(str, failures(results).values()))
    assert results[-1].state == ("not applicable" if task_type is Dropout else "ok"), results[-1]


@pytest.mark.parametrize("task_type", BREAKS)
def test_a_broken_task_fails_the_one_check(task_type: type[Task[Any]]) -> None:
    failed = failures(in_this_process(task_type))
    assert failed.keys() == {BREAKS[task_type]}, "\n\n".join(map(str, failed.values()))
    (result,) = failed.values()
    assert result.expected and result.happened and result.remedy
    assert any(f"{file}.py:" in result.where for file in ("broken_tasks", "toys")), result.where


def test_every_check_has_a_task_that_breaks_it() -> None:
    assert {*BREAKS.values(), *STARTS_PROCESSES} == {check.__name__ for check in CONTRACT}


def test_what_a_fresh_process_notices() -> None:
    from heavy_task import Opening

    bench = Bench(Opening)
    heavy, opening = (outcome(bench, check) for check in CONTRACT if check.__name__ in STARTS_PROCESSES[:2])
    assert heavy.state == opening.state == "failed"
    assert heavy.happened == "importing heavy_task brings in matplotlib" and "heavy_task.py:5" in heavy.where
    assert "README.md" in opening.happened and "heavy_task.py:18 in __init__" in opening.where


@pytest.mark.slow
def test_state_that_each_process_has_of_its_own_is_named_beside_batchnorm() -> None:
    (result,) = failures(check_task(QueuePerProcess)).values()
    assert "leaves queue different on process 1" in result.happened and "batch.gather(tensor)" in result.remedy


@pytest.mark.slow
def test_two_processes_that_do_not_learn_the_same_are_noticed_by_a_script_that_runs_once(command: Command) -> None:
    script = """
from broken_tasks import CountsSamples
from launchbay.testing import check_task
print("started")
print([result.check for result in check_task(CountsSamples) if result.state == "failed"])"""
    Path("script.py").write_text(script)
    assert command(sys.executable, "script.py").stdout == "started\n['two processes learn the same']\n"


@pytest.mark.parametrize(
    ("task_type", "line", "remedy"),
    [
        (broken_tasks.DrawsInStep, "torch.randn_like", "Draw from `batch.rand` and `batch.randn`"),
        (wrong_toys.ForgetsSuper, "def __init__", "make super().__init__(config) its first line"),
        (wrong_toys.CannotBeBuilt, "groups=2", "fix that line"),
        (wrong_toys.DefaultIsText, "defaults", "give it a value of that kind"),
        (wrong_toys.EvaluatesNothing, "def evaluate", "return a dict such as {'error': error}"),
        (wrong_toys.PreviewsNothing, "def preview", "return a dict such as {'output': output}"),
        (wrong_toys.PreviewsWithoutChannels, "def preview", "[:, None] makes a channel of N×H×W"),
        (broken_tasks.NotFiniteFigure, "def evaluate", "look for a division by zero"),
        (broken_tasks.ShowsBatch, "def gallery", "C×H×W in gallery"),
        (broken_tasks.ShowsSigned, "def preview", "Clamp what is shown"),
        (broken_tasks.Forgets, "self.steps += 1", 'self.register_buffer("steps", torch.tensor(0))'),
        (broken_tasks.Queues, "self.queue.append", 'self.register_buffer("queue", ...)'),
        (broken_tasks.HidesTeacher, "= self.teachers", "make each module an attribute of its own"),
        (broken_tasks.DrawsFromItsOwn, "generator=self.source", "draw from `batch.rand` and `batch.randn`"),
        (broken_tasks.Counted, "def training_step", "keep it in the task"),
        (broken_tasks.TiedLate, "def __init__", "tie them in __init__"),
        (broken_tasks.Minds, "self.weight = 0.5", "Evaluation and data sets must keep nothing"),
    ],
)
def test_the_line_that_is_to_blame_is_named_and_what_to_do_there(
    task_type: type[Task[Any]], line: str, remedy: str
) -> None:
    (result,) = failures(in_this_process(task_type)).values()
    file, number = result.where.split()[0].split(":")
    assert line in (ROOT / file).read_text().splitlines()[int(number) - 1] and remedy in result.remedy


def cases_of(tasks: list[Any]) -> dict[str, Any]:
    mark: Any = parametrize_with_checks(tasks)
    return {case.id: case.values for case in mark.mark.args[1]}


def test_the_checks_are_tests_of_pytest() -> None:
    cases = cases_of([Single, (Gan, None)])
    assert len(cases) == 2 * len(CONTRACT)
    task, check = cases["Single-monitor_is_a_figure"]
    check(task)
    task, check = cases["Gan-monitor_is_a_figure"]
    with pytest.raises(pytest.skip.Exception, match="monitor is not set"):
        check(task)
    task, check = cases_of([broken_tasks.Sums])["Sums-losses_are_means_over_samples"]
    with pytest.raises(pytest.fail.Exception, match="as the mean of two halves"):
        check(task)


def test_the_command_shows_a_table_and_what_to_mend(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from launchbay.launch.cli import main

    monkeypatch.setattr(sys, "argv", ["launchbay", "check", "wrong_toys:Collides"])
    assert main() == 2
    out, err = capfd.readouterr()
    shown = " ".join(out.replace("│", " ").split())
    assert (
        "options are declared failed" in shown and "it can be built not applicable fix this first: options are" in shown
    )
    assert "happened task 'wrong_toys:Collides' declares --seed, which all tasks share" in shown and "toys.py:" in shown
    assert "wrong_toys:Collides fails 1 of" in err and "Traceback" not in err


def test_each_result_is_shown_as_it_comes_and_options_count(
    monkeypatch: pytest.MonkeyPatch, launchbay: Callable[..., tuple[int, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []

    def the_pictures_are_those_of_the_folder(bench: Bench) -> None:
        """Every tenth of twelve is to validate on.

        This is a test.
        """
        shown.append(capfd.readouterr().out)
        assert len(bench.sets[1]) == 2 and bench.task().config == DeblurConfig(sigma=3.0)

    monkeypatch.setattr(suite, "CONTRACT", (*CONTRACT[:2], the_pictures_are_those_of_the_folder))
    Path("pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (96, 96), (number, 0, 0)).save(f"pictures/{number}.png")
    options = ("--data", "folder", "--data-root", "pictures", "--sigma", 3, "--steps", 7)
    code, rest = launchbay("check", "toys:Deblur", *options)
    assert code == 0 and "folder ok toys:Deblur keeps the contract" in rest
    assert "it can be built" in shown[0] and "--sigma 3.0  (command line; default 2.0)" in shown[0]
    assert "without effect on a check: --steps" in shown[0]


def test_a_check_takes_no_option_that_there_is_not(
    launchbay: Callable[..., tuple[int, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        launchbay("check", "toys:Deblur", "--sigm", 3)
    assert end.value.code == 2 and "--sigma FLOAT" in capfd.readouterr().err


@pytest.mark.slow
def test_the_command_on_a_task_that_keeps_the_contract(command: Command) -> None:
    done = command(Path(sys.executable).parent / "launchbay", "check", "toys:Single")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "two processes learn the same ok" in " ".join(done.stdout.split()) and "keeps the contract" in done.stdout
