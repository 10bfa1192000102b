"""A run as a folder for the Hugging Face hub: weights, options, sample pictures, and a model card that describes them.

Nothing in it says where something is on the machine that trained.
"""

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import yaml

from launchbay import UserError
from launchbay.launch.commands.evaluate import chosen_on
from launchbay.launch.commands.export_card import OWN, Described, Used, card
from launchbay.launch.commands.export_graph import first_answer
from launchbay.launch.commands.export_weights import read_weights, without_paths, write_weights
from launchbay.launch.config.data_names import placeless, title_of
from launchbay.launch.config.options import HELD_OUT, AnyConfig, all_of, plain
from launchbay.launch.config.setup import task_of
from launchbay.launch.files import remedy, write_text
from launchbay.launch.record.figures import BASELINE, Figures
from launchbay.launch.record.lines import read_record
from launchbay.launch.record.reader import read_run_folder
from launchbay.tasks.base import AnyTask
from launchbay.yaml12 import Dumper

WEIGHTS, CONFIG, CARD, SAMPLES = "model.safetensors", "config.yaml", "README.md", "samples"
NO_FIGURES = ("step", "epoch", "split")
"""What a line of the record has beside figures."""


def write_folder(
    run: Path, out: Path, trained: tuple[AnyTask, AnyConfig, Path], *, license: str | None, best: bool, mode: int
) -> None:
    """Write the folder `out`, whole or not at all, of the `trained` task of `run`, its options and checkpoint.

    Args:
        license: the identifier of a licence; None: it is said that nobody has chosen one.
        best: the checkpoint is the best one.
        mode: those may read the weights who may read a file of this mode.

    Raises:
        UserError: it cannot be written.
    """
    task, config, checkpoint = trained
    weights = read_weights(checkpoint)
    step = weights.state.step
    note = chosen_on(HELD_OUT if config.train.data.hold_out else "") if best and task.monitor else ""
    values = without_paths({name: plain(value) for name, value in config.flat().items()})
    half = out.with_name(f".tmp-{token_hex(8)}")
    try:
        (half / SAMPLES).mkdir(parents=True)
        write_weights(half / WEIGHTS, weights.tensors, weights.metadata, mode)
        write_text(half / CONFIG, yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True))
        sets = plain_sets(config)
        pictures = copy_pictures(run, step, half / SAMPLES, sets)
        what = Used(task, config, task_of(config.task)[1], first_answer(task, config.options))
        figures = Figures.from_named({renamed(name, sets): value for name, value in figures_at(run, step).items()})
        described = Described(out.name, what, weights, figures, pictures, license, note)
        write_text(half / CARD, card(described))
        if not pictures:
            (half / SAMPLES).rmdir()
        with suppress(FileNotFoundError):
            out.rmdir()  # an empty one
        half.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error}", f"{remedy(error)}, or name another place") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def figures_at(run: Path, step: int) -> dict[str, float]:
    """Return the figures of the validation of `run` at a step, none if there was none; baselines with their prefix."""
    found = [line for line in read_record(run, step) if line["split"] == "val" and line["step"] == step]
    numbers = {name: value for name, value in (found[-1] if found else {}).items() if name not in NO_FIGURES}
    return {name: float(value) for name, value in numbers.items() if value is not None}


def plain_sets(config: AnyConfig) -> dict[str, str]:
    """Return what to call the validation sets of `config` that have the name of a folder or file, by that."""
    data = config.train.data
    named = [str(name) for name in (*all_of(data.val_data), data.data)]
    paths = [name for name in named if placeless(name) != name]
    titles = [
        *map(title_of, paths),
        *(root.resolve().name for root in (*all_of(data.val_root), *all_of(data.data_root))),
    ]
    several = list(dict.fromkeys(titles))
    return {title: OWN if len(several) == 1 else f"{OWN} {number}" for number, title in enumerate(several, 1)}


def renamed(name: str, sets: Mapping[str, str]) -> str:
    """Return the `name` of a figure or picture with what to call its set."""
    prefix = BASELINE if name.startswith(BASELINE) else ""
    first, slash, rest = name.removeprefix(prefix).rpartition("/")
    return f"{prefix}{sets.get(first, first)}{slash}{rest}"


def copy_pictures(run: Path, step: int, folder: Path, sets: Mapping[str, str]) -> list[str]:
    """Copy the pictures that `run` has drawn last, up to a step, to `folder`. Return their names."""
    drawn = {at: pictures for at, pictures in read_run_folder(run).pictures().items() if at <= step}
    newest = drawn[max(drawn)] if drawn else {}
    names = {re.sub(r"[^\w.]+", "-", renamed(name, sets)) + file.suffix: file for name, file in newest.items()}
    for name, file in names.items():
        shutil.copyfile(file, folder / name)
    return list(names)
