"""The contract, part one: what a task is before its first step. Its options, its import, its networks, its data."""

import ast
import inspect
import pickle
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from launchbay.data import Index
from launchbay.data.loader import Keyed
from launchbay.launch.check.bench import Bench
from launchbay.launch.check.lines import authored, source, undocumented
from launchbay.launch.check.results import Broken, NotApplicable, needs
from launchbay.launch.config.option_file import read_options, to_yaml
from launchbay.tasks.places import Place, locate


def options_are_declared(bench: Bench) -> None:
    """Options are a frozen dataclass, each with a default and a name that no shared option has.

    `class MyTask(Task[MyConfig])`, with `@dataclass(frozen=True) class MyConfig`.
    """
    options = getattr(bench.task_type, "config_type", bench.task_type)
    with bench.attribute_errors_to():
        if not vars(type(bench.declared.options))["__dataclass_params__"].frozen:
            raise Broken(f"{options.__name__} is not frozen", locate(options), "write @dataclass(frozen=True)")


@needs(options_are_declared)
def it_can_be_built(bench: Bench) -> None:
    """The task and its data can be had, and there is an optimizer for each network, under its name.

    Set networks as attributes in `__init__`; `optimizers` gives `{name: create(network.parameters())}` for all.
    """
    with bench.attribute_errors_to("__init__"):
        bench.build()
    with bench.attribute_errors_to("optimizers", "datasets"):
        learner = bench.learner()
    loose = [name for name, _ in learner.task.named_parameters(recurse=False)]
    if loose:
        raise Broken(
            f"{loose[0]} is a parameter of the task itself, which no optimizer has",
            bench.place("__init__"),
            "make it part of a network",
        )


@needs(it_can_be_built)
def options_go_through_yaml(bench: Bench) -> None:
    """Options written to config.yaml come back the same.

    Use what YAML has: numbers, strings, truth values, None, paths and tuples of these.
    """
    options = bench.config.options
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        try:
            file.write_text(to_yaml(bench.config), encoding="utf-8")
            back = read_options(file, bench.declared)[0].options
        except Exception as error:
            message = " ".join(str(error).replace(f"{file}:", "line ").split())
            raise Broken(f"{type(error).__name__}: {message}", locate(type(options))) from error
    for field in fields(options):
        before, after = getattr(options, field.name), getattr(back, field.name)
        if before != after:
            raise Broken(f"{field.name} is {before!r}, and {after!r} after it", locate(type(options), field.name))


@needs(options_are_declared)
def each_option_has_help(bench: Bench) -> None:
    """Each option has a line of help: the string below it.

    Write a docstring below the field: what it is, in which unit, between what.
    """
    options = bench.task_type.config_type
    if source(options)[1] is None:
        raise NotApplicable("there is no source to read")
    if missing := undocumented(options):
        raise Broken(f"there is none for {', '.join(missing)}", locate(options, missing[0]))


@needs(options_go_through_yaml)
def import_is_light(bench: Bench) -> None:
    """Importing the task's module brings in no large library that only some runs use.

    Import it in the function that uses it.
    """
    if heavy := bench.probed["heavy"]:
        module = sys.modules[bench.task_type.__module__]
        lines = inspect.getsource(module).splitlines()
        found = [n for n, line in enumerate(lines, 1) if re.match(rf"(import|from)\s+({'|'.join(heavy)})\b", line)]
        place = Place(str(module.__file__), found[0] if found else 1, module.__name__)
        raise Broken(f"importing {module.__name__} brings in {', '.join(heavy)}", place)


@needs(options_go_through_yaml)
def it_is_built_from_options_alone(bench: Bench) -> None:
    """Building the task opens no file and no connection.

    Open files in `datasets`, which is called once there is a run. Published weights are an option, not the default.
    """
    if touched := bench.probed["touched"]:
        happened, *place = touched[0]
        raise Broken(f"__init__ {happened}", Place(*place) if place[0] else None)


@needs(it_can_be_built)
def processes_are_not_its_business(bench: Bench) -> None:
    """The task does not know of processes: no torch.distributed, no accelerate, no RANK.

    Leave them to the engine: a task that asks for its rank learns something else on two processes.
    """
    networks = [type(layer) for layer in bench.build().modules()]
    for cls in dict.fromkeys(own for kind in (bench.task_type, *networks) for own in authored(kind)):
        file, tree = source(cls)
        for node in ast.walk(tree) if tree else ():
            if found := distributed(node, vars(sys.modules[cls.__module__])):
                raise Broken(f"it uses {found}", Place(file, node.lineno, cls.__name__))  # pyright: ignore


def distributed(node: ast.AST, names: Mapping[str, object]) -> str:
    """Return what of other processes a piece of source speaks of, if it does; `names` are those of its module."""
    if isinstance(node, ast.Constant) and node.value in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        return node.value
    if isinstance(node, ast.Attribute) and node.attr == "distributed":
        return "torch.distributed"
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [getattr(node, "module", ""), *(alias.name for alias in node.names)]
    elif isinstance(node, ast.Name):
        value = names.get(node.id)
        modules = [getattr(value, "__module__", None) or getattr(value, "__name__", "")]
    else:
        return ""
    return next((name for name in modules if str(name).startswith(("torch.distributed", "accelerate"))), "")


@needs(it_can_be_built)
def samples_repeat_and_travel(bench: Bench) -> None:
    """A sample is the same whenever it is asked for, in this process and in a loader worker.

    Draw from `index.generator()`, and keep no open files, lambdas or generators in a data set.
    """
    training, others = bench.opened
    named = {"training": training} | {f"{name} validation".strip(): images for name, images in others.items()}
    for split, images in named.items():
        where = next(map(locate, authored(type(images))), None) or bench.place("datasets")
        indices = [Index(number, number) for number in range(2 if images.uniform else 1)]
        first = images.__getitems__(indices)
        try:
            travelled = pickle.loads(pickle.dumps(Keyed(images))).images
        except Exception as error:
            raise Broken(f"the {split} set cannot be pickled: {error}", where) from error
        for other in (images, travelled):
            again = other.__getitems__(indices)
            if changed := [name for name in first if not is_same(first[name], again[name])]:
                raise Broken(f"{changed[0]!r} of the {split} set is another one the second time", where)


def is_same(one: object, other: object) -> bool:
    """Return whether two values of a batch are equal: tensors, and lists of whatever an author puts into them."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    return np.array_equal(one, other)  # pyright: ignore
