"""YAML 1.2, its core schema, in bounds: what option files are read as and written in. PyYAML alone has 1.1, where
`1e-3` is a string, `off` a truth value, `0100` is 64 and `1:30` is 90.
"""

import os
import re
import stat
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

from yaml import AliasEvent, MappingNode, MarkedYAMLError, Node, SafeDumper, ScalarNode, SequenceNode
from yaml.composer import Composer
from yaml.constructor import BaseConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from launchbay import UserError

LARGEST_FILE = 2**18
"""Bytes of a file of options: a run's has about two thousand, and reading takes seconds for so many."""
DEEPEST = 20
"""Lists within lists. Without a bound a long row of [ takes PyYAML minutes, or all of Python's stack."""


def read_text(file: Path, remedy: str = "give a file of options, such as a run's config.yaml") -> str:
    """Return the text of a file of options, which is not waited for: a pipe or a device is none.

    Raises:
        UserError: it is no file, cannot be read, is too large for options, or is no text.
    """
    try:
        with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as opened:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise UserError(f"{file} is not a file of options: it is a folder, a pipe or a device", remedy)
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}", remedy) from error
    if len(content) > LARGEST_FILE:
        raise UserError(f"{file} is larger than {LARGEST_FILE:,} bytes, too large for a file of options", remedy)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8: {error.reason} at byte {error.start}", remedy) from error


@dataclass(frozen=True)
class Kind:
    """A kind of plain values: how they are written, the characters that they begin with, and what they mean."""

    pattern: str
    first: tuple[str, ...]
    value: Callable[[str], object]


def to_int(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def to_float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


CORE = {
    "null": Kind(r"~|null|Null|NULL|", ("~", "n", "N", ""), lambda _: None),
    "bool": Kind(r"true|True|TRUE|false|False|FALSE", ("t", "T", "f", "F"), lambda text: text.lower() == "true"),
    "int": Kind(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789"), to_int),
    "float": Kind(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
        lambda text: to_float(text.lower()),
    ),
}
"""The kinds of the core schema (https://yaml.org/spec/1.2.2/#103-core-schema) but for strings, which all else is. What
could be an integer and a float is an integer."""
TAG = "tag:yaml.org,2002:"


class CoreResolver(BaseResolver):
    """Tells what a plain value is."""


class Loader(Reader, Scanner, Parser, Composer, BaseConstructor, CoreResolver):
    """Reads one document. Lists and mappings are nested to a limit, and nothing refers to what stands elsewhere: a few
    lines of references to references would unfold to more than fits into memory.

    Raises:
        MarkedYAMLError: the text is something else.
    """

    def __init__(self, text: str, name: str):
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseConstructor.__init__(self)
        CoreResolver.__init__(self)
        self.name, self.depth = name, 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(AliasEvent):
            raise MarkedYAMLError(problem="a reference (*) is not read here: write the value out", problem_mark=mark)
        if self.depth > DEEPEST:
            raise MarkedYAMLError(problem=f"more than {DEEPEST} lists within lists", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)  # pyright: ignore[reportArgumentType]
        self.depth -= 1
        return node

    def value_of(self, node: Node | None) -> object:
        """Return what `node` stands for."""
        return None if node is None else self.construct_object(node, deep=True)


def scalar(name: str) -> Callable[[Loader, Node], object]:
    """Return how a value of the kind `name` is read, by its form or because a tag such as !!int says so."""
    kind = CORE[name]

    def construct(loader: Loader, node: Node) -> object:
        text = loader.construct_scalar(node)  # pyright: ignore[reportArgumentType]
        try:
            if re.fullmatch(kind.pattern, text):
                return kind.value(text)
        except ValueError:  # more digits than Python turns into a number
            pass
        raise MarkedYAMLError(problem=f"this is no value of the kind {name}", problem_mark=node.start_mark)

    return construct


def text_of(loader: Loader, node: ScalarNode) -> str:
    """Return the string that `node` is, of characters that are text: no control characters, no half of a pair but what
    Python has for a byte of a file's name that is not of the locale's encoding.
    """
    value = str(loader.construct_scalar(node))
    allowed = {"\n", "\t", *map(chr, range(0xDC80, 0xDD00))}
    if any(category(character) in ("Cc", "Cs") for character in set(value) - allowed):
        raise MarkedYAMLError(problem="a string with control characters", problem_mark=node.start_mark)
    return value


def mapping(loader: Loader, node: MappingNode) -> dict[Hashable, object]:
    """Return the values in `node` by their keys, each of which is there once."""
    values = loader.construct_mapping(node, deep=True)
    if len(values) < len(node.value):
        raise MarkedYAMLError(problem="a key that is there twice", problem_mark=node.start_mark)
    return values


def sequence(loader: Loader, node: SequenceNode) -> list[object]:
    return loader.construct_sequence(node, deep=True)


def refuse(loader: Loader, node: Node) -> object:
    raise MarkedYAMLError(problem=f"the tag {node.tag!r} is not of the core schema", problem_mark=node.start_mark)


Loader.yaml_constructors = {
    None: refuse,
    f"{TAG}str": text_of,
    f"{TAG}seq": sequence,
    f"{TAG}map": mapping,
    **{f"{TAG}{name}": scalar(name) for name in CORE},
}


class Dumper(SafeDumper):
    """Writes what `Loader` reads: strings that YAML of either version would take for something else are quoted, and
    what is there twice is written twice.
    """

    def ignore_aliases(self, data: object) -> bool:
        return True


for _name, _kind in CORE.items():
    for _class in (CoreResolver, Dumper):
        _class.add_implicit_resolver(f"{TAG}{_name}", re.compile(rf"(?:{_kind.pattern})\Z"), _kind.first)
