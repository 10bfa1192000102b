"""Assemble what a run learns with and from: options that follow from the data, the data sets, the task itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import isabstract, signature
from pathlib import Path
from typing import cast, get_type_hints

from launchbay import UserError, number_of
from launchbay.data import ImageSet
from launchbay.data.files import without_damaged
from launchbay.data.held_out import split
from launchbay.data.mixture import pair
from launchbay.data.sources import Open, Source
from launchbay.launch.config import data_names, plugins
from launchbay.launch.config.options import HELD_OUT, AnyConfig, Dataclass, DataOptions, all_of
from launchbay.tasks.authors import (
    attribute_errors_to,
    check_arguments,
    check_constructed,
    describe_value,
)
from launchbay.tasks.base import AnyTask, Task


def infer_options(task_type: type[AnyTask], config: AnyConfig, source: Source) -> AnyConfig:
    """Return `config` with the options that follow from the training pictures, which are opened only if
    there are any.
    """
    check_arguments(task_type)
    if task_type.infer_options.__func__ is Task.infer_options.__func__:
        return config
    options = task_type.infer_options(config.options, source.open("train"))
    if not isinstance(options, type(config.options)):
        with attribute_errors_to(task_type, "infer_options"):
            raise UserError(
                f"{task_type.__name__}.infer_options returns {describe_value(options)}", "return replace(config, ...)"
            )
    return replace(config, options=options)


def open_sources(data: DataOptions, training: Open | None = None) -> dict[str, Source]:
    """Return the data that the options name, as the `load` of a task: one for each validation set by its name, which is
    empty if there is one. All have the same training pictures, opened once. What is held out of these comes first.

    Args:
        training: opens these, whatever the options name.

    Raises:
        UserError: there is no data set of a name, or the validation sets cannot be told apart.
    """
    skip = data.skip_damaged
    train = cache(training or leniently(open_dataset(data.data, skip_damaged=skip), skip_damaged=skip))
    others = validation_sets(data)
    if data.hold_out:
        train, held = map(cache, split(train, data.hold_out))
        first = {HELD_OUT: Source(train, data.data_root, held, data.data_root, skip_damaged=skip)}
        reported = data_names.title_of(data.validation_data())
        others = {name or reported: other for name, other in others.items()}
        check_set_names([HELD_OUT, *(others or [reported])])
    else:
        first, reported = {}, ""
    if not others:
        return first | {reported: Source(train, data.data_root, skip_damaged=skip)}
    sets = {
        name: Source(train, data.data_root, other, root, skip_damaged=skip) for name, (other, root) in others.items()
    }
    return first | sets


def validation_sets(data: DataOptions) -> dict[str, tuple[Open, Path | None]]:
    """Return what opens each validation set, and its folder, by its name, which is empty if there is one; none if
    figures are of what is held out of the training data.

    Raises:
        UserError: there are not as many folders as sets, or the sets cannot be told apart.
    """
    for option, given in (("--val-data", data.val_data), ("--val-root", data.val_root)):
        if given == ():
            raise UserError(f"{option} names nothing", "name one or several, or leave it out")
    kinds, roots = all_of(data.val_data), all_of(data.val_root)
    if len(roots) not in (0, 1, len(kinds) or len(roots)):
        raise UserError(
            f"--val-root names {number_of(len(roots), 'folder')}, --val-data {number_of(len(kinds), 'data set')}",
            "give one folder for all, or one for each in their order",
        )
    paths = [Path(kind) if data_names.sort_of(kind) == "path" and "+" not in kind else None for kind in kinds]
    names = told_apart([*map(data_names.title_of, kinds)], paths)
    places = told_apart([root.resolve().name for root in roots], roots)
    if len(set(names)) < len(names) == len(roots) or not names:  # pairs of several folders, for example
        names = places
    if len(names) > 1:
        check_set_names(names)
    else:
        names = [""] * len(names)
    if not kinds:
        return {name: (open_path(root), None) for name, root in zip(names, roots, strict=True)}
    open_kind = partial(open_dataset, skip_damaged=data.skip_damaged)
    if len(roots) == len(kinds):
        return {name: (open_kind(kind), root) for name, kind, root in zip(names, kinds, roots, strict=True)}
    # One folder for all is for those that need one; a path among them says where it is.
    taking = [any(map(data_names.takes_root, data_names.parts_of(kind))) for kind in kinds]
    each = [roots[0] if roots and (taken or not any(taking)) else None for taken in taking]
    return {name: (open_kind(kind), root) for name, kind, root in zip(names, kinds, each, strict=True)}


def told_apart(titles: Sequence[str], places: Sequence[Path | None]) -> list[str]:
    """Return what to call validation sets: by their titles, and those that are alike, if they are paths, also by the
    folders that they lie in.
    """
    names, parts = list(titles), [place.resolve().parts[1:] if place else () for place in places]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        both = list(zip(names, parts, strict=True))
        names = [
            "-".join(own[-depth:]) if own and any(other == name and parent != own for other, parent in both) else name
            for name, own in both
        ]
    return names


def check_set_names(names: Sequence[str]) -> None:
    """Check that the names of several validation sets can stand before those of figures, and be names of folders.

    Raises:
        UserError: one cannot, or is there twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    for name in names:
        if name in ("", "baseline") or name.startswith(".") or set("/\\") & set(name):
            raise UserError(
                f"{name!r} cannot be the name of one of several validation sets, which begins those of figures",
                "choose a name without a /, and not 'baseline'",
            )
    if twice:
        raise UserError(
            f"two validation sets are called {twice[0]!r}",
            "name each once",
        )


