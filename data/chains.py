"""Chains of degradations as people write them: ready ones, YAML files, or one operation each; read strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from torch import Tensor

from launchbay import UserError, printable
from launchbay.data.base import ImageSet, digest
from launchbay.data.degrade import (
    MODES,
    AllOf,
    AnyOrder,
    Blur,
    Draw,
    Fit,
    Jpeg,
    Noise,
    OneOf,
    Operation,
    Range,
    Resize,
    Ringing,
    degrade,
)
from launchbay.data.randomness import Index, generator
from launchbay.data.samples import Values, join
from launchbay.data.transforms import Transformed, apart
from launchbay.yaml12 import Dumper, Loader, read_text

READY = Path(__file__).with_name("degradations")
"""The folder of chains that come along."""
EXAMPLE = "write it as in `blur: {sigma: [0.2, 3], chance: 0.8}`"


@dataclass(frozen=True)
class Bound:
    """A number, or the least and the largest of a range to draw from, within bounds."""

    least: float
    largest: float
    above: bool = False
    """Whether `least` itself is too small."""
    whole: bool = False
    single: bool = False
    """Whether it is one number."""

    def read(self, value: object) -> float | Range:
        """Return the number, or the range.

        Raises:
            ValueError: it is none, or not within bounds.
        """
        kinds = (int,) if self.whole else (int, float)
        given: list[object] = [value] if not isinstance(value, list) else [] if self.single else list(value)
        numbers = [float(one) for one in given if isinstance(one, kinds) and not isinstance(one, bool)]
        if len(given) not in (1, 2) or len(numbers) < len(given):
            raise ValueError
        low, high = numbers[0], numbers[-1]
        if not (self.least <= low <= high <= self.largest) or (self.above and low == self.least):
            raise ValueError
        return low if self.single else (low, high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        least = f"above {self.least:g} and at most" if self.above else f"from {self.least:g} to"
        return f"{kind} {least} {self.largest:g}" + ", or [least, largest] of such numbers" * (not self.single)


@dataclass(frozen=True)
class Names:
    """One or some of these names."""

    known: tuple[str, ...]

    def read(self, value: object) -> tuple[str, ...]:
        """Return the names.

        Raises:
            ValueError: one is unknown, or there is none.
        """
        given: list[object] = list(value) if isinstance(value, list) else [value]
        names = tuple(one for one in given if isinstance(one, str) and one in self.known)
        if not names or len(names) < len(given):
            raise ValueError
        return names

    def __str__(self) -> str:
        return f"one or a list of {', '.join(self.known)}"


CHANCE = Bound(0, 1, single=True)
SIGMA = Bound(0, 30, above=True)
KINDS: Mapping[str, tuple[Callable[..., Operation], Mapping[str, Bound | Names]]] = {
    "blur": (Blur, {"sigma": SIGMA, "second": SIGMA}),
    "ringing": (Ringing, {"cutoff": Bound(0, math.pi, above=True), "size": Bound(3, 99, whole=True)}),
    "resize": (Resize, {"factor": Bound(0, 4, above=True), "modes": Names(MODES)}),
    "fit": (Fit, {"modes": Names(MODES)}),
    "noise": (Noise, {"gaussian": Bound(0, 255), "poisson": Bound(0, 100), "grey": CHANCE}),
    "jpeg": (Jpeg, {"quality": Bound(1, 100, whole=True)}),
}
"""The operations, what makes them, and their settings."""
GROUPS: Mapping[str, Callable[..., OneOf | AllOf]] = {"one-of": OneOf, "all-of": AllOf, "any-order": AnyOrder}
"""What holds a list of operations."""
MOST_ENLARGED = 8
"""How many times higher and wider pictures may become on the way."""
NEEDED = {"blur": ("sigma",), "ringing": ("cutoff",), "resize": ("factor",), "jpeg": ("quality",)}


def expand(entries: Iterable[str]) -> tuple[str, ...]:
    """Return one line for each operation of `entries`: the name of a ready chain, a YAML file, or an operation.

    Raises:
        UserError: one is none of these, or not as it has to be.
    """
    lines: list[str] = []
    for entry in entries:
        ready, file = READY / f"{entry}.yaml", Path(entry)
        if entry in ready_names():
            lines += read_file(ready)
        elif file.suffix in (".yaml", ".yml") or file.is_file():
            lines += read_file(file)
        elif ":" in entry:
            parse([entry])
            lines.append(entry)
        else:
            known = ", ".join(ready_names())
            raise UserError(
                f"--degrade {printable(entry)}: there is no such chain or file",
                f"name a ready one ({known}) or a YAML file, or {EXAMPLE}",
            )
    parse(lines)
    return tuple(lines)


def ready_names() -> list[str]:
    return sorted(path.stem for path in READY.glob("*.yaml"))


def read_file(file: Path) -> list[str]:
    """Return a line for each operation in `file`, a YAML list of them.

    Raises:
        UserError: it cannot be read, or is something else; file and line are named.
    """
    ways = f"name a YAML file of operations or a ready chain ({', '.join(ready_names())}), or {EXAMPLE}"
    reader = Reader(read_text(file, ways), str(file))
    if not isinstance(reader.root, yaml.SequenceNode) or not reader.root.value:
        raise UserError(f"{file} holds no list of operations", f"begin each with a dash: - {EXAMPLE[16:-1]}")
    for node in reader.root.value:
        reader.operation(node)
    return [one_line(reader.loader.value_of(node)) for node in reader.root.value]


def one_line(operation: object) -> str:
    """Return an operation as one line of YAML, which `parse` reads."""
    text = yaml.dump(operation, Dumper=Dumper, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.strip().removeprefix("{").removesuffix("}")


def parse(lines: Sequence[str]) -> tuple[Operation, ...]:
    """Return the operations that `lines` say, one each; at the end that which fits the size, unless one does.

    Raises:
        UserError: a line is none.
    """
    operations: list[Operation] = []
    for line in lines:
        reader = Reader(line, f"--degrade {printable(line)!r}", of_file=False)
        operations.append(reader.operation(reader.root))
    count = sum(isinstance(operation, Fit) for operation in flat(operations))
    if count > 1:
        raise UserError("--degrade: the size that the network takes is fitted twice", "keep one `fit`")
    largest = math.prod(max(1, one.factor[1]) for one in flat(operations) if isinstance(one, Resize))
    if largest > MOST_ENLARGED:
        said = f"--degrade: all of its resizes together enlarge up to {largest:g} times"
        raise UserError(f"{said}, at most {MOST_ENLARGED} is allowed", "lower the largest factors")
    return tuple(operations if count else [*operations, Fit()])


def flat(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Return all of them, with those in lists."""
    for operation in operations:
        yield operation
        yield from flat(operation.parts) if isinstance(operation, OneOf | AllOf) else ()


