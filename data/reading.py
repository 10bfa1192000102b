"""Files of pictures -> headers and pixels, many at a time: what is wrong with any is noted by its name."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import overload

from torch import Tensor

from launchbay.data.archives import Item, Place
from launchbay.data.decode import Header, pixels_of, read_header, reason_of

PART = 64
"""Pictures that a thread takes at a time."""
Problems = dict[str, str]
"""Why files cannot be read, by their names."""


class Paths(Sequence[Item]):
    """The paths of files below `root`: made when they are asked for, since a million take more memory than pictures."""

    def __init__(self, root: Place, names: Sequence[str]):
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self.root / name for name in self.names[index]]
        return self.root / self.names[index]


def examine(root: Place, names: Sequence[str]) -> tuple[list[Header], Problems]:
    """Return the header of each file, with nothing in it where that cannot be read, and why."""
    headers, problems = [Header(0, 0, 0, False)] * len(names), Problems()

    def look(places: range) -> None:
        for place in places:
            try:
                headers[place] = read_header(root / names[place])
            except Exception as error:  # whatever bytes make of Pillow
                problems[names[place]] = reason_of(error)

    in_parallel(look, len(names))
    return headers, problems


def decode_all(root: Place, names: Sequence[str], headers: Sequence[Header], memory: Tensor) -> Problems:
    """Write the pixels of all pictures that have a header to `memory`, one after the other. Return what is found to be
    wrong on the way.
    """
    problems, pixels = Problems(), memory.numpy()
    starts = [0, *accumulate(3 * header.height * header.width for header in headers)]

    def fill(places: range) -> None:
        for place in places:
            height, width, size, _ = headers[place]
            try:
                if size:
                    into = pixels[starts[place] : starts[place + 1]].reshape(height, width, 3)
                    pixels_of(root / names[place], into)
            except Exception as error:  # whatever bytes make of Pillow
                problems[names[place]] = reason_of(error)

    in_parallel(fill, len(names))
    return problems


def in_parallel(function: Callable[[range], None], count: int) -> None:
    """Call `function` with parts of range(`count`), in threads. Ctrl-C ends it soon."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(function, range(start, min(start + PART, count))) for start in range(0, count, PART)]
        try:
            for task in tasks:
                task.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
