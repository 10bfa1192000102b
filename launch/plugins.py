"""Entry points -> tasks and data sets. Listing them imports none, and a broken one hurts nobody but who asks for it."""

import ast
import importlib
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from launchbay import UserError

TASKS, DATASETS = "launchbay.tasks", "launchbay.datasets"
KINDS = {TASKS: "task", DATASETS: "data set"}


@dataclass(frozen=True)
class Plugin:
    name: str
    target: str
    """module:attribute"""
    package: str
    version: str

    def summary(self) -> str:
        """The first line of the module's docstring, read from its source."""
        source = source_of(self.target.split(":")[0])
        if source is None:
            return "! its module cannot be found; install the package again"
        try:
            docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        except (OSError, SyntaxError, ValueError) as error:
            return f"! {type(error).__name__}: {error}"
        return docstring.split("\n")[0]


def installed(group: str) -> list[Plugin]:
    """All plugins of `group`, by name. A name that two packages claim appears twice."""
    found = {(point.name, point.value, *origin(point)) for point in entry_points(group=group)}
    return [Plugin(*fields) for fields in sorted(found)]


def origin(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "")


def find(group: str, name: str) -> Plugin:
    """The plugin called `name`, or the one at `name` itself if it is a path like "package.module:Class"."""
    if ":" in name:
        sys.path.insert(0, str(Path.cwd()))  # a class that is being written, not installed
        return Plugin(name, name, "", "")
    plugins = installed(group)
    chosen = [plugin for plugin in plugins if plugin.name == name]
    kind = KINDS[group]
    if len(chosen) > 1:
        packages = " and by ".join(f"{plugin.package} {plugin.version}" for plugin in chosen)
        raise UserError(
            f"{kind} {name!r} is claimed by {packages}",
            f"uninstall one of them, or name the class: {' or '.join(plugin.target for plugin in chosen)}",
        )
    if not chosen:
        known = [plugin.name for plugin in plugins]
        near = get_close_matches(name, known, n=1)
        raise UserError(
            f"there is no {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"installed: {', '.join(known) or 'none; is launchbay installed? (pip install -e .)'}. "
            "A new entry point shows after its package is installed again",
        )
    return chosen[0]


def load(plugin: Plugin) -> Any:
    """Import what `plugin` names.

    Raises:
        UserError: it cannot be imported, whatever the reason (which stays the error's cause).
    """
    module, _, attribute = plugin.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        where = f" ({plugin.target}, from {plugin.package} {plugin.version})" if plugin.package else ""
        remedy = "mend or uninstall that package" if plugin.package else "is it module:Class, seen from this folder?"
        raise UserError(
            f"{plugin.name!r}{where} cannot be loaded: {type(error).__name__}: {error}",
            f"{remedy} (--debug shows where it fails)",
        ) from error


def source_of(module: str) -> Path | None:
    """The file of `module`, found without importing its parents."""
    path: Any = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for finder in finders if (spec := finder.find_spec(name, path))), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
