"""The training loop: takes the steps that a task yields, and stops now and then to evaluate, to show and to save."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from math import ceil, inf
from pathlib import Path
from typing import NoReturn

from accelerate import Accelerator
from PIL.Image import Image

from launchbay.data import Load
from launchbay.launch.config.durations import seconds_of
from launchbay.launch.config.options import AnyConfig
from launchbay.launch.distributed.collectives import gather_lists, mean_terms, on_main_process
from launchbay.launch.distributed.groups import aborts
from launchbay.launch.distributed.handed import Handed
from launchbay.launch.distributed.signals import SAVE_FAILED, Stop, reason
from launchbay.launch.distributed.watchdog import Watch
from launchbay.launch.engine.batches import TrainingBatches
from launchbay.launch.engine.best import is_best
from launchbay.launch.engine.evaluation import evaluate_sets
from launchbay.launch.engine.finite import NotFinite
from launchbay.launch.engine.interval import TENTHS, eval_every
from launchbay.launch.engine.opened import open_data
from launchbay.launch.engine.outcome import about_task, failures_of, how_it_ended, stopped
from launchbay.launch.engine.pictures import Pictures
from launchbay.launch.engine.profiling import DATA, Profile, labelled, profiler
from launchbay.launch.engine.saving import Saving
from launchbay.launch.engine.shared_saver import saver_for
from launchbay.launch.engine.shared_state import check_shared_state
from launchbay.launch.engine.state import State
from launchbay.launch.engine.step import Learner
from launchbay.launch.errors import Signalled, Stopped, end, gone, lost, report
from launchbay.launch.files import Json
from launchbay.launch.record.tracking import Observer, peak_memory, surroundings, tell_all
from launchbay.tasks.base import AnyTask, Batch


class Engine:
    """One run of `task` with the data sets that `loads` open, each for one validation set (see loading.datasets).

    Raises:
        UserError: the task or its data cannot be trained as asked.
    """

    def __init__(self, task: AnyTask, config: AnyConfig, accelerator: Accelerator, loads: Mapping[str, Load]):
        self.task, self.config, self.options, self.accelerator = task, config, config.train, accelerator
        opened = open_data(task, config.train, accelerator, loads)
        self.data, self.fingerprints = opened.name, opened.fingerprints
        self.training_set, self.validation_sets = opened.training, opened.validation
        optimization, saving = self.options.optimization, self.options.saving
        self.batches = TrainingBatches(self.training_set, self.options.data, optimization, accelerator)
        self.steps = self.batches.steps
        self.eval_every = saving.eval_every or on_main_process(
            lambda: eval_every(self.steps, len(task.networks()), optimization, self.training_set, self.validation_sets)
        )
        self.save_every = saving.save_every or min(saving.eval_every or self.steps, ceil(self.steps / TENTHS))
        self.state, self.validation_pending = State(), False
        self.initial: dict[str, str] | None = None  # digests of the task's own state when the run began
        self.pictures = Pictures(task, self.validation_sets, accelerator, self.options, self.record_pictures)
        self.learner = Learner(task, self.options, accelerator, self.steps)

    def restore(self, where: Path) -> None:
        """Go on from the verified checkpoint `where`."""
        with closing(self.batches.after(0)) as batches:
            state = self.learner.restore(Handed(where), next(batches) if self.accelerator.num_processes > 2 else None)
        self.state = State(**asdict(state.progress))
        ends_here_now = self.state.step == self.steps and state.steps not in (None, self.steps)
        self.validation_pending = state.owes_validation or ends_here_now
        self.initial = state.initial

    def fit(self, folder: Path, observers: Sequence[Observer], stop: Stop) -> None:
        """Train from where it stands to the last step. `observers` is empty on all processes but the main one.

        Raises:
            Stopped: a signal or --max-time has ended it early, with a checkpoint.
        """
        self.folder, self.observers, self.begun_at = folder, observers, self.state.step
        self.saver = saver_for(self.learner, folder / "checkpoints", self.options, self.initial, self.accelerator)
        self.saving = Saving(folder, self.saver)
        process = self.accelerator.process_index, self.accelerator.num_processes
        run = self.options.run
        timeout = seconds_of(run.timeout) if aborts() else inf
        self.watch = Watch(seconds_of(run.stuck_after), folder / "logs", *process, timeout=timeout, leave=self.leave)
        status, self.reason = "failed", ""
        try:
            self.tell_summary("running")
            self.learner.use(self.learner.wrapped, training=True)
            asked, left = self.options.hardware.profile if self.observers else None, self.steps - self.state.step
            profiled = profiler(asked, left, folder, self.accelerator.device.type)
            stop.begin(folder, self.watch)
            with closing(self.batches.after(self.state.step)) as batches, self.watch, profiled as profile:
                try:
                    self.run(batches, stop, profile)
                except Signalled as signalled:
                    stop.ending = True
                    self.stop_where_it_is(reason(signalled.number))
            status = "done"
        except BaseException as error:
            lost = gone(error, folder)
            status, self.reason = how_it_ended(lost or error)
            if lost:
                raise lost from error
            raise
        finally:
            stop.ending = True
            self.conclude(status)

    def leave(self) -> None:
        """End this process from another thread: its main one waits for others in what nothing interrupts."""
        error = lost("timed out", self.folder)
        status, self.reason = how_it_ended(error)
        self.conclude(status, finish=not self.learner.placed.by_rows)  # rows would wait for the others too
        end(report(error, debug=False))

    def conclude(self, status: str, *, finish: bool = True) -> None:
        """Finish what is being saved, leave a summary, and let the observers go. What fails then comes after what ended
        the run, if it is not done, and is only said.
        """
        last = partial(self.tell_summary, status), partial(self.tell, lambda observer: observer.close())
        failures = failures_of([self.saving.finish, self.saver.close, *last] if finish else last)
        if failures and status == "done":
            raise failures[0]
        for error in [] if self.observers and self.saving.place.gone() else failures:
            print(f"as the run ended: {error}", flush=True)

    def run(self, batches: Iterator[list[Batch]], stop: Stop, profile: Profile | None) -> None:
        state, options = self.state, self.options
        since, counted = time.monotonic(), 0
        started = since - state.seconds
        if self.validation_pending or (options.saving.eval_first and not state.step and not state.final):
            self.end_step(stop, started)
        elif not state.step:
            with self.learner.evaluating():
                self.pictures.draw_beginning(self.batches.moment(0), self.beat)
            self.tell_summary("running")
        if self.is_over():
            return
        for step, micro_batches in enumerate(labelled(self.learner.label, DATA, batches), start=state.step + 1):
            if step == 1:
                self.pictures.draw_training(micro_batches[0])
            try:
                terms = self.learner.step(step, micro_batches)
            except NotFinite as error:
                error.add_note(self.blame(error, micro_batches))
                error.add_note(self.saving.last())
                raise
            self.watch.beat()
            state.step, state.epoch = step, round(self.batches.moment(step).epoch, 4)
            counted += options.optimization.batch_size
            self.tell(lambda observer: observer.step(state.step))
            if profile:
                profile.step()
            if step % options.run.log_every == 0 or step in (1, self.steps):
                values = mean_terms(terms, self.accelerator)  # waits for the device, so that the clock is right
                state.samples_per_s = round(counted / (time.monotonic() - since), 2)
                since, counted = time.monotonic(), 0
                rates = self.learner.learning_rates.logged()
                self.log("train", {**values, **rates, "samples_per_s": state.samples_per_s})
            pause = time.monotonic()
            self.end_step(stop, started)
            if self.is_over():
                return
            since += time.monotonic() - pause

    def end_step(self, stop: Stop, started: float) -> None:
        """Validate, save and stop after a step, where each is due."""
        state, owed, improved = self.state, self.validation_pending, False
        self.validation_pending = owed or self.due(self.eval_every)
        if self.validation_pending or self.due(self.save_every):
            check_shared_state(self.task, self.learner.networks, state.step, self.accelerator)
            self.saving.check_place(state.step, self.saved_state)
        if self.validation_pending:
            if state.step == self.steps and not owed:
                self.save(False, wait=False)  # so that a kill in the last validation, which can be long, costs no step
            improved = self.validate_or_save()
            self.validation_pending = False
        if self.saver.failed():
            stop.noted = SAVE_FAILED
        last = self.is_over()
        why = "" if last else stop.asked(self.accelerator)
        state.seconds = round(time.monotonic() - started, 2)
        if improved or owed or why or last or self.due(self.save_every):
            self.save(improved, wait=last or bool(why))
        if why:
            self.stop(why)

    def stop_where_it_is(self, why: str) -> NoReturn:
        """Stop in a validation, or where the next batch does not come; with a checkpoint, unless there is one."""
        if self.state.step > max(self.begun_at, self.saver.step):
            self.save(False, wait=True)
        else:
            self.saving.settle(self.state.step, self.saved_state)
        if self.state.step == 0:
            raise Stopped(f"{why}: stopped before the first step", "the same command starts again")
        self.stop(why)

    def stop(self, why: str) -> NoReturn:
        owed = ", before its validation" * self.validation_pending
        raise stopped(why, f"step {self.state.step} of {self.steps}{owed}", self.folder)

    def validate_or_save(self) -> bool:
        """Validate; where that fails, save the steps until then, so that the run that goes on begins with it."""
        try:
            return self.validate()
        except Exception as error:
            step, again = f"step {self.state.step}", f"the same command with --run {self.folder.name}"
            try:
                self.save(False, wait=True)
                error.add_note(f"{step} is saved: {again} begins with its validation")
            except Exception as other:
                error.add_note(f"{step} cannot be saved: {other}")
            raise

    def blame(self, error: NotFinite, micro_batches: list[Batch]) -> str:
        """Which samples of this step's batch have what `error` says."""
        bad = set(gather_lists(self.learner.bad_samples(error, micro_batches)))
        return self.batches.names(self.state.step, bad, error.what)

    def is_over(self) -> bool:
        """Return whether all steps are taken, or --patience has come to its end."""
        patience = self.options.saving.patience or self.state.waited + 1
        return self.state.step >= self.steps or self.state.waited >= patience

    def due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.steps

    def validate(self) -> bool:
        """Evaluate, draw samples, record. Returns whether the network is the best so far."""
        given = self.task, self.validation_sets, self.accelerator, self.batches.share, self.options
        moment = self.batches.moment(self.state.step)
        with self.learner.evaluating():
            figures, found = evaluate_sets(*given, moment=moment, beat=self.beat, each=self.may_be_last())
            self.pictures.draw_sets(found, moment, self.beat)
        state, sets = self.state, self.validation_sets
        improved = on_main_process(lambda: is_best(self.task, state.step, figures.own, state.best, sets))
        self.log("val", figures.named())
        state.final, state.baseline, state.waited = figures.own, figures.baseline, 0 if improved else state.waited + 1
        if improved:
            state.best = {"step": state.step, **figures.own}
        self.tell_summary("running")
        return improved

    def may_be_last(self) -> bool:
        """Return whether a validation at this step may be the last one."""
        patience = self.options.saving.patience
        return self.state.step >= self.steps or (patience is not None and self.state.waited + 1 >= patience)

    def beat(self, phase: str, share: float | None) -> None:
        """Take note of how far the `phase` of a validation is."""
        self.watch.beat(phase)
        self.tell(lambda observer: observer.phase(phase, share))

    def record_pictures(self, pictures: dict[str, Image]) -> None:
        self.tell(lambda observer: observer.samples(self.state.step, pictures))

    def save(self, best: bool, *, wait: bool) -> None:
        """Begin to write a checkpoint; with `wait`, be done with it."""
        self.saving.save(self.state.step, self.saved_state, best=best, wait=wait)

    def saved_state(self) -> Json:
        """Return what a checkpoint has beside tensors."""
        scaler = self.accelerator.scaler
        return {
            "samples": self.state.step * self.options.optimization.batch_size,
            "steps": self.steps,
            "progress": asdict(self.state),
            "owes_validation": self.validation_pending,
            "config": self.config.plain(),
            "data": self.fingerprints,
            "scaler": None if scaler is None else scaler.state_dict(),
            **surroundings(self.accelerator.num_processes, self.accelerator.device),
        }

    def summary(self, status: str) -> Json:
        return {
            "task": self.config.task,
            "data": self.data,
            "classes": self.training_set.classes,
            "status": status,
            "reason": self.reason,
            "steps": self.steps,
            **asdict(self.state),
            **about_task(self.task, self.state, self.validation_sets),
            "device": str(self.accelerator.device),
            **peak_memory(self.accelerator.device),
            **surroundings(self.accelerator.num_processes, self.accelerator.device),
        }

    def tell_summary(self, status: str) -> None:
        summary = self.summary(status)
        self.tell(lambda observer: observer.summary(summary))

    def log(self, split: str, figures: Mapping[str, float]) -> None:
        line = {"step": self.state.step, "epoch": self.state.epoch, "split": split, **figures}
        self.tell(lambda observer: observer.line(line))

    def tell(self, action: Callable[[Observer], None]) -> None:
        tell_all(self.observers, self.folder, action)
