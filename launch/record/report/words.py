"""What the report says in words: how good a run is, how long it took, and how it ended."""

import shlex
from collections.abc import Sequence

from launchbay import number_of
from launchbay.launch.record.figures import which_is_better
from launchbay.launch.record.reader import FLATTERED, RunFolder, ago

STATES = {"done": "good", "running": "busy", "starting": "busy", "stopped": "halted", "interrupted": "halted"}
"""How each status is coloured; others are bad."""


def number(value: float) -> str:
    """Return a figure, as tables have it."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.1f}"
    return f"{value:.3g}" if 0 < size < 0.001 else f"{value:z.4f}"


def said(name: str, value: float, *, bare: bool = False) -> str:
    """Return a figure, as sentences have it: with its unit, unless it is to be `bare`."""
    if name.rpartition("/")[2].startswith("psnr"):
        return f"{value:.2f}{'' if bare else ' dB'}"
    return number(value)


def chosen_by(run: RunFolder) -> str:
    """Return the figure that a run is judged by: the reported one, or else its first; empty if it has none."""
    own = run.figures("best").own or run.figures("last").own
    return run.reported or next(iter(own), "")


def better(run: RunFolder, name: str) -> int:
    """Return 1 if higher values of `name` are better, -1 if lower are, 0 if that is not known."""
    if run.summary and name and name in (run.summary.best_by, run.reported):
        return -1 if run.summary.lower_is_better else 1
    return which_is_better(name)


def against(value: float, other: float, name: str, sign: int) -> str:
    """Return in words how far `value` is from `other`: "0.27 dB better than"."""
    gap = value - other
    if not gap:
        return "the same as"
    word = ("better than" if sign * gap > 0 else "worse than") if sign else ("above" if gap > 0 else "below")
    size = said(name, abs(gap))
    return f"less than {said(name, 0.01)} {word}" if size == said(name, 0) else f"{size} {word}"


def result(run: RunFolder) -> str:
    """Return a run's figure beside its baseline, in words."""
    name = chosen_by(run)
    figures = run.figures("best")
    value = figures.own.get(name, run.figures("last").own.get(name))
    if value is None:
        return "no validation yet"
    beside = figures.baseline.get(name)
    if beside is None:
        return f"{name} {said(name, value)}"
    gap = against(value, beside, name, better(run, name))
    return f"{name} {said(name, value)}, {gap} {run.baseline_name} ({said(name, beside, bare=True)})"


def course(run: RunFolder) -> str:
    """Return how long it took, and which step was the best."""
    summary = run.summary
    if summary is None or not summary.step:
        return ""
    said = f"{number_of(summary.step, 'step')} in {span(summary.seconds)}"
    best = summary.best.get("step")
    if best is not None and summary.best_by:
        said += ", the last one the best" if best == summary.step else f", best at step {best:,.0f}"
    return said


def state(run: RunFolder) -> str:
    """Return how it stands with a run, and what has ended it before its last step."""
    summary = run.summary
    if run.damage:
        return f"damaged: {run.damage}"
    if summary is None:
        return (
            "has not come to its first line yet"
            if run.status in ("running", "starting")
            else f"{run.status} before its first line"
        )
    where = f"step {run.step:,} of {summary.steps:,}"
    if run.status == "done":
        waited = f"no better by {summary.best_by} for {summary.waited} validations (--patience)"
        return "done" if summary.step >= summary.steps else f"ended early at {where}: {waited}"
    if run.status == "running":
        left = (summary.steps - run.step) * summary.seconds / summary.step if summary.step else 0
        return f"running: {where}" + (f", about {span(left)} left" if left else "")
    because = f": {summary.reason}" if summary.reason else ""
    return f"{run.status} at {where}{because}"


def span(seconds: float) -> str:
    """Return a time span for people: "6 s", "2:05 min", "3:10 h", "2 d"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds >= 86400:
        return ago(seconds)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def verdict(runs: Sequence[RunFolder], names: Sequence[str]) -> list[str]:
    """Return what there is to say first: of one run all of it, of several which is the best and by how much."""
    if len(runs) == 1:
        chosen = FLATTERED if runs[0].flatters else ""
        return [sentence(result(runs[0])), *map(sentence, filter(None, (course(runs[0]), state(runs[0]), chosen)))]
    name = chosen_by(runs[0])
    by = (runs[0].summary.best_by if runs[0].summary else "") or name
    ranked = [
        (value, row)
        for row, run in enumerate(runs)
        if (value := run.best(by)) is not None and run.best(name) is not None
    ]
    sign = better(runs[0], name)
    if not sign or len(ranked) < 2 or any(chosen_by(run) != name for run in runs):
        return [f"{own}: {result(run)}." for own, run in zip(names, runs, strict=True)]
    row, other, *_ = (row for _, row in sorted(ranked, key=lambda one: -sign * one[0]))
    said = [sentence(f"best of {len(runs)}{f', by {by},' * (by != name)} is {names[row]}: {result(runs[row])}")]
    gap = against(runs[row].figures().own[name], runs[other].figures().own[name], name, sign)
    said.append(sentence(f"that is {gap} the next, {names[other]}"))
    unfinished = [own for own, run in zip(names, runs, strict=True) if run.status != "done"]
    said += [sentence(f"not done: {', '.join(unfinished)}")] if unfinished else []
    return [*said, *([sentence(FLATTERED)] if any(run.flatters for run in runs) else [])]


def sentence(text: str) -> str:
    """Return text as a sentence. It begins with a capital, but for names of figures that would not be theirs then."""
    first = text.partition(" ")[0]
    keeps = "/" in first or first.startswith(("psnr", "ssim"))
    return f"{text}." if keeps else f"{text[:1].upper()}{text[1:]}."


def commands(run: RunFolder) -> list[tuple[str, str]]:
    """Return what can be done with a run: what for, and the command."""
    folder, again = shlex.quote(str(run.folder)), shlex.quote(f"{run.folder.name}-again")
    summary = run.summary
    several = summary is not None and (summary.world_size or 1) > 1
    train = "launchbay train"
    if summary and several:
        train = f"accelerate launch --num_processes {summary.world_size} -m launchbay.launch.run"
        if summary.device == "cpu":  # of which accelerate starts one; with -- torchrun leaves --run to us
            train = f"torchrun --nproc-per-node {summary.world_size} -m -- launchbay.launch.run"
    config = shlex.quote(str(run.folder / "config.yaml"))
    found = [("Train it again", f"{train} --config {config} --run {again}")]
    if run.status not in ("done", "running", "starting", "damaged"):
        found.append(("Continue it", f"{train} --config {config} --run {shlex.quote(run.folder.name)}"))
    found.append(("Evaluate it on other data", f"launchbay evaluate {folder} --val-data DATA"))
    if summary and summary.use:
        takes = {"IN OUT": "in.png out.png", "IN": "picture.png", "OUT": "drawn.png"}
        found.append(("Use it", f"launchbay apply {folder} {takes.get(summary.use, summary.use)}"))
    return [*found, ("Take the network away", f"launchbay export {folder}")]
