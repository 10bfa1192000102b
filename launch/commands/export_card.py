"""The model card of a run, in the format of the Hugging Face hub: metadata in YAML, then text for people."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isfinite

from launchbay.launch.commands.export_weights import Weights, has_path
from launchbay.launch.config.data_names import DATA, placeless
from launchbay.launch.config.options import AnyConfig, all_of
from launchbay.launch.config.typed import words_of
from launchbay.launch.record.figures import Figures
from launchbay.models.spandrel_networks import is_of_spandrel
from launchbay.tasks.answers import Answer, Classes, Pictures
from launchbay.tasks.base import AnyTask
from launchbay.tasks.generative import Generative

UNCHOSEN = "unknown"
"""The hub's word for a licence that nobody has chosen."""
HUB_IDS = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10"}
"""Data sets of ours that the hub has under other names."""
OF_THE_MACHINE = (
    "run", "output_dir", "resume", "debug", "wandb", "workers", "max_time", "stuck_after", "timeout", "log_every",
    "keep", "profile",
)  # fmt: skip
"""Options that change nothing of what is learned."""
SIDE = 64
FOLDER, OWN = "folder", "own pictures"
"""What `placeless` calls a path, and what the card does."""


@dataclass(frozen=True)
class Used:
    """A trained task in use."""

    task: AnyTask
    config: AnyConfig
    default: AnyConfig
    """The options of its task where none is given."""
    tried: tuple[int, Answer] | None
    """The side of black pictures, and what it makes of them, if it makes something of pictures."""


@dataclass(frozen=True)
class Described:
    """What a card is of."""

    name: str
    used: Used
    weights: Weights
    figures: Figures[float]
    pictures: Sequence[str]
    """Files in the folder samples/."""
    license: str | None
    note: str
    """On which pictures the checkpoint was chosen; empty if it was not."""


def card(of: Described) -> str:
    """Return the text of README.md."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(pipeline(of) or "other", data, data, name.rpartition("/")[2], value, metric_name=title)
        for name, title, value in metrics(of)
        for data in [data_of(of, name)]
    ]
    about = ModelCardData(
        license=of.license or UNCHOSEN,
        library_name="launchbay",
        pipeline_tag=pipeline(of),
        tags=["launchbay", of.used.config.task.rpartition(":")[2], *tags(of)],
        datasets=datasets(of) or None,
        metrics=list(dict.fromkeys(name.rpartition("/")[2] for name in of.figures.own)) or None,
        model_name=of.name,
        eval_results=results or None,
    )
    parts = [f"# {of.name}", summary(of), table(of), samples(of), data(of), training(of), use(of), rights(of)]
    return f"---\n{about.to_yaml().strip()}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def pipeline(of: Described) -> str | None:
    """Return what the hub calls such a task, None if it has no word for it."""
    if isinstance(of.used.task, Generative):
        return "unconditional-image-generation"
    return (
        {Pictures: "image-to-image", Classes: "image-classification"}.get(type(of.used.tried[1]))
        if of.used.tried
        else None
    )


def tags(of: Described) -> list[str]:
    return {"superres": ["super-resolution"], "denoise": ["image-denoising"]}.get(of.used.config.task, [])


def datasets(of: Described) -> list[str]:
    """Return the data sets that it was trained on, as the hub knows them; what only somebody's disk has is none."""
    parts = str(placeless(of.used.config.train.data.data)).split("+")
    ids = [part.removeprefix("hf:").partition("@")[0] if part.startswith("hf:") else part for part in parts]
    return [HUB_IDS.get(each, each) for each in ids if each not in (FOLDER, "pairs")]


def data_of(of: Described, figure: str) -> str:
    """Return the name of the validation pictures that a figure is of: "set5/psnr" is of set5."""
    if "/" in figure:
        return figure.rpartition("/")[0]
    return validated_on(of)


def validated_on(of: Described) -> str:
    options = of.used.config.train.data
    return plain_data(all_of(options.val_data) or ((FOLDER,) if options.val_root else (options.data,)))


def plain_data(names: Sequence[str]) -> str:
    """Return what to call data, without where they are."""
    return ", ".join(dict.fromkeys(str(placeless(each)).replace(FOLDER, OWN) for each in names))


def metrics(of: Described) -> list[tuple[str, str, float]]:
    """Return (name, title, value) of each figure, and behind it of its baseline."""
    found = list[tuple[str, str, float]]()
    for name, value in of.figures.own.items():
        found.append((name, name, value))
        if name in of.figures.baseline:
            found.append((name, f"{name}, {of.used.task.baseline_name}", of.figures.baseline[name]))
    return [each for each in found if isfinite(each[2])]


def summary(of: Described) -> str:
    about = (sys.modules[type(of.used.task).__module__].__doc__ or "").strip().split("\n")[0]
    return f"{about}\n\nTask `{of.used.config.task}` of launchbay: {of.weights.about}."


