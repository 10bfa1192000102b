"""What a task makes of the data that a run has opened for it: its training set and its validation sets."""

from collections.abc import Mapping, Sequence

from launchbay import UserError
from launchbay.data import ImageSet, Load
from launchbay.data.at_once import Complaints
from launchbay.data.folder import Folder
from launchbay.data.sources import OnDemand, Source
from launchbay.data.transforms import Transformed
from launchbay.data.unsuitable import UnsuitablePictures
from launchbay.launch.config.assembly import check_set_names
from launchbay.tasks.authors import attribute_errors_to, describe_value, raise_author_error
from launchbay.tasks.base import AnyTask


def datasets(task: AnyTask, loads: Mapping[str, Load]) -> tuple[ImageSet, dict[str, ImageSet]]:
    """Return the training set of `task` and its validation sets by name, the empty one if there is one set.

    With several `loads` the task is asked once with each: their names are those of the validation sets.

    Raises:
        AuthorError: they are no data sets, or validation sets cannot have their names.
        UserError: the task has several validation sets of its own, and is to have several others.
    """
    opened, complaints = dict[str, tuple[ImageSet, dict[str, ImageSet]]](), Complaints()
    for name, load in loads.items():
        try:
            opened[name] = training_and_validation(task, complaints.noting(load))
        except Exception:  # an author's task may stumble over what stands for pictures
            if not complaints:
                raise
    tell(complaints, task)
    training, own = next(iter(opened.values()))
    if len(opened) == 1:
        return training, own
    if any("" not in sets for _, sets in opened.values()):
        raise UserError(
            f"{type(task).__name__} has several validation sets of its own, {', '.join(own)}", "give one --val-data"
        )
    return training, {name: sets[""] for name, (_, sets) in opened.items()}


def tell(complaints: Complaints, task: AnyTask) -> None:
    """Raise a UserError if there are `complaints`."""
    for error in complaints.small:
        check_uses(task, error.essential)
    try:
        complaints.tell()
    except UnsuitablePictures as error:
        hint = better_hint(error, task)
        if pairs := next((found for each in complaints.small if (found := pairs_in(each.images))), ""):
            hint = f"if these are pairs: {pairs}; otherwise {hint}"
        raise UserError(error.message, hint) from error


def pairs_in(images: ImageSet) -> str:
    """Return the options that would take the pictures of `images` as pairs, empty if they do not look like any."""
    source = images.source if isinstance(images, Transformed) else images
    return source.pairs if isinstance(source, Folder) else ""


def training_and_validation(task: AnyTask, load: Load) -> tuple[ImageSet, dict[str, ImageSet]]:
    """Return what the task makes of one `load`: see `datasets`."""
    try:
        loaded: object = task.datasets(load)
    except UnsuitablePictures as error:
        check_uses(task, error.essential)
        raise UserError(error.message, better_hint(error, task)) from error
    match loaded:
        case (ImageSet() as training, ImageSet() as validation):
            sets = {"": validation}
        case (ImageSet() as training, Mapping() as sets) if all(isinstance(s, ImageSet) for s in sets.values()):
            with attribute_errors_to(type(task), "datasets"):
                check_set_names([str(name) for name in sets])
            sets = {str(name): images for name, images in sets.items()}
        case other:
            hint = "return the training and the validation set: return load('train'), load('val')"
            raise_author_error(task, "datasets", f"returns {describe_value(other)}", hint)
    for images in (training, *sets.values()):
        check_uses(task, images.essential)
    here = [images for images in (training, *sets.values()) if not isinstance(images, OnDemand)]
    if not sets or not all(map(len, here)):
        raise_author_error(
            task, "datasets", "returns a data set without a sample", "give some to train and to validate on"
        )
    return training, sets


def check_uses(task: AnyTask, essential: Sequence[str]) -> None:
    """Raise a UserError if `task` makes no use of something that a data set makes no sense without."""
    if unused := [name for name in essential if name not in task.uses]:
        raise UserError(
            f"{type(task).__name__} makes no use of {unused[0]!r}, which the pairs of the data set are made of",
            "choose a task that has it in its `uses`: superres and denoise take inputs; to learn from one side alone "
            "name its folder: --data DIR/high",
        )


def check_used(sources: Mapping[str, Source]) -> None:
    """Raise a UserError if validation pictures were named for a task that has its own."""
    if any(source.validation is not None and "val" not in source.opened for source in sources.values()):
        raise UserError(
            "--val-data and --val-root change nothing: the task opens validation pictures of its own", "leave them out"
        )


def better_hint(error: UnsuitablePictures, task: AnyTask) -> str:
    """Return what to do about pictures that do not fit, where an option of `task` decides on that."""
    if error.option == "channels" and error.split == "train" and hasattr(task.config, "channels"):
        return f"leave --channels out: then it takes {error.channels}"
    if error.option == "crop" and hasattr(task.config, "patch"):
        return f"choose smaller crops with --patch, or {error.hint}"
    return error.hint
