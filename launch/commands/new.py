"""`launchbay new NAME`: an installable package for one's own task or data set, from the files in templates/.

These are a package called my-plugin: common/ is part of each, a folder of the kind's name comes on top. No torch here.
"""

import re
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from rich.console import Console

from launchbay import UserError
from launchbay.launch.config.plugins import DATASETS, KINDS, TASKS, installed

TEMPLATES = Path(__file__).parent / "templates"
TASK_KINDS = ("image-to-image", "generative", "classifier", "custom")
DATASET = "dataset"
LEFT_BEHIND = ("__pycache__", ".ruff_cache")
"""What tools leave in a checkout's templates."""


def write_package(name: str, kind: str, console: Console) -> None:
    """Write the package `name` of a task of this kind, or of a data set, to a folder of that name.

    Raises:
        UserError: it cannot have that name, or the folder exists.
    """
    check_name(name, kind)
    files = package(name, kind)
    for path, text in files.items():
        file = Path(name) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        console.print(f"  {file}", highlight=False)
    look, what = f"launchbay check {name}", f"--task {name}"
    if kind == DATASET:
        look, what = "launchbay tasks", f"--task classify --data {name}"
    commands = [f"pip install -e {name}", look, f"accelerate launch -m launchbay.launch.run {what}"]
    said = f"\nThis {KINDS[group_of(kind)]} works as it is; make it yours. To install it, look at it and train:\n"
    console.print(said, *commands, sep="\n  ", highlight=False, soft_wrap=True)


def check_name(name: str, kind: str) -> None:
    """Raise a UserError if a package of this kind cannot be called `name`, here or anywhere."""
    module, group = name.replace("-", "_"), group_of(kind)
    if iskeyword(module):
        raise UserError(
            f"{name!r} cannot name a package: it is a keyword of Python", f"choose another name, such as my-{name}"
        )
    if not re.fullmatch(r"[A-Za-z](\w*[A-Za-z0-9])?", module, re.ASCII):
        raise UserError(
            f"{name!r} cannot name a package",
            "use letters, digits, - and _, and begin with a letter: deblur, for example",
        )
    if other := next((plugin for plugin in installed(group) if plugin.name == name), None):
        raise UserError(f"there is a {KINDS[group]} {name!r} already, in {other}", "choose another name")
    if Path(name).exists():
        raise UserError(f"{name!r} exists already in this folder", "choose another name, or move it away")
    imports = rf"^from (?!my_plugin).*\b{class_name(module)}\b"
    if find_spec(module) or any(re.search(imports, text, re.MULTILINE) for text in package("my-plugin", kind).values()):
        raise UserError(f"a module or class called {name!r} exists already", f"choose another name, such as my-{name}")


def group_of(kind: str) -> str:
    return DATASETS if kind == DATASET else TASKS


def package(name: str, kind: str) -> dict[str, str]:
    """Return the text of each file of the package `name`, by its path."""
    module = name.replace("-", "_")
    words = {"my-plugin": name, "my_plugin": module, "MyPlugin": class_name(module)}
    files: dict[str, str] = {}
    for folder in (TEMPLATES / "common", TEMPLATES / kind):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            if not set(file.parts) & set(LEFT_BEHIND):
                path, text = file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8")
                files[replace(path, words)] = replace(text, words)
    return files


def class_name(module: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in module.split("_"))


def replace(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text
