"""The data sets of a run, as its task opens them: what they are called, what tells them from others, where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

from accelerate import Accelerator

from launchbay.data import ImageSet, Load, LoadOptions
from launchbay.launch.config.loading import datasets
from launchbay.launch.config.options import OWN_DATA, TrainOptions
from launchbay.launch.distributed.machines import check_same_data
from launchbay.tasks.base import AnyTask


@dataclass(frozen=True)
class OpenedData:
    """The set that a run is trained on, and those by name that figures are of."""

    name: str
    """What figures are of: the validation data as the options name them, or the task's own."""
    training: ImageSet
    validation: Mapping[str, ImageSet]
    fingerprints: dict[str, str]
    """By set: a run goes on only with the pictures that it began with."""


def open_data(task: AnyTask, options: TrainOptions, accelerator: Accelerator, loads: Mapping[str, Load]) -> OpenedData:
    """Return the data sets that `loads` open for `task`, each for one validation set. On a device other than the CPU
    what is kept in memory is brought to it, unless loader workers, which could not ask a GPU, hand batches over.

    Raises:
        UserError: the task cannot use them, or other processes have others.
    """
    used = list[str]()

    def noticing(load: Load) -> Load:
        def noticed(split: str, **how: Unpack[LoadOptions]) -> ImageSet:
            used.append(options.data.validation_data())
            return load(split, **how)

        return noticed

    training, validation = datasets(task, {name: noticing(load) for name, load in loads.items()})
    fingerprints = {"training": training.fingerprint()}
    for name, images in validation.items():
        fingerprints[f"{name} validation".strip()] = images.fingerprint()
    check_same_data(fingerprints, accelerator)
    if accelerator.device.type != "cpu" and not options.data.workers:
        for images in (training, *validation.values()):
            images.to(accelerator.device)
    return OpenedData(used[-1] if used else OWN_DATA, training, validation, fingerprints)
