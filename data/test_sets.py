"""A classic test set, to validate super-resolution on: --val-data NAME --val-root DIR, the folder above it."""

from pathlib import Path

from launchbay import UserError, number_of
from launchbay.data.base import ImageSet
from launchbay.data.download import downloads
from launchbay.data.folder import Folder

# Their authors' pages come and go, and no library carries them, so they are looked for, not downloaded.
SOURCES = {
    "Set5": (5, "Bevilacqua et al., 2012"),
    "Set14": (14, "Zeyde et al., 2010"),
    "B100": (100, "Martin et al., 2001: the test pictures of BSDS300"),
    "Urban100": (100, "Huang et al., 2015"),
}


def open_test_set(name: str, split: str, root: Path | None) -> ImageSet:
    """Return all pictures of `root`/`name`, or of `root` if that is its name.

    Raises:
        UserError: they are not there, not as many as they should be, or to be trained on.
    """
    count, source = SOURCES[name]
    if split != "all":
        raise UserError(
            f"{name} is a validation set, not for training", f"give --val-data {name.lower()}, and other --data"
        )
    root = root or downloads()
    folder = root if root.name == name else root / name
    if not folder.is_dir():
        raise UserError(
            f"there is no {folder}",
            f"put the {count} high-resolution pictures of {name} ({source}) there, or name the folder above with "
            "--val-root",
        )
    images = Folder("all", folder)
    if len(images) != count:
        raise UserError(
            f"{folder} holds {number_of(len(images), 'picture')}, {name} has {count}",
            "keep the high-resolution ones only, or, if those of low resolution are there too, give --val-data pairs "
            f"--val-root {folder}; for another set: --val-root DIR alone",
        )
    return images


def set5(split: str, root: Path | None = None) -> ImageSet:
    return open_test_set("Set5", split, root)


def set14(split: str, root: Path | None = None) -> ImageSet:
    return open_test_set("Set14", split, root)


def b100(split: str, root: Path | None = None) -> ImageSet:
    return open_test_set("B100", split, root)


def urban100(split: str, root: Path | None = None) -> ImageSet:
    return open_test_set("Urban100", split, root)
