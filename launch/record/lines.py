"""The lines of metrics.jsonl, as they are read: one after the other, each checked."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from math import inf
from os import SEEK_END
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le, Predicate
from pydantic import AllowInfNan, Strict, TypeAdapter
from pydantic_core import from_json

from launchbay import number_of, printable
from launchbay.launch.files import Json
from launchbay.models.reading import Unfit, check, open_regular, parse
from launchbay.models.saved import Word, is_word

Line = Json
"""One line of metrics.jsonl: step, epoch, split, and figures by name."""
METRICS = "metrics.jsonl"
LINE_BYTES = 4 << 20
"""The most that a line may have: figures of 10,000 classes have 2 MB."""
TAIL_BYTES = 1 << 16
"""Of the record, in which its last step is looked for."""
LARGEST_STEP = 10**15
SPLITS = ("train", "val")
KNOWN: set[tuple[object, ...]] = set()
"""The names of lines that were right, and the kinds of their values."""
MOST_SHAPES, MOST_NAMES = 1000, 200
"""Of those that are kept."""


def is_line(line: dict[str, float | str | None]) -> bool:
    """Return whether a line says of which step and split its figures are."""
    step = line.get("step")
    placed = isinstance(step, int) and 0 <= step <= LARGEST_STEP and line.get("split") in SPLITS
    return placed and len([value for value in line.values() if value.__class__ is str]) == 1


Integer = Annotated[int, Strict(), Ge(-(2**63)), Le(2**63)]
Figure = Integer | Annotated[float, Strict(), AllowInfNan(False)]
Name = Annotated[str, Predicate(lru_cache(10_000)(is_word))]
"""The same few names are on a million lines."""
SCHEMA = TypeAdapter(Annotated[dict[Name, Figure | Word | None], Predicate(is_line)])


def say(what: str) -> None:
    print(printable(what), flush=True)


def read_record(folder: Path, last: float = inf, tell: Callable[[str], object] = say) -> Iterator[Line]:
    """Return the lines of metrics.jsonl up to step `last`, one by one. What a killed process left of a line does not
    count; how many others are damaged, and left out, is told to `tell`.
    """
    file = folder / METRICS
    if not file.exists():
        return
    damaged, first = 0, ""
    try:
        with open_regular(file) as texts:
            for number, text in enumerate(iter(lambda: texts.readline(LINE_BYTES + 1), b""), 1):
                try:
                    if len(text) > LINE_BYTES:
                        raise Unfit(f"has more than {LINE_BYTES:,} bytes; nothing is read from here on")
                    if text.endswith(b"\n"):
                        line = read_line(text)
                        if line["step"] <= last:
                            yield line
                except Unfit as error:
                    damaged, first = damaged + 1, first or f"line {number} {error}"
                    if len(text) > LINE_BYTES:
                        break
    except (Unfit, OSError) as error:
        tell(f"damaged: {file} {error}")
    if damaged:
        tell(f"damaged, and left out: {number_of(damaged, 'line')} of {file}; {first}")


def last_step(folder: Path) -> int:
    """Return the step of the last line of the record in `folder`, 0 if there is none among its last TAIL_BYTES."""
    with suppress(Unfit, OSError), open_regular(folder / METRICS) as texts:
        texts.seek(max(0, texts.seek(0, SEEK_END) - TAIL_BYTES))
        for text in reversed(texts.read(TAIL_BYTES).split(b"\n")[:-1]):  # what a killed process left has no end
            with suppress(Unfit):
                return read_line(text)["step"]
    return 0


def read_line(text: bytes) -> Line:
    """Return the line of the record in `text`. There may be a million of them: of one whose shape is known only its
    numbers are looked at.

    Raises:
        Unfit: it is none.
    """
    try:
        line: Line = from_json(text, allow_inf_nan=False)
        shape = (*line, *map(type, line.values()))
        if shape not in KNOWN:
            SCHEMA.validate_python(line)
    except (ValueError, TypeError, AttributeError):
        return check(parse(text), SCHEMA)  # which says why, in our words
    values = line.values()
    is_right = (
        0 <= line["step"] <= LARGEST_STEP and line["split"] in SPLITS and inf not in values and -inf not in values
    )
    if not is_right or text.count(b'":') != len(line):  # a key may be there twice
        return check(parse(text), SCHEMA)
    if len(KNOWN) < MOST_SHAPES and len(line) < MOST_NAMES and shape.count(int) == 1:  # that of the step
        KNOWN.add(shape)
    return line


class Earlier:
    """The lines of the record of a run that goes on from step `last`, but those of the place `ahead`, (step, split),
    which happens again. They are read anew each time, as often as that is asked for; those that come later are none of
    them.
    """

    def __init__(self, folder: Path, last: float, ahead: tuple[object, ...] = ()):
        self.folder, self.last, self.ahead = folder, last, ahead
        self.count: int | None = None

    def __iter__(self) -> Iterator[Line]:
        return islice(self.read(), self.count)

    def read(self) -> Iterator[Line]:
        count = 0
        for line in read_record(self.folder, self.last, say if self.count is None else lambda said: None):
            if (line["step"], line["split"]) != self.ahead:
                count += 1
                yield line
        self.count = count
