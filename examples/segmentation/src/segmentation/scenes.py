"""Scenes: photographs with digits on them, drawn on request. Nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path

import torch
from launchbay import UserError
from launchbay.data import Glyphs, ImageSet, Photos, generator
from torch import Tensor

SIDE, GLYPH = 48, 28
COUNT = {"train": 4000, "val": 200, "all": 4200}


class Scenes(ImageSet):
    """Crops of 48×48 pixels of the embedded photographs, each with one to three of the embedded digits, in bright
    colours, black or white.
    Class 0 is the photograph, class 1 the digit 0, and so on. All follows from the split and the scene's number.
    """

    classes = ("photograph", *"0123456789")
    masks = ("mask",)

    def __init__(self, split: str, root: Path | None = None):
        if root is not None:
            raise UserError(
                f"the scenes are drawn, and have no --data-root or --val-root ({root})",
                "for a folder of pictures and masks: --data masked",
            )
        self.split, self.photos, self.glyphs = split, Photos(split), Glyphs(split)

    def __len__(self) -> int:
        return COUNT[self.split]

    def image(self, index: int) -> Tensor:
        return self.draw(index)[0]

    def draw(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a scene, uint8 3×48×48, and its mask, uint8 48×48."""
        random = generator("scenes", self.split, int(index))

        def below(limit: int) -> int:
            return int(torch.randint(limit, (), generator=random))

        def square(inside: Tensor, side: int) -> Tensor:
            """Return a view of `inside`, ...×H×W: a square somewhere in it."""
            down, across = (below(length - side + 1) for length in inside.shape[-2:])
            return inside[..., down : down + side, across : across + side]

        image = square(self.photos.image(below(len(self.photos))), SIDE)
        scene = torch.cat([image, torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)])
        for _ in range(1 + below(3)):
            number, place = below(len(self.glyphs)), square(scene, GLYPH)
            ink = self.glyphs.image(number).float() / 255  # float32, whatever --precision says
            colour = 255 * torch.randint(2, (3, 1, 1), generator=random).float()
            place[:3] = torch.lerp(place[:3].float(), colour, ink)
            place[3:][ink > 0.4] = 1 + self.glyphs.label(number)
        return scene[:3], scene[3]

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        images, masks = zip(*map(self.draw, indices), strict=True)
        return {"image": torch.stack(images), "mask": torch.stack(masks)}
