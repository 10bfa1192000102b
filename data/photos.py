"""The embedded photographs: those that scikit-image's wheel carries. Nothing is downloaded."""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from launchbay import UserError
from launchbay.data.base import ImageSet
from launchbay.data.decode import decode

# Left out on purpose: motorcycle_right (the stereo twin of one that is here), brick (one pattern, so that its right
# quarter is no test), moon and retina (so smooth that bicubic is near perfect), drawings, and pages of text.
FILES = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
TILE = 96
TILES = 4


class Photos(ImageSet):
    """Training: the left three quarters of each of 11 photographs. Validation: the right quarter, as up to 4 tiles of
    96×96 a photograph that overlap neither each other nor what is trained on. The label says which photograph it is.
    """

    classes: tuple[str, ...] = tuple(name.split(".")[0] for name in FILES)
    """Names of the photographs."""

    def __init__(self, split: str, root: Path | None = None):
        if root is not None:
            raise UserError(
                f"the embedded photos have no --data-root or --val-root ({root})",
                "for a folder of photographs: --data DIR",
            )
        self.regions: list[Tensor] = []
        self.labels: list[int] = []
        for label, name in enumerate(FILES):
            image = decode(folder() / name)
            border = image.shape[-1] - max(image.shape[-1] // 4, TILE)
            left, right = [image[:, :, :border]], cut_tiles(image[:, :, border:])
            parts = {"train": left, "val": right, "all": left + right}[split]
            self.regions += parts
            self.labels += [label] * len(parts)
        self.uniform = split == "val"

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.regions)

    def image(self, index: int) -> Tensor:
        """Return a picture, in colour: uint8 3×H×W."""
        return self.regions[index]

    def label(self, index: int) -> int:
        """Return which photograph a picture is of."""
        return self.labels[index]


def cut_tiles(image: Tensor) -> list[Tensor]:
    """Return up to TILES disjoint TILE×TILE squares, spread evenly over `image`."""
    rows, columns = image.shape[-2] // TILE, image.shape[-1] // TILE
    corners = [(row * TILE, column * TILE) for row in range(rows) for column in range(columns)]
    count = min(TILES, len(corners))
    chosen = [corners[number * len(corners) // count] for number in range(count)]
    return [image[:, top : top + TILE, left : left + TILE] for top, left in chosen]


def folder() -> Path:
    """Return where scikit-image keeps its pictures, found without importing it (0.25 s)."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError(
            "the embedded photographs come with scikit-image, which is not installed", "pip install scikit-image"
        )
    return Path(spec.origin).parent / "data"
