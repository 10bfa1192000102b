"""Any folder of photographs, in any depth of sub-folders."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet, digest
from launchbay.data.decode import SUFFIXES, decode
from launchbay.data.samples import bytes_beside

KEEP_BYTES = 2**30
"""Folders whose decoded pictures fit in this many bytes are decoded once, at the start, and kept."""


HOLD_OUT = 10
"""Every so many pictures one is for validation."""


class Folder(ImageSet):
    """The pictures under `root`, by name. Validation holds out every tenth of them (at least one), training has the
    others; `split="all"` has them all. If every picture is in a sub-folder, and there are several, their names are the
    classes.

    Raises:
        UserError: no such folder, no picture in it, too few to hold one out, or one that cannot be read (named).
    """

    def __init__(self, split: str, root: Path | None = None):
        if root is None:
            raise UserError(
                "--data folder does not say which folder", "add --data-root DIR, the folder of your pictures"
            )
        files = find_pictures(root)
        if split != "all" and len(files) < 2:
            raise UserError(
                f"{root} has one picture ({files[0].name}), which cannot serve training and validation both",
                "add more, or validate on other photographs with --val-root DIR",
            )
        training = [file for place, file in enumerate(files) if place % HOLD_OUT]
        self.files = {"train": training, "val": files[::HOLD_OUT], "all": files}[split]
        self.root = root
        kinds = {file: file.relative_to(root).parts[0] for file in files if file.parent != root}
        if len(kinds) == len(files) and len(set(kinds.values())) > 1:
            self.classes = tuple(sorted(set(kinds.values())))
            number = {name: place for place, name in enumerate(self.classes)}
            self.labels = [number[kinds[file]] for file in self.files]
        self.sizes = [size_of(file) for file in self.files]
        self.uniform = len(set(self.sizes)) == 1
        self.kept: list[Tensor] = []
        if sum(3 * width * height for width, height in self.sizes) <= KEEP_BYTES:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self.kept = list(pool.map(decode, self.files))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def label(self, index: int) -> int | None:
        """Return the class of a picture: the place of its sub-folder among `classes`."""
        return self.labels[index] if self.classes else None

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width), which was read from the file's header."""
        width, height = self.sizes[index]
        return height, width

    def name(self, index: int) -> str:
        """Return the path of a picture."""
        return str(self.files[index])

    def fingerprint(self) -> str:
        """Return what tells this set from another: from the paths within `root` and the sizes of all files."""
        known = ((file.relative_to(self.root).as_posix(), file.stat().st_size) for file in self.files)
        return digest(*(part for each in known for part in each), *bytes_beside(self))

    def image(self, index: int) -> Tensor:
        """Return a picture, upright and in colour: uint8 3×H×W."""
        if self.kept:
            return self.kept[index]
        image = decode(self.files[index])
        if image.shape[-2:] != self.size(index):
            raise UserError(f"{self.files[index]} has changed since the run started", "put it back as it was")
        return image


def find_pictures(root: Path) -> list[Path]:
    """Return the pictures in the folder `root`, in any depth of sub-folders, in the order of their paths.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder", f"looked for it in {Path.cwd()}; give an existing folder of photographs"
        )
    files = sorted(path for path in every_file(root) if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(
            f"{root} holds no picture", f"put some there, or name another folder; known kinds: {' '.join(SUFFIXES)}"
        )
    return files


def every_file(root: Path) -> Iterator[Path]:
    """Return the files in `root`, in any depth, and behind links, but for a link to a folder that it lies in."""

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot look into {error.filename}: {error.strerror}", "make it readable, or move it away")

    for name, inside, files in os.walk(root, onerror=refuse, followlinks=True):
        folder = Path(name)
        if folder.is_symlink() and folder.resolve() in [above.resolve() for above in folder.absolute().parents]:
            inside.clear()
            continue
        yield from (folder / file for file in files)


def size_of(path: Path) -> tuple[int, int]:
    """Return (width, height) from the file's header, as the decoded picture has them."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # A PNG's own `getexif` decodes it, for what may stand behind the pixels.
            exif = (
                image.getexif() if image.format != "PNG" or says_more_at_its_end(path) else Image.Image.getexif(image)
            )
            if image.format == "TIFF":  # whose `size` is that of the upright picture or not, as Pillow's version has it
                width, height = exif[0x0100], exif[0x0101]
            return (height, width) if exif.get(0x0112, 1) >= 5 else (width, height)
    except Exception:
        decode(path)  # says what is wrong with it
        raise


def says_more_at_its_end(png: Path) -> bool:
    """Return whether anything stands behind the pixels of a PNG file."""
    with png.open("rb") as file:
        file.seek(len(b"\x89PNG\r\n\x1a\n"))
        kinds = []
        while len(head := file.read(8)) == 8:
            kinds.append(head[4:])
            file.seek(int.from_bytes(head[:4], "big") + len(b"CRC."), os.SEEK_CUR)
    behind = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else kinds
    return not set(behind) <= {b"IDAT", b"IEND"}
