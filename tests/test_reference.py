"""The API reference: all that is public is in it, and nothing else; and each thing says what it is."""

import ast
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import yaml
from conftest import ROOT
from test_public import EXPORTS, HELP, assigned, statement

PAGES = {path.relative_to(ROOT / "docs").as_posix(): path.read_text("utf-8") for path in ROOT.glob("docs/**/*.md")}
REFERENCE = "\n".join(text for name, text in PAGES.items() if name.startswith("reference/"))
PUBLIC = [
    (module, name) for module, names in EXPORTS.items() for name in names if module != "launchbay.launch.config.options"
]
"""What is shown with its docstring. The shared options are shown as the words of --help."""
LOOKED_UP = ("__len__", "__getitem__", "__getitems__", "__call__")
"""Special methods that the reference shows (mkdocs.yml leaves out the others)."""


def test_the_reference_shows_what_is_public() -> None:
    shown = re.findall(r"^::: (\S+)", REFERENCE, re.MULTILINE)
    assert sorted(shown) == sorted(f"{module}.{name}" for module, name in PUBLIC)


def test_the_reference_shows_each_help() -> None:
    shown = re.findall(r'^--8<-- "tests/help/(.+)"', REFERENCE, re.MULTILINE)
    assert sorted(shown) == sorted(path.name for path in HELP.iterdir())


def test_what_is_public_says_what_it_is() -> None:
    silent = [f"{module}.{name}" for module, name in PUBLIC for name in unsaid(*statement(module, name))]
    assert not silent, "give these a docstring"


def unsaid(node: ast.stmt, below: ast.stmt | None) -> Iterator[str]:
    """The names of `node` and of its public members that have no docstring; an attribute's stands `below` it."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        if node.name[0] == "_" and node.name not in LOOKED_UP:
            return
        if not ast.get_docstring(node):
            yield node.name
        members = node.body if isinstance(node, ast.ClassDef) else []
        for member, next_one in zip_longest(members, members[1:]):
            yield from (f"{node.name}.{name}" for name in unsaid(member, next_one))
    elif assigned(node) and not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)):
        yield from (name for name in assigned(node) if name[0] != "_")


def test_the_navigation_has_each_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert sorted(pages(nav)) == sorted(PAGES)


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(entry)