def leniently(opened: Open, *, skip_damaged: bool) -> Open:
    """Return what opens the same, without damaged pictures if these are to be skipped."""
    return (lambda *where: without_damaged(partial(opened, *where))) if skip_damaged else opened


def open_dataset(name: str, *, skip_damaged: bool = False) -> Open:
    """Return what opens the data set called `name` (see `data_names`); "A+B" is the pairs of two.

    Args:
        skip_damaged: leave out damaged pictures of A and of B.

    Raises:
        UserError: there is none of that name.
    """
    parts = data_names.parts_of(name)
    opened = [leniently(open_part(part), skip_damaged=skip_damaged and len(parts) > 1) for part in parts]
    both = opened[0] if len(opened) == 1 else pair(*opened)
    if any(map(data_names.takes_root, parts)):
        return both

    def rootless(split: str, root: Path | None = None) -> ImageSet:
        if root is not None:
            said = f"{name} itself says what to open; it takes no folder ({root})"
            raise UserError(said, "leave --data-root (of validation data: --val-root) out")
        return both(split)

    return rootless


def open_part(name: str) -> Open:
    """Return what opens one data set. What is no plugin is looked for only then: who evaluates a run on other pictures
    needs none of those that it was trained on.

    Raises:
        UserError: there is no plugin of that name.
    """
    if data_names.sort_of(name) in ("installed", "code"):
        plugin = plugins.find_plugin(plugins.DATASETS, name)
        return check_is_dataset(plugin, plugins.load_plugin(plugin))

    def opened(split: str, root: Path | None = None) -> ImageSet:
        return data_names.open_named(data_names.find(name), split, root)

    return opened


def open_path(path: Path) -> Open:
    """Return what opens the file or folder `path`, also where a data set has the same name."""

    def opened(split: str, root: Path | None = None) -> ImageSet:
        return data_names.open_named(data_names.find_path(str(path)), split, None)

    return opened


def check_is_dataset(plugin: plugins.Plugin, found: object) -> Open:
    """Return `found`, which `plugin` names: a class of data sets, or a function that says it returns one, unless it
    is installed as such. It is called only after that.

    Raises:
        UserError: it is neither, or cannot be called as it has to be.
    """
    kind = found if isinstance(found, type) else returned_by(found)
    says_so = isinstance(kind, type) and issubclass(kind, ImageSet)
    if not callable(found) or not (says_so or (plugin.package and kind is None)):
        raise UserError(
            f"{plugin.name} is not a data set",
            "derive a class from launchbay.data.ImageSet, or let a function say that it returns one: "
            "def pictures(split: str, root: Path | None = None) -> ImageSet",
        )
    if isabstract(found):
        lacking = " and no ".join(sorted(vars(found)["__abstractmethods__"]))
        raise UserError(f"{plugin.name} has no {lacking}", "define it; its docstring in ImageSet says what it returns")
    try:
        signature(found).bind("train", None)
    except (TypeError, ValueError) as error:
        said = f"{plugin.name} cannot be called as a data set is: {error}"
        raise UserError(said, "let it take a split and a folder: (split: str, root: Path | None = None)") from error
    return cast(Open, found)


def returned_by(found: object) -> object:
    """Return what the annotation of the function `found` says that it returns; None if it has none, or none that can
    be understood."""
    try:
        return get_type_hints(found).get("return")
    except Exception:  # whatever the names in an annotation come to
        return None


def build_task(task_type: type[AnyTask], options: Dataclass) -> AnyTask:
    """Return the task with `options`.

    Raises:
        AuthorError: a method of it takes other arguments than it is given, or its `__init__` sets or reads attributes
            before that of `Task` has run.
    """
    check_arguments(task_type)
    task = task_type.__new__(task_type)
    try:
        task_type.__init__(task, options)
    except AttributeError:
        if "_modules" in vars(task):
            raise
    check_constructed(task)
    return task