class Reader:
    """Reads operations from YAML, and names the place of what is wrong."""

    def __init__(self, text: str, name: str, *, of_file: bool = True):
        self.name, self.of_file = name, of_file
        try:
            self.loader = Loader(text, name)
            self.root = self.loader.get_single_node()
            self.loader.value_of(self.root)  # keys that are there twice, tags
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}", EXAMPLE) from error

    def refuse(self, node: yaml.Node | None, said: str, hint: str = EXAMPLE) -> UserError:
        line = f":{node.start_mark.line + 1}" if node is not None and self.of_file else ""
        return UserError(f"{self.name}{line}: {said}", hint)

    def operation(self, node: yaml.Node | None, *, chosen: bool = False) -> Operation:
        """Return the operation at `node`; `chosen`, it is one of several."""
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            raise self.refuse(node, "an operation is one name, a colon and its settings")
        key, inside = node.value[0]
        name = str(self.loader.value_of(key))
        if chosen and name in (*GROUPS, "fit"):
            raise self.refuse(key, f"one-of holds {name}, and takes only what has a chance", "put it beside one-of")
        if name in GROUPS:
            if not isinstance(inside, yaml.SequenceNode) or not inside.value:
                raise self.refuse(key, f"{name} holds a list of operations", "put each on a line with a dash")
            parts = tuple(self.operation(part, chosen=name == "one-of") for part in inside.value)
            if name == "one-of" and (total := sum(part.chance for part in parts)) > 1 + 1e-9:
                raise self.refuse(key, f"the chances of one-of sum up to {total:g}", "let them sum up to 1, or to less")
            return GROUPS[name](parts=parts)
        if name not in KINDS:
            raise self.refuse(key, f"there is no operation {printable(name)!r}", f"use {', '.join((*KINDS, *GROUPS))}")
        return self.with_settings(name, key, inside, chosen=chosen)

    def with_settings(self, name: str, key: yaml.Node, inside: yaml.Node, *, chosen: bool) -> Operation:
        make, known = KINDS[name]
        known = known if name == "fit" else {**known, "chance": CHANCE}
        if not isinstance(inside, yaml.MappingNode):
            raise self.refuse(key, f"{name} has settings by name: {', '.join(known)}")
        values: dict[str, object] = {}
        for setting, value in inside.value:
            called = str(self.loader.value_of(setting))
            if called not in known:
                raise self.refuse(setting, f"{name} has no setting {printable(called)!r}", f"it has {', '.join(known)}")
            given = self.loader.value_of(value)
            try:
                values[called] = known[called].read(given)
            except (ValueError, OverflowError):
                said = f"{name}: {called} is {printable(given)}, and has to be {known[called]}"
                raise self.refuse(setting, said, "put it right, or leave it out if there is a default") from None
        for lacking in [*NEEDED.get(name, ()), *(["chance"] if chosen else [])]:
            if lacking not in values:
                said = f"{name} lacks {lacking}" + ", which one-of needs of each" * (lacking == "chance")
                raise self.refuse(key, said, f"give {known[lacking]}")
        if name == "noise" and ("gaussian" in values) == ("poisson" in values):
            raise self.refuse(key, "noise is either gaussian or poisson", "give one of them; for both, two lines")
        return make(**values)


