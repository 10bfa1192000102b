"""Plugins: tasks, data sets and trackers, from entry points. Listing imports none; a broken one fails when loaded."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from launchbay import API_VERSION, OLDEST_API_VERSION, UserError, __version__
from launchbay.launch.errors import did_you_mean

TASKS, DATASETS, TRACKERS = "launchbay.tasks", "launchbay.datasets", "launchbay.trackers"
ASKED = "LAUNCHBAY_API"
"""What a package calls the version of the API that it is written for, in its outermost module."""
KINDS = {TASKS: "task", DATASETS: "data set", TRACKERS: "tracker"}
RENAMED = {
    "launchbay.launch.config.Shared": "launchbay.launch.config.options.TrainOptions",
    "launchbay.launch.config.Config": "launchbay.launch.config.options.Config",
    "launchbay.launch.failure": "launchbay.launch.errors",
    "launchbay.tasks.base.ImageToImage": "launchbay.tasks.ImageToImage",
    "launchbay.tasks.choices": "launchbay.tasks.options",
    "launchbay.tasks.contract": "launchbay.testing",
    "launchbay.tasks.entropy": "launchbay.models.entropy",
    "launchbay.tasks.judge": "launchbay.tasks.figures",
    "launchbay.tasks.metrics": "launchbay.tasks.figures",
    "launchbay.tasks.pictures": "launchbay.tasks.figures",
}
"""Modules, and names in them, that packages written for version 1 of the API may import, and where these are now."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of a package."""

    name: str
    """Name on the command line."""
    target: str
    """The object it names, as "module:attribute"."""
    package: str
    """Distribution that registers it; empty for a target that was given on the command line."""
    version: str
    """Version of that distribution."""

    def __str__(self) -> str:
        return f"{self.package} {self.version}" if self.package else self.target

    def summary(self) -> str:
        """Return the first line of the module's docstring, or what is wrong with the module. Nothing is imported."""
        try:
            docstring = ast.get_docstring(self.parse_module()) or ""
        except UserError as error:
            return f"! {error.message} → {error.hint}"
        return docstring.split("\n")[0]

    def parse_module(self) -> ast.Module:
        """Return the syntax tree of the plugin's module.

        Raises:
            UserError: the plugin cannot be loaded, as far as that can be told without importing it.
        """
        self.check_api()
        module, _, attribute = self.target.partition(":")
        remedy = f"fix or uninstall {self.package}"
        path = find_source(module)
        if path is None:
            raise UserError(f"ModuleNotFoundError: there is no {module}", f"install {self.package} again")
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{type(error).__name__}: {error}".splitlines()[0], remedy) from error
        if missing := next((name for name in imported_packages(tree) if find_spec(name, None) is None), None):
            raise UserError(f"ModuleNotFoundError: it imports {missing}", f"install that, or uninstall {self.package}")
        if not bound_names(tree) & {attribute, "*", "__getattr__"}:
            raise UserError(f"AttributeError: {module} has no {attribute!r}", remedy)
        return tree

    def check_api(self) -> None:
        """Check that this launchbay has the API that the package is written for, if that says so. Nothing is imported.

        Raises:
            UserError: it has another one.
        """
        asked, package = self.api_asked_for(), self.package or self.target.partition(".")[0]
        if asked is None:
            return
        written = f"{self} is written for version {asked} of launchbay's API; launchbay {__version__}"
        if not isinstance(asked, int):
            raise UserError(f"{self}: {ASKED} is {asked!r}, no version", f"write {ASKED} = {API_VERSION}")
        if asked > API_VERSION:
            remedy = f"install a newer launchbay, or an older version of {package}"
            raise UserError(f"{written} has {API_VERSION}", remedy)
        if asked < OLDEST_API_VERSION:
            remedy = f"install a newer version of {package}, or an older launchbay"
            raise UserError(f"{written} has {API_VERSION}, and nothing before {OLDEST_API_VERSION}", remedy)

    def api_asked_for(self) -> object:
        """Return what the outermost module of the package says; None if it says nothing."""
        path = find_source(self.target.partition(":")[0].partition(".")[0])
        try:
            body = ast.parse(path.read_text(encoding="utf-8")).body if path else []
        except (OSError, SyntaxError, ValueError):  # importing it tells why
            return None
        for node in body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == ASKED:
                    return value.value if isinstance(value, ast.Constant) else ast.unparse(value)
        return None


def installed(group: str) -> list[Plugin]:
    """Return all plugins of `group`, by name. A name that two packages claim appears twice."""
    found = {(point.name, point.value, *origin(point)) for point in entry_points(group=group)}
    return [Plugin(*fields) for fields in sorted(found)]


def origin(point: EntryPoint) -> tuple[str, str]:
    """Return the name and the version of the distribution that registers an entry point."""
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "")


def find_plugin(group: str, name: str) -> Plugin:
    """Return the plugin called `name`, or the one at `name` itself if it is a path like "package.module:Class", which
    only the command line may give (see `option_file.read_task`).

    Raises:
        UserError: there is none of that name in `group`, or more than one.
    """
    if ":" in name:
        if sys.path[0] != (here := str(Path.cwd())):
            sys.path.insert(0, here)  # a class that is being written, not installed
        return Plugin(name, name, "", "")
    plugins = installed(group)
    chosen = [plugin for plugin in plugins if plugin.name == name]
    kind = KINDS[group]
    if len(chosen) > 1:
        raise UserError(
            f"{kind} {name!r} is claimed by {' and by '.join(map(str, chosen))}",
            f"uninstall one of them, or name the class: {' or '.join(plugin.target for plugin in chosen)}",
        )
    if not chosen:
        known = [plugin.name for plugin in plugins]
        raise UserError(
            f"there is no {kind} {name!r}" + did_you_mean(name, known),
            f"installed: {', '.join(known) or 'none; is launchbay installed? (pip install -e .)'}. "
            "A new entry point shows after its package is installed again",
        )
    return chosen[0]


def load_plugin(plugin: Plugin) -> object:
    """Import and return the object that `plugin` names.

    Raises:
        UserError: it cannot be imported, whatever the reason (which stays the error's cause).
    """
    plugin.check_api()
    module, _, attribute = plugin.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        where = f" ({plugin.target}, from {plugin})" if plugin.package else ""
        remedy = (
            "fix or uninstall that package"
            if plugin.package
            else "write module:Class, with a module that can be imported from this folder"
        )
        remedy = new_name(error) or remedy
        raise UserError(
            f"{plugin.name!r}{where} cannot be loaded: {type(error).__name__}: {error}",
            f"{remedy} (--debug shows where it fails)",
        ) from error


def new_name(error: Exception) -> str:
    """Return how to fix an import of what was renamed here; empty if `error` is anything else."""
    if not isinstance(error, ImportError):
        return ""
    name = re.match(r"cannot import name '(\w+)'", error.msg)
    former = f"{error.name}.{name[1]}" if name else str(error.name)
    return f"{former} is {RENAMED[former]} now: import it from there" if former in RENAMED else ""


def imported_packages(tree: ast.Module) -> Iterator[str]:
    """Yield the packages that a module cannot do without: those it imports at its outermost level."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def bound_names(tree: ast.Module) -> set[str]:
    """Return the names that a module binds, "*" if it takes in those of another one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def find_source(module: str) -> Path | None:
    """Return the source file of `module`, without importing its parents; None if it has none."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = find_spec(".".join(parts[: depth + 1]), path) if depth == 0 or path else None
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def find_spec(module: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of `module`, searched for in `path`, the search locations of its parent, if it has one."""
    finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for finder in finders if (spec := finder.find_spec(module, path))), None)
