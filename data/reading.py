"""Files of pictures -> headers and pixels, many at a time: what is wrong with any is noted by its name."""

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from launchbay.data.archives import Item, Place, Unreachable
from launchbay.data.decode import pixels_of, read_header, reason_of
from launchbay.data.headers import Headers
from launchbay.data.known import FEW, Problems, examine_once
from launchbay.data.progress import progress

PART = 64
"""Pictures that a thread takes at a time."""


class Items(Sequence[Item]):
    """Pictures of which nothing is made before it is asked for: a million paths take more memory than pictures."""

    @abstractmethod
    def item(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(len(self))[index]
        return self.item(places) if isinstance(places, int) else [self.item(place) for place in places]


class Paths(Items):
    """The paths of files below `root`."""

    def __init__(self, root: Place, names: Sequence[str]):
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def item(self, place: int) -> Item:
        return self.root / self.names[place]


def examine(root: Place, names: Sequence[str], since: int | None = None) -> tuple[Headers, Problems]:
    """Return the header of each file, with nothing in it where that cannot be read, and why. In a large folder another
    process may have looked, `since` a moment in nanoseconds.
    """
    if isinstance(root, Path) and len(names) >= FEW:
        return examine_once(root, names, look_at, "headers", since)
    headers = Headers.empty(len(names))
    return headers, look_at(root, names, np.arange(len(names)), headers)


def look_at(root: Place, names: Sequence[str], places: NDArray[np.int64], headers: Headers) -> Problems:
    """Read the headers of the files at `places`. Return what is wrong with some."""
    problems = Problems()

    def look(part: range) -> None:
        for place in map(int, places[part.start : part.stop]):
            try:
                headers.put(place, read_header(root / names[place]))
            except Exception as error:  # whatever bytes make of Pillow
                problems[names[place]] = reason_of(error)

    in_parallel(look, len(places), "looking at pictures")
    return problems


def look_through(root: Place, names: Sequence[str], places: NDArray[np.int64], headers: Headers) -> Problems:
    """Read the headers of the files at `places`, and decode them, to find what is wrong with some: return that."""
    problems = look_at(root, names, places, headers)
    looked_at = [names[place] for place in map(int, places)]
    damaged = decode_all(Paths(root, looked_at), headers.at(places), None)
    for number, reason in damaged.items():
        headers.put(int(places[number]), Headers.empty(1)[0])
        problems[looked_at[number]] = reason
    return problems


def damaged_among(root: Place, files: Sequence[Item], names: Sequence[str], headers: Headers) -> dict[int, str]:
    """Return why some pictures cannot be decoded, by their places. Those of a folder are remembered."""
    if not isinstance(root, Path) or len(names) < FEW:
        return decode_all(files, headers, None)
    _, problems = examine_once(root, names, look_through, "pixels")
    return {place: problems[name] for place, name in enumerate(names) if name in problems}


def decode_all(files: Sequence[Item], headers: Headers, memory: Tensor | None) -> dict[int, str]:
    """Write the pixels of all pictures that have a header to `memory`, one after the other, or nowhere. Return what is
    found to be wrong on the way, by the place of the picture.
    """
    problems, pixels = dict[int, str](), None if memory is None else memory.numpy()
    starts = [0, *np.cumsum(headers.pixels()).tolist()]

    def fill(places: range) -> None:
        for place in places:
            height, width, size, *_ = headers[place]
            try:
                if size and pixels is not None:
                    into = pixels[starts[place] : starts[place + 1]].reshape(height, width, 3)
                    pixels_of(files[place], into)
                elif size:
                    pixels_of(files[place])
            except Unreachable:
                raise
            except Exception as error:  # whatever bytes make of Pillow
                problems[place] = reason_of(error)

    in_parallel(fill, len(files), "decoding pictures" + ", to find damaged ones" * (pixels is None))
    return problems


def in_parallel(function: Callable[[range], None], count: int, what: str) -> None:
    """Call `function` with parts of range(`count`), in threads. Ctrl-C ends it soon. Show how far it is, if that takes
    more than a moment.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(what, count) as done:
        tasks = [pool.submit(function, range(start, min(start + PART, count))) for start in range(0, count, PART)]
        try:
            for number, task in enumerate(tasks, 1):
                task.result()
                done(min(number * PART, count))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
