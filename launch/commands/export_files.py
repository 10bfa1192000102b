"""Graphs as files that run without launchbay: ONNX and torch.export's .pt2. Each is loaded again and compared."""

import logging
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from launchbay import UserError
from launchbay.launch.commands.export_graph import Graph, Inputs, Sizes
from launchbay.models.tensors import form

MOST = 1e-5
"""How much a file may differ from the network, in [0, 1]."""
DIMENSIONS = ("N", "C", "H", "W")
NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Libraries of the extra `onnx`."""
Run = Callable[[Inputs], Sequence[Tensor]]


class Inexact(Exception):
    """A file does not give what the network gives: why, in words."""


@dataclass(frozen=True)
class Written:
    """A graph that was written and checked."""

    sizes: Sizes
    checks: Sequence[str]
    """Shapes that were tried."""
    difference: float
    refused: Sequence[str]
    """More general sizes, and why the network does not allow them."""


def check_installed() -> None:
    """Raise a UserError if the extra that ONNX needs is missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        said = f".onnx needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise UserError(said, "pip install 'launchbay[onnx]'; .pt2 and .safetensors need nothing else")


def write_graph(
    graph: Graph, file: Path, metadata: Mapping[str, str], tell: Callable[[str], object] = lambda said: None
) -> Written:
    """Write `graph` to `file`, .onnx or .pt2, in the most general form that the network allows, and check it. What is
    tried, which takes a while, goes to `tell`.

    Raises:
        UserError: it allows none.
    """
    refused = list[str]()
    for sizes in graph.sizes:
        try:
            tell(f"tracing the network: {sizes.said}")
            checks, difference = try_sizes(graph, sizes, file, metadata)
            return Written(sizes, checks, difference, refused)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # whatever torch.export or onnx make of a network that is not made for them
            refused.append(f"{sizes.said}: {first_line(error)}")
    raise UserError(
        f"the network cannot be exported as {file.suffix}: {refused[-1]}",
        "export it as .safetensors, which takes any network; its class then has to be there where it is loaded",
    )


def try_sizes(graph: Graph, sizes: Sizes, file: Path, metadata: Mapping[str, str]) -> tuple[list[str], float]:
    """Write `graph` so that it takes `sizes`. Return the shapes that were tried, and by how much the file differs.

    Raises:
        Exception: it cannot take them.
    """
    wanted = [graph.answer(given) for given in sizes.checked_with]
    with quiet():
        program = trace(graph, sizes)
        run = save_onnx(program, graph, file, metadata) if file.suffix == ".onnx" else save_pt2(program, file, metadata)
        difference = compare(run, sizes.checked_with, wanted)
    return [shown(given, made) for given, made in zip(sizes.checked_with, wanted, strict=True)], difference


def trace(graph: Graph, sizes: Sizes) -> ExportedProgram:
    """Return the operations of `graph`, without where on this machine their code is."""
    shapes: Any = import_module("torch.fx.experimental._config")
    # Or a padding that is 0 for the size at hand would become a rule that it has to be.
    with torch.no_grad(), shapes.patch(backed_size_oblivious=True):
        program = torch.export.export(graph.module, sizes.made_with, dynamic_shapes=graph.shapes(sizes), strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
                node.meta.pop(name, None)
    program.example_inputs = None
    leave_out_unused(program)
    return program


def leave_out_unused(program: ExportedProgram) -> None:
    """Leave the weights that nothing uses out of `program`, such as a discriminator's."""
    signature, graph = program.graph_signature, program.graph_module.graph
    nodes = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    for spec in [spec for spec in signature.input_specs if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)]:
        if not nodes[spec.arg.name].users:
            graph.erase_node(nodes[spec.arg.name])
            signature.input_specs.remove(spec)
            program.state_dict.pop(str(spec.target), None)
    program.graph_module.recompile()


def save_pt2(program: ExportedProgram, file: Path, metadata: Mapping[str, str]) -> Run:
    """Write `program`, and return what the file gives."""
    more = {f"launchbay/{name}": value for name, value in metadata.items()}
    with file.open("wb") as opened:  # by its path the temporary name would be kept in it
        torch.export.save(program, opened, extra_files=more)
    loaded = torch.export.load(file).module()

    def run(given: Inputs) -> Sequence[Tensor]:
        with torch.no_grad():
            return list(loaded(*given).values())

    return run


def save_onnx(program: ExportedProgram, graph: Graph, file: Path, metadata: Mapping[str, str]) -> Run:
    """Write `program` as ONNX, and return what onnxruntime makes of the file."""
    import onnxruntime

    made: Any = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    with suppress(Exception):  # it fails at some graphs; what is left of them is compared all the same
        made.optimize()
    name_values(made.model.graph, graph)
    made.model.metadata_props.clear()
    made.model.metadata_props.update(metadata)
    made.save(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(given: Inputs) -> Sequence[Tensor]:
        arrays = dict(zip(graph.inputs, (value.numpy() for value in given), strict=True))
        return [torch.from_numpy(value) for value in session.run(None, arrays)]

    return run


def name_values(onnx: Any, graph: Graph) -> None:
    """Name outputs and free dimensions of an `onnx` graph, and leave out where its operations are from."""
    for node in onnx:
        node.metadata_props.clear()
    names = {str(dim): letter for each in onnx.inputs for dim, letter in zip(each.shape, DIMENSIONS, strict=False)}
    for value in (*onnx.inputs, *(output for node in onnx for output in node.outputs)):
        value.metadata_props.clear()
        if value.shape is not None:
            dims = (dim if isinstance(dim, int) else renamed(str(dim), names) for dim in value.shape)
            value.shape = type(value.shape)(dims)
    for value, name in zip(onnx.outputs, graph.outputs, strict=True):
        value.name = name


def renamed(dimension: str, names: Mapping[str, str]) -> str:
    """Return the formula of a dimension with letters instead of the names of symbols."""
    return re.sub(r"\w+", lambda found: names.get(found[0], found[0]), dimension)


def compare(run: Run, inputs: Sequence[Inputs], wanted: Sequence[Mapping[str, Tensor]]) -> float:
    """Return by how much what `run` gives differs from what is `wanted`, at most.

    Raises:
        Inexact: it differs by more than it may.
    """
    most = 0.0
    for given, answer in zip(inputs, wanted, strict=True):
        for made, (name, value) in zip(run(given), answer.items(), strict=True):
            if made.shape != value.shape:
                raise Inexact(f"{name} has {form(made)} instead of {form(value)}")
            most = max(most, float((made - value).abs().max()))
    if not most <= MOST:
        raise Inexact(f"it would differ from the network by {most:.2g}")
    return most


@contextmanager
def quiet() -> Generator[None]:
    """Keep what the exporters say of themselves from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_line(error: BaseException) -> str:
    """Return the first line of what is at the root of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shown(given: Inputs, answer: Mapping[str, Tensor]) -> str:
    """Return the shapes of an answer: "1×3×48×64 -> 1×3×192×256"."""
    return f"{form(given[0])} -> {form(next(iter(answer.values())))}"
