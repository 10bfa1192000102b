"""`launchbay new NAME`: an installable package for one's own task, and data set, from the files in templates/.

These are a package called my-plugin: common/ and task/ are part of each, then comes the folder of the kind, and
dataset/ where there is one. A file that two of them have is one text after the other. No torch here.
"""

import re
from datetime import date
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from rich.console import Console

from launchbay import UserError
from launchbay.launch.commands.origin import Author, Source, author, source
from launchbay.launch.config.plugins import DATASETS, KINDS, TASKS, installed

TEMPLATES = Path(__file__).parent / "templates"
TASK_KINDS = ("image-to-image", "generative", "classifier", "custom")
DATASET = "dataset"
LEFT_BEHIND = ("__pycache__", ".ruff_cache")
"""What tools leave in a checkout's templates."""
INSTALL = "      - run: pip install launchbay\n"
"""The step of the tests on GitHub that installs launchbay."""
REGISTERED = '[project.entry-points."launchbay.datasets"]\nmy-plugin = "my_plugin.dataset:MyPluginData"\n\n'


def write_package(name: str, kind: str, console: Console, *, dataset: bool = False) -> None:
    """Write the package `name` of a task of this kind, and of a `dataset`, to a folder of that name.

    Raises:
        UserError: it cannot have that name, or the folder exists.
    """
    check_name(name, kind, dataset=dataset)
    writer, origin = author(), source()
    for path, text in package(name, kind, writer, origin, dataset=dataset).items():
        file = Path(name) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        console.print(f"  {file}", highlight=False)
    train = f"accelerate launch -m launchbay.launch.run --task {name}"
    what = "This task and its data set work as they are; make them" if dataset else "This task works as it is; make it"
    commands = f"pip install -e {name}", f"launchbay check {name}", train
    say(console, f"{what} yours. To install, to check and to train:", *commands)
    unnamed = "" if writer.name else ". git config has no user.name: name its author in LICENSE and pyproject.toml"
    console.print(f"\nIts licence is MIT{unnamed}.", highlight=False, soft_wrap=True)
    if not origin.requirement:
        build = f"pip wheel --no-deps --wheel-dir {name}/wheels {origin.local}"
        say(
            console,
            "launchbay is on no index, and GitHub does not see this one. For tests there, add its wheel:",
            build,
        )


def say(console: Console, text: str, *commands: str) -> None:
    console.print(f"\n{text}\n", *commands, sep="\n  ", highlight=False, soft_wrap=True)


def check_name(name: str, kind: str, *, dataset: bool) -> None:
    """Raise a UserError if a package of this kind cannot be called `name`, here or anywhere."""
    module = name.replace("-", "_")
    if iskeyword(module):
        raise UserError(
            f"{name!r} cannot name a package: it is a keyword of Python", f"choose another name, such as my-{name}"
        )
    if not re.fullmatch(r"[A-Za-z](\w*[A-Za-z0-9])?", module, re.ASCII):
        raise UserError(
            f"{name!r} cannot name a package",
            "use letters, digits, - and _, and begin with a letter: deblur, for example",
        )
    for group in (TASKS, DATASETS) if dataset else (TASKS,):
        if other := next((plugin for plugin in installed(group) if plugin.name == name), None):
            raise UserError(f"there is a {KINDS[group]} {name!r} already, in {other}", "choose another name")
    if Path(name).exists():
        raise UserError(f"{name!r} exists already in this folder", "choose another name, or move it away")
    imports = rf"^from (?!my_plugin).*\b{class_name(module)}\b"
    texts = templates(kind, dataset=dataset).values()
    if find_spec(module) or any(re.search(imports, text, re.MULTILINE) for text in texts):
        raise UserError(f"a module or class called {name!r} exists already", f"choose another name, such as my-{name}")


def package(name: str, kind: str, writer: Author, origin: Source, *, dataset: bool) -> dict[str, str]:
    """Return the text of each file of the package `name`, by its path."""
    files = templates(kind, dataset=dataset)
    year = date.today().year
    facts = {"authors = []": writer.line(), "[project.urls]": writer.urls("my-plugin")}
    if not dataset:
        facts[REGISTERED] = ""
    files["pyproject.toml"] = replace(files["pyproject.toml"], facts)
    files["LICENSE"] = replace(files["LICENSE"], {"YEAR AUTHOR": f"{year} {writer.name or 'the authors of my-plugin'}"})
    files[".github/workflows/test.yml"] = replace(files[".github/workflows/test.yml"], {INSTALL: install_step(origin)})
    if dataset and kind == "image-to-image":  # which trains on squares of 96 pixels
        files["src/my_plugin/dataset.py"] = files["src/my_plugin/dataset.py"].replace("32", "96")
    if dataset:
        files["src/my_plugin/task.py"] = re.sub(r'"data": "\w+"', '"data": "my-plugin"', files["src/my_plugin/task.py"])
    module = name.replace("-", "_")
    words = {"my-plugin": name, "my_plugin": module, "MyPlugin": class_name(module)}
    return {replace(path, words): replace(text, words) for path, text in files.items()}


def install_step(origin: Source) -> str:
    """Return the step that installs launchbay on a machine of GitHub; pip finds what is on an index by itself."""
    if origin.requirement == "launchbay":
        return ""
    if origin.requirement:
        return f'      - run: pip install "{origin.requirement}"\n'
    return (
        "      # launchbay is on no index: its wheel is in this repository, from\n"
        "      #     pip wheel --no-deps --wheel-dir wheels FOLDER_OF_LAUNCHBAY\n"
        "      - run: pip install wheels/launchbay-*.whl\n"
    )


def templates(kind: str, *, dataset: bool) -> dict[str, str]:
    """Return the text of each file of the package my-plugin, by its path."""
    files: dict[str, str] = {}
    for folder in ("common", "task", kind, *([DATASET] if dataset else [])):
        for file in sorted(path for path in (TEMPLATES / folder).rglob("*") if path.is_file()):
            if not set(file.parts) & set(LEFT_BEHIND):
                path = file.relative_to(TEMPLATES / folder).as_posix()
                files[path] = files.get(path, "") + file.read_text(encoding="utf-8")
    return files


def class_name(module: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in module.split("_"))


def replace(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text
