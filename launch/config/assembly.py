"""Assemble what a run learns with and from: options that follow from the data, the data sets, the task itself."""

from dataclasses import replace
from typing import cast

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.data.mixture import pair
from launchbay.data.sources import Open, Source
from launchbay.data.transforms import UnsuitablePictures
from launchbay.launch.config import plugins
from launchbay.launch.config.options import AnyConfig, Dataclass, DataOptions
from launchbay.tasks.authors import (
    attribute_errors_to,
    check_arguments,
    check_constructed,
    describe_value,
    raise_author_error,
)
from launchbay.tasks.base import AnyTask, Datasets, Task


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


def open_source(data: DataOptions) -> Source:
    """Return the data that the options name, as the `load` of a task."""
    names = [data.data] + ([data.validation_data()] if data.val_data or data.val_root else [])
    opened = [open_dataset(name) for name in names]
    return Source(opened[0], data.data_root, *opened[1:], validation_root=data.val_root)


def open_dataset(name: str) -> Open:
    """Return the data set called `name`; "A+B" is the pairs of two.

    Raises:
        UserError: there is none of that name.
    """
    names = name.split("+")
    if len(names) > 2 or not all(names):
        raise UserError(f"--data {name} is not a pair of data sets", "two can be paired: A+B, such as glyphs+photos")
    opened = [cast(Open, plugins.load_plugin(plugins.find_plugin(plugins.DATASETS, part))) for part in names]
    return opened[0] if len(opened) == 1 else pair(*opened)


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


def datasets(task: AnyTask, load: Load) -> Datasets:
    """Return the training and the validation set of `task`.

    Raises:
        AuthorError: they are not two data sets.
    """
    try:
        loaded = task.datasets(load)
    except UnsuitablePictures as error:
        raise UserError(error.message, better_hint(error, task)) from error
    match loaded:
        case (ImageSet() as training, ImageSet() as validation):
            if not len(training) * len(validation):
                raise_author_error(
                    task, "datasets", "returns a data set without a sample", "give some to train and to validate on"
                )
            return training, validation
        case other:
            hint = "return the training and the validation set: return load('train'), load('val')"
            raise_author_error(task, "datasets", f"returns {describe_value(other)}", hint)


def better_hint(error: UnsuitablePictures, task: AnyTask) -> str:
    """Return what to do about pictures that do not fit, where an option of `task` decides on that."""
    if error.option == "channels" and error.split == "train" and hasattr(task.config, "channels"):
        return f"leave --channels out: then it takes {error.channels}"
    if error.option == "crop" and hasattr(task.config, "patch"):
        return f"choose smaller crops with --patch, or {error.hint}"
    return error.hint