def table(of: Described) -> str:
    """Return the figures, each beside its baseline."""
    if not of.figures.own:
        return ""
    baseline = of.used.task.baseline_name
    rows = [
        f"| {name} | {value:.4f} | "
        + (f"{of.figures.baseline[name]:.4f}" if name in of.figures.baseline else "")
        + " |"
        for name, value in of.figures.own.items()
    ]
    head = [f"## Figures\n\nOn {validated_on(of)}, at step {of.weights.state.step}.\n"]
    head += [f"| figure | this model | {baseline} |", "|---|--:|--:|"]
    return "\n".join([*head, *rows, *([f"\nNote: {of.note}."] if of.note else [])])


def samples(of: Described) -> str:
    if not of.pictures:
        return ""
    return "\n\n".join(["## Samples", *(f"![{name.rpartition('.')[0]}](samples/{name})" for name in of.pictures)])


def data(of: Described) -> str:
    return f"## Data\n\nTrained on {plain_data([of.used.config.train.data.data])}; figures are of {validated_on(of)}."


def training(of: Described) -> str:
    """Return the command that trains such a network."""
    values = of.used.config.flat()
    paths = {name: name.upper() for name, value in values.items() if name not in DATA and has_path(value)}
    paths |= {name: "DIR" for name in ("data_root", "val_root") if values.get(name)}
    paths |= {name: placed for name in DATA if (placed := placed_data(values[name])) is not None}
    words = words_of(of.used.config, of.used.default, paths, OF_THE_MACHINE)
    command = shlex.join(["launchbay", "train", of.used.config.task, *words])
    versions = ", ".join(f"{name} {version}" for name, version in of.weights.state.versions.items())
    again = "launchbay train NAME --config config.yaml --weights model.safetensors".replace("NAME", of.used.config.task)
    return (
        f"## Training\n\n```bash\n{command}\n```\n\nWith {versions}. To train on from these weights, on other data:\n\n"
        f"```bash\n{again} --data DIR\n```"
    )


def placed_data(value: object) -> str | None:
    """Return what to write for data on a disk; None where the `value` of an option names none."""
    given = [str(name) for name in all_of(value)]
    placed = [str(placeless(name)) for name in given]
    return None if placed == given else " ".join(name.replace(FOLDER, "DIR") for name in placed)


def use(of: Described) -> str:
    """Return how to use the network in Python."""
    kind, options = type(of.used.task), type(of.used.config.options)
    values = {field.name: getattr(of.used.config.options, field.name) for field in fields(of.used.config.options)}
    before = {name: getattr(of.used.default.options, name) for name in values}
    given = [f"{name}={value!r}" for name, value in values.items() if value != before[name] and not has_path(value)]
    names = ", ".join(sorted({kind.__name__, options.__name__})) if kind.__module__ == options.__module__ else ""
    imports = [f"from {kind.__module__} import {names or kind.__name__}"]
    imports += [] if names else [f"from {options.__module__} import {options.__name__}"]
    alone = len(of.weights.networks) == 1
    load = f"task.{of.weights.networks[0]}.load_state_dict(weights)" if alone else LOAD_SEVERAL
    drawn = ["from launchbay.tasks import Batch"] if isinstance(of.used.task, Generative) else []
    lines = ["import torch", *imports, *drawn, "from safetensors.torch import load_file", ""]
    lines += [f"task = {kind.__name__}({options.__name__}({', '.join(given)}))"]
    lines += ['weights = load_file("model.safetensors")', load, "task.eval()", "with torch.no_grad():"]
    lines += [f"    {line}" for line in answering(of)]
    return "## Use\n\n```python\n" + "\n".join(lines) + "\n```" + other_tools(of)


LOAD_SEVERAL = "task.load_state_dict(weights, strict=False)  # what is not trained is not in the file"


def answering(of: Described) -> list[str]:
    """Return the lines of Python that use `task`."""
    channels = getattr(of.used.config.options, "channels", None) or 3
    if isinstance(of.used.task, Generative):
        return [
            f"latent, labels = torch.randn(4, {of.used.task.latent}), torch.arange(4)",
            'source = Batch({"image": latent}, range(4))  # what it draws random numbers from',
            "pictures = task.generate_with(source, latent, task.wanted(labels))  # N×C×H×W in [0, 1]",
        ]
    side, answer = of.used.tried or (SIDE, None)
    pictures = f"torch.rand(1, {channels}, {side}, {side})"
    if answer is None:
        return [f"answer = task.{of.weights.networks[0]}({pictures})"]
    what = ".by_name  # pictures by name" if isinstance(answer, Pictures) else ".probabilities  # N×K"
    return [f"answer = task.reply({pictures}){what}"]


def other_tools(of: Described) -> str:
    """Return who else can load the weights."""
    (network, *others) = (getattr(of.used.task, name) for name in of.weights.networks)
    if others or not is_of_spandrel(network):
        return ""
    return (
        "\n\nProgrammes that use spandrel (chaiNNer, ComfyUI and others) take `model.safetensors` as it is:\n\n"
        "```python\nfrom spandrel import ModelLoader\n\n"
        'model = ModelLoader().load_from_file("model.safetensors")\n```'
    )


def rights(of: Described) -> str:
    if of.license is None:
        return "## Licence\n\nNobody has chosen one yet: ask whoever published this."
    return f"## Licence\n\n{of.license}"
