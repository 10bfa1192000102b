"""What plugins and commands rely on is what public.txt, help/ and docs/reference/checks.md say; `python
tests/test_public.py` writes them anew."""

import ast
import difflib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from help_texts import help_texts

import launchbay
import launchbay.data
import launchbay.models
import launchbay.tasks
import launchbay.tasks.figures
import launchbay.trackers
from launchbay.launch.check.suite import CONTRACT, words
from launchbay.launch.config.command_line import join_lines
from launchbay.launch.config.options import GROUP_TYPES
from launchbay.launch.config.plugins import TASKS, installed
from launchbay.launch.config.setup import task_of

ROOT = Path(__file__).parents[1]
FILE, HELP, CHECKS = ROOT / "tests/public.txt", ROOT / "tests/help", ROOT / "docs/reference/checks.md"
ABOUT_CHECKS = """\
# The checks

`launchbay check NAME` runs these {}, in this order. A check that needs another one to hold is not applicable where that
one fails: fix the first one first. [Testing a task](testing.md) says how to run them from Python and with pytest.

| check | what has to hold | how to fix it |
|---|---|---|"""
EXPORTS = {
    "launchbay": ["Run", "UserError", "load", "train"],
    "launchbay.launch.record.curves": ["Curve"],
    "launchbay.tasks": launchbay.tasks.__all__,
    "launchbay.tasks.figures": launchbay.tasks.figures.__all__,
    "launchbay.data": launchbay.data.__all__,
    "launchbay.models": launchbay.models.__all__,
    "launchbay.testing": ["Result", "check_task", "parametrize_with_checks"],
    "launchbay.trackers": launchbay.trackers.__all__,
    "launchbay.launch.train": ["main"],
    "launchbay.launch.config.options": [kind.__name__ for kind in GROUP_TYPES.values()],
}


def test_the_public_surface_is_as_written() -> None:
    written, found = FILE.read_text(encoding="utf-8").splitlines(), list(surface())
    gone, new = ([line for line in one if line not in other] for one, other in ((written, found), (found, written)))
    assert written == found, (
        f"what plugins rely on has changed. Gone: {gone}. New: {new}. If that is wanted, `python tests/test_public.py` "
        "writes it down; if a plugin would notice what is gone or means something else now, raise API_VERSION in "
        "launchbay/__init__.py first and say so in CHANGELOG.md"
    )


def test_each_help_and_the_checks_are_as_written() -> None:
    changes: list[str] = []
    found = dict(frozen())
    for path in sorted({*found, *HELP.glob("*")}):
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        name, now = path.relative_to(ROOT), found.get(path, "")
        changes += difflib.unified_diff(before.splitlines(), now.splitlines(), str(name), "now", lineterm="", n=2)
    if changes:
        remedy = (
            "A --help, or a check, has changed. If that is wanted, `python tests/test_public.py` writes it down; if "
            "an option or a value is gone or means something else now, commands and config.yaml files break: say so in "
            "CHANGELOG.md, and for what plugins rely on raise API_VERSION in launchbay/__init__.py"
        )
        pytest.fail("\n".join([remedy, *changes]), pytrace=False)


def test_the_lines_of_a_docstring_are_one_paragraph_in_the_help() -> None:
    options = task_of("superres")[0].config_type
    join_lines(options)
    text = next(field.metadata["help"] for field in fields(options) if field.name == "model")
    assert "with the upscale last. espcn: convolutions" in text


def frozen() -> Iterator[tuple[Path, str]]:
    """The files that hold the words of each `--help` and of each check, and what has to be in them."""
    for name, text in help_texts():
        yield HELP / name, f"{text}\n"
    rows = [f"| {' | '.join(words(check))} |" for check in CONTRACT]
    yield CHECKS, "\n".join([ABOUT_CHECKS.format(len(rows)), *rows, ""])


def surface() -> Iterator[str]:
    """All that is public, a line each: exports with their signatures and members, and the options of the tasks."""
    exported = [(module, name) for module, names in EXPORTS.items() for name in sorted(names)]
    ours = [task_of(plugin.name)[0].config_type for plugin in installed(TASKS) if plugin.package == "launchbay"]
    ours = list(
        dict.fromkeys(kind for own in ours for kind in reversed(own.__mro__) if "__dataclass_fields__" in vars(kind))
    )
    for module, name in [*exported, *((options.__module__, options.__name__) for options in ours)]:
        yield from described(statement(module, name)[0], f"{module}.")


def statement(module: str, name: str) -> tuple[ast.stmt, ast.stmt | None]:
    """What binds `name` in `module`, or in the module that it comes from, and the statement below it."""
    top = ast.parse(inspect.getsource(importlib.import_module(module))).body
    body = [node for each in top for node in (each.body if isinstance(each, ast.If) else [each])]  # TYPE_CHECKING
    for node, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return statement(str(node.module), name)
        if name == getattr(node, "name", None) or name in assigned(node):
            return node, below
    raise AssertionError(f"{module} has no {name}")


def assigned(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def described(node: ast.stmt, prefix: str) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield f"{prefix}{node.name}({', '.join(map(ast.unparse, node.bases))})"
        for member in node.body:
            yield from described(member, f"{prefix}{node.name}.")
    elif isinstance(node, ast.FunctionDef):
        kinds = "".join(f"@{ast.unparse(decorator)} " for decorator in node.decorator_list)
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        if node.name[:2] == "__" or node.name[0] != "_":
            yield f"{kinds}{prefix}{node.name}({ast.unparse(node.args)}){returns}"
    elif any(name[0] != "_" for name in assigned(node)):
        yield f"{prefix}{ast.unparse(node)}"


if __name__ == "__main__":
    FILE.write_text("\n".join(surface()) + "\n", encoding="utf-8")
    for old in HELP.glob("*"):
        old.unlink()
    for path, text in frozen():
        path.write_text(text, encoding="utf-8")
