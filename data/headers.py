"""Headers of many pictures, as columns: a million of them take 18 MB."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import NDArray

from launchbay.data.decode import Header


class Headers(Sequence[Header]):
    """Height, width, bytes, whether it is grey and whether its EXIF is odd, of each picture; nothing but zeros where
    that cannot be read.
    """

    COLUMNS: ClassVar = ("height", "width", "bytes", "grey", "odd")
    TYPES: ClassVar = (np.int32, np.int32, np.int64, np.bool_, np.bool_)

    def __init__(
        self,
        height: NDArray[np.int32],
        width: NDArray[np.int32],
        bytes: NDArray[np.int64],
        grey: NDArray[np.bool_],
        odd: NDArray[np.bool_],
    ):
        self.height, self.width, self.bytes, self.grey, self.odd = height, width, bytes, grey, odd

    @classmethod
    def empty(cls, count: int) -> Self:
        """Return headers of `count` pictures of which nothing is known."""
        numbers = np.zeros(count, np.int32), np.zeros(count, np.int32), np.zeros(count, np.int64)
        return cls(*numbers, np.zeros(count, np.bool_), np.zeros(count, np.bool_))

    def __len__(self) -> int:
        return len(self.height)

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> list[Header]: ...
    def __getitem__(self, index: int | slice) -> Header | list[Header]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        sides = int(self.height[index]), int(self.width[index])
        return Header(*sides, int(self.bytes[index]), bool(self.grey[index]), bool(self.odd[index]))

    def put(self, place: int, header: Header) -> None:
        """Write down one header."""
        for column, value in zip(self.columns().values(), header, strict=True):
            column[place] = value

    def take(self, places: NDArray[np.int64], others: "Headers") -> None:
        """Write down those of `others` at `places`."""
        for name, column in self.columns().items():
            column[places] = getattr(others, name)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns by their names."""
        return {name: getattr(self, name) for name in self.COLUMNS}

    def at(self, places: NDArray[np.int64]) -> Self:
        """Return those at `places`."""
        return type(self)(*(column[places] for column in self.columns().values()))

    def are_sound(self, count: int) -> bool:
        """Return whether these are `count` headers of pictures."""
        columns = self.columns().values()
        right = all(
            each.shape == (count,) and each.dtype == kind for each, kind in zip(columns, self.TYPES, strict=True)
        )
        return right and bool((self.height > 0).all() and (self.width > 0).all() and (self.bytes > 0).all())

    def pixels(self) -> NDArray[np.int64]:
        """Return how many values each picture has in RGB."""
        return 3 * self.height.astype(np.int64) * self.width

    def are_uniform(self) -> bool:
        """Return whether all have one size."""
        return not len(self) or bool((self.height == self.height[0]).all() and (self.width == self.width[0]).all())
