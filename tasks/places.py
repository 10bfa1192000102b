"""Places in the code of a task's author: where a class sets a method, an option or an attribute."""

import inspect
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

BASES = ("launchbay.tasks.base", "launchbay.tasks.image_to_image", "launchbay.tasks.generative")
"""The modules of the classes that tasks derive from."""
MADE_OF = {"training_step": "loss", "evaluate": "figures"}
"""The method of a task that decides on what a method of its base class gives."""


@dataclass(frozen=True)
class Place:
    """A line of code, in the function or class `name`. Without a file (code typed at a prompt) the name is all."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.name}" if self.file else self.name

    def short(self) -> str:
        """Return it as seen from this folder, if it is in it."""
        path = Path(self.file)
        inside = bool(self.file) and path.is_relative_to(Path.cwd())
        return str(Place(str(path.relative_to(Path.cwd())), self.line, self.name)) if inside else str(self)


class PlaceNote(str):
    """A note on an exception that names a place in the author's code."""

    place: Place

    def __new__(cls, text: str, place: Place) -> "PlaceNote":
        note = super().__new__(cls, f"{text} {place}")
        note.place = place
        return note


def locate(kind: type, *names: str) -> Place:
    """Return where the author of the class `kind` sets the first of `names` that is set anywhere, or what ours of that
    name is made of; or else where `kind` begins."""
    written = list(takewhile(lambda cls: cls.__module__ not in BASES, kind.__mro__))
    for name in names:
        for owner in written:
            if name in vars(owner) or name in getattr(owner, "__annotations__", {}):
                return line_of(owner, name)
        if name in MADE_OF and any(MADE_OF[name] in vars(owner) for owner in written):
            return locate(kind, MADE_OF[name])
    return line_of(kind, "")


def line_of(owner: type, name: str) -> Place:
    """Return where the class `owner` sets `name`, or where it begins."""
    code = getattr(inspect.unwrap(vars(owner).get(name, owner)), "__code__", None)
    if code is not None:
        return Place(code.co_filename, code.co_firstlineno, code.co_qualname)
    try:
        lines, first = inspect.getsourcelines(owner)
    except (OSError, TypeError):  # typed at a prompt
        return Place("", 0, owner.__qualname__)
    bound = [text.partition("=")[0].partition(":")[0].strip().removeprefix("self.") for text in lines]
    line = first + (bound.index(name) if name in bound else 0)
    return Place(inspect.getsourcefile(owner) or "", line, owner.__qualname__)
