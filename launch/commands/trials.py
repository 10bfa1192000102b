"""`launchbay sweep NAME --trials N --lr log:1e-4:1e-2`: runs whose values optuna chooses, by how earlier ones did."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from launchbay import UserError
from launchbay.launch.record.lines import read_record
from launchbay.launch.record.run_folder import read_summary
from launchbay.models.reading import Unfit

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

JOURNAL = "optuna.log"
"""The file in a sweep's folder that has its trials: what was tried, and what came of it."""


@dataclass(frozen=True)
class Range:
    """What an option may be: from `low` to `high`, whole numbers or not, and as often in each octave with `log`."""

    low: str
    high: str
    log: bool
    whole: bool

    def ends(self) -> list[str]:
        return [self.low, self.high]

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)


def each_once(word: str, values: list[str]) -> list[str]:
    """Return the `values` of the option `word`; raise a UserError if one is there twice."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise UserError(f"{word} has {twice[0]} more than once", "give each value once: its run would be the same")
    return values


def read_range(option: str, text: str, whole: bool) -> Range | None:
    """Return the range that `text` is, such as 0:0.5, log:1e-4:1e-2 or, of `whole` numbers, 8:64; None if it is none.

    Raises:
        UserError: it is like one, but wrong.
    """
    log = text.startswith("log:")
    low, _, high = text.removeprefix("log:").partition(":")
    try:
        ends = (int(low), int(high)) if whole else (float(low), float(high))
    except ValueError:
        if not log:
            return None
        raise UserError(f"{option} {text} is no range", "write log:LOW:HIGH, such as log:1e-4:1e-2") from None
    if not -inf < ends[0] < ends[1] < inf or (log and ends[0] <= 0):
        said = "write two numbers, the smaller one first" + ", both above 0" * log
        raise UserError(f"{option} {text} is no range", said)
    return Range(low, high, log, whole)


Axis = Range | list[str]
"""What the trials of a sweep choose from for an option."""


class Search:
    """The trials of the sweep in `folder`, which choose from `axes`, by option. They are kept there: a trial that has
    come to no end, because it was stopped or has failed, is tried again the next time.

    Raises:
        UserError: optuna is not installed.
    """

    def __init__(self, folder: Path, axes: Mapping[str, Axis]):
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        except ImportError as error:
            raise UserError(f"--trials: {error}", "pip install 'launchbay[sweep]'") from error
        optuna.logging.set_verbosity(logging.WARNING)
        file = str(folder / JOURNAL)
        storage = JournalStorage(JournalFileBackend(file, JournalFileOpenLock(file)))  # no link, which Windows has not
        # Scores: the figure that chooses the best checkpoint, or its opposite where less is better.
        self.study = optuna.create_study(
            storage=storage, study_name=folder.name, direction="maximize", load_if_exists=True
        )
        self.distributions = {option: distribution(axis) for option, axis in axes.items()}
        self.lock, self.pruned = Lock(), set[int]()
        trials = self.study.get_trials(deepcopy=False)
        self.begun = [trial for trial in trials if not trial.state.is_finished()]
        self.finished = len(trials) - len(self.begun)

    def ask(self) -> tuple["Trial", dict[str, str]]:
        """Return the next trial, and the value of each option, as it stands on a command line."""
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        with self.lock:
            if self.begun:
                trial = Trial(self.study, self.begun.pop(0)._trial_id)
            else:  # what is drawn depends on the number of the trial, not on how often the sweep was started
                self.study.sampler = TPESampler(seed=len(self.study.get_trials(deepcopy=False)))
                trial = self.study.ask(self.distributions)
            return trial, {option: str(trial.params[option]) for option in self.distributions}

    def report(self, trial: "Trial", run: Path) -> dict[int, float]:
        """Report the validations of `run` since the last time, and return them."""
        known = self.study._storage.get_trial(trial._trial_id).intermediate_values
        new = {step: value for step, value in scores(run).items() if step not in known}
        for step, value in new.items():
            trial.report(value, step)
        return new

    def is_hopeless(self, trial: "Trial", run: Path) -> bool:
        """Return whether there is a new validation of `run`, and the median of others was better by then."""
        with self.lock:
            if not self.report(trial, run) or not trial.should_prune():
                return False
            self.pruned.add(trial.number)
            return True

    def tell(self, trial: "Trial", run: Path) -> None:
        """Say what came of a trial that has come to its end.

        Raises:
            UserError: it has no figure to go by.
        """
        from optuna.trial import TrialState

        with self.lock:
            self.report(trial, run)
            found = scores(run)
            if not found:
                hint = "leave --trials out, or set `monitor` in the task"
                raise UserError("--trials: the task names no figure to go by", hint)
            state = TrialState.PRUNED if trial.number in self.pruned else TrialState.COMPLETE
            self.study.tell(trial, None if state == TrialState.PRUNED else max(found.values()), state)

    def best(self) -> "FrozenTrial | None":
        with suppress(ValueError):  # none has come to its end
            return self.study.best_trial
        return None


def distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution

    return axis.distribution() if isinstance(axis, Range) else CategoricalDistribution(axis)


def scores(run: Path) -> dict[int, float]:
    """Return how good each validation of `run` was by the figure that chooses its best checkpoint: more is better."""
    try:
        summary = read_summary(run)
    except Unfit:  # it has not begun, or is about to write it
        return {}
    sign = -1 if summary.lower_is_better else 1
    lines = [line for line in read_record(run) if line["split"] == "val" and line["step"]]
    found = {line["step"]: line.get(summary.best_by) for line in lines}
    return {step: sign * value for step, value in found.items() if isinstance(value, int | float)}