class Degraded(Transformed):
    """The pictures of `images`, and beside each, as "input", what the operations of `lines` make of it: uint8, `scale`
    times smaller. What is drawn follows from the visit in training, from the picture in validation.

    Raises:
        UserError: they have an "input" already.
    """

    def __init__(self, images: ImageSet, lines: Sequence[str], scale: int = 1):
        super().__init__(images)
        self.operations, self.lines, self.scale = parse(lines), tuple(lines), scale
        if "input" in self.names:
            raise UserError("the data set gives an input of its own for each picture", "leave --degrade out")
        self.pictures = (*images.pictures, "input")
        self.names = (*self.names, "input")
        self.scales = {**images.scales, "input": scale}

    def size(self, index: int) -> tuple[int, int]:
        return self.images.size(index)

    def fingerprint(self) -> str:
        return digest(self.images.fingerprint(), *self.lines)

    def to(self, device: object) -> None:
        """Not at all: pictures are degraded on the CPU."""

    def apart(self, indices: Sequence[int]) -> list[Values]:
        return [
            {**part, "input": self.degraded(part["image"][0], index)[None]}
            for part, index in zip(apart(self.images, indices), indices, strict=True)
        ]

    def degraded(self, picture: Tensor, index: int) -> Tensor:
        assert isinstance(index, Index)
        height, width = picture.shape[-2:]
        draw = Draw(generator(index.key, "degrade"), (height // self.scale, width // self.scale))
        return degrade(picture, self.operations, draw)

    def __getitems__(self, indices: Sequence[int]) -> Values:
        return join(self.source, indices, self.apart(indices))
