"""--weights: what networks start from. Loaded on the main process and handed to the others; strict, and said aloud."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn
from torch.optim.swa_utils import AveragedModel

from launchbay import UserError, number_of, printable
from launchbay.launch.config.options import StartOptions
from launchbay.launch.distributed.collectives import hand_over, on_main_process
from launchbay.launch.engine.parts import listed, selects
from launchbay.launch.errors import did_you_mean
from launchbay.models.pretrained import fit_published
from launchbay.models.spandrel_networks import as_spandrel_has_them, is_of_spandrel
from launchbay.models.tensors import check_finite, form, rows_of, shared_like
from launchbay.models.weights import Tensors, Weights, read_weights
from launchbay.tasks.base import AnyTask

SHOWN = 4
"""Shapes, or parts, that a message names."""


def start_from_weights(task: AnyTask, averages: Mapping[str, AveragedModel], options: StartOptions) -> list[str]:
    """Load what --weights names into the networks of `task`, not wrapped yet, and into their `averages`, on all
    processes alike. Return lines that say what was loaded.

    Raises:
        UserError: it cannot be had, or does not fit.
    """
    if options.weights_except and not options.weights:
        said = f"--weights-except {' '.join(options.weights_except)} changes nothing without --weights"
        raise UserError(said, "say where to start from")
    if not options.weights:
        return []
    found: dict[str, Tensors] = {}
    parts, said = on_main_process(lambda: find_all(task, options, found))
    for part in parts:
        receive(task.get_submodule(part), partial(found.__getitem__, part))
    for name, averaged in averages.items():
        averaged.module.load_state_dict(task.get_submodule(name).state_dict())
    return [printable(line) for line in said]


def receive(module: nn.Module, read: Callable[[], Tensors]) -> None:
    """Put the tensors that the main process can `read` into `module` on all processes."""
    wanted = module.state_dict()
    module.load_state_dict(hand_over(read, lambda name, value: shared_like(value, wanted.get(name))), strict=False)


def find_all(task: AnyTask, options: StartOptions, found: dict[str, Tensors]) -> tuple[list[str], list[str]]:
    """Put into `found` all that --weights names, by the part that it is for. Return these parts, and what to say about
    it.
    """
    parts: dict[str, str] = {}
    said: list[str] = []
    used: set[str] = set()
    for asked in options.weights:
        part, source = split(task, asked)
        weights = read_weights(source)
        places, unused = placed(task, part, weights)
        for name, tensors in places.items():
            if name in parts:
                raise UserError(f"--weights {parts[name]} and {asked} are both for {name!r}", "give one of them")
            parts[name] = asked
            module, but = task.get_submodule(name), options.weights_except
            line, patterns, found[name] = fit_part(module, name, weights, tensors, but)
            said.append(line + other_network(part, weights))
            used |= patterns
        if unused:
            said.append(f"not used of {weights.source}: {', '.join(unused)}")
    if left := [name for name in options.weights_except if name not in used]:
        raise UserError(
            f"--weights-except {left[0]}: there is nothing of that name, neither in the weights nor in the networks",
            "leave it out, or mend it: head is all of head.*, '*.bias' whatever ends so",
        )
    networks = task.networks()
    frozen = [name for name, module in task.named_children() if name not in networks and [*module.parameters()]]
    for names, said_of in ((networks, "left as initialised"), (frozen, "frozen, and left as the task makes it")):
        if fresh := [name for name in names if not any(selects(name, part) for part in parts)]:
            said.append(f"{said_of}: {', '.join(fresh)}")
    return list(parts), said


def other_network(part: str, found: Weights) -> str:
    """Return which network of a run was taken for `part`, where that has another name."""
    only = next(iter(found.networks)) if part and len(found.networks) == 1 else part
    return f"; its {only!r}, the only network there" if only not in ("", part) else ""


def split(task: AnyTask, asked: str) -> tuple[str, str]:
    """Return the part and the source of PART=SOURCE; without a part that is empty. Parts are identifiers with dots
    between: a file whose name has a = in it is ./FILE.
    """
    part, sign, source = asked.partition("=")
    if not sign or not part.replace(".", "").isidentifier():
        return "", asked
    known = [name for name, _ in task.named_modules() if name]
    if part not in known:
        raise UserError(
            f"--weights {asked}: the task has no part {part!r}" + did_you_mean(part, known),
            f"its networks are {', '.join(task.networks())}; a file of that name is ./{asked}",
        )
    return part, source


def placed(task: AnyTask, part: str, weights: Weights) -> tuple[dict[str, Tensors], list[str]]:
    """Return which part of `task` gets which tensors of `weights`, and of which networks of theirs none are used.

    Args:
        part: the one that was asked for; empty if that follows from the names.

    Raises:
        UserError: it does not.
    """
    networks, found = list(task.networks()), dict(weights.networks)
    if part:
        name = next(iter(found)) if len(found) == 1 else part
        if name not in found:
            raise UserError(
                f"--weights {part}={weights.source}: that has no network {part!r}, but {', '.join(found)}",
                f"name the file of one: {part}={weights.source}/{next(iter(found))}.safetensors",
            )
        return {part: found[name]}, []
    if "" not in found:
        places = {name: found[name] for name in networks if name in found}
        if not places:
            raise UserError(
                f"--weights {weights.source} has {', '.join(found)}, and the networks here are {', '.join(networks)}",
                f"say which is which: --weights {networks[0]}={weights.source}/{next(iter(found))}.safetensors",
            )
        return places, [name for name in found if name not in places]
    return placed_by_names(task, networks, weights)


def placed_by_names(task: AnyTask, networks: Sequence[str], weights: Weights) -> tuple[dict[str, Tensors], list[str]]:
    """Return `placed` for tensors of no named network: they go to the network that has tensors of such names, or the
    network of timm in it that has, or, if the names begin with networks', to these.
    """
    tensors = weights.networks[""]
    of_timm = [
        name
        for network in networks
        for name, module in task.get_submodule(network).named_modules(prefix=network)
        if hasattr(module, "pretrained_cfg") and name != network
    ]
    for candidates in (networks, of_timm):
        fitting = [name for name in candidates if task.get_submodule(name).state_dict().keys() & tensors.keys()]
        if len(fitting) == 1:
            return {fitting[0]: tensors}, []
        if fitting:
            raise UserError(
                f"--weights {weights.source} could be for {' or '.join(fitting)}",
                f"say for which: --weights {fitting[0]}={weights.source}",
            )
    by_network = {
        network: {name.removeprefix(f"{network}."): t for name, t in tensors.items() if name.startswith(f"{network}.")}
        for network in networks
    }
    places: dict[str, Tensors] = {network: own for network, own in by_network.items() if own}
    if places:
        firsts = dict.fromkeys(name.partition(".")[0] for name in tensors)
        return places, [first for first in firsts if first not in places]
    if len(networks) > 1:
        raise UserError(
            f"--weights {weights.source} has tensors of none of {', '.join(networks)}: {listed(tensors)}",
            f"if they are meant for one: --weights {networks[0]}={weights.source}",
        )
    return {networks[0]: tensors}, []


def fit_part(
    module: nn.Module, name: str, weights: Weights, tensors: Tensors, but: Sequence[str]
) -> tuple[str, set[str], Tensors]:
    """Find out which `tensors` of `weights` go into `module`, the part `name` of a task, except for what the patterns
    `but` mean. Return what to say about it, which patterns meant something, and the tensors.

    Raises:
        UserError: they do not fit, or are no numbers.
    """
    left_out, notes, wanted, source = set[str](), list(weights.notes), module.state_dict(), weights.source
    if is_of_spandrel(module):
        tensors, about = as_spandrel_has_them(tensors, module)
        source += f" ({about})" if about else ""
    if weights.published:
        tensors, left_out, changed = fit_published(tensors, module)
        notes += changed
    used: set[str] = set()
    for key in {**wanted, **tensors}:
        full = f"{name}.{key}"
        matching = {pattern for pattern in but if selects(pattern, key, full, full.partition(".")[2])}
        left_out |= {key} if matching else set()
        used |= matching
    given = {key: tensor for key, tensor in tensors.items() if key not in left_out}
    fresh = without_tied({key: tensor for key, tensor in wanted.items() if key not in given}, wanted, given)
    check_fit(name, source, given, wanted, [key for key in fresh if key not in left_out])
    check_finite(given, source, "start from others", wanted)
    notes += [f"left as initialised: {listed(fresh)}"] if fresh else []
    rest = [key for key in tensors if key not in given and key not in wanted]
    notes += [f"not used: {listed(rest)}"] if rest else []
    count = number_of(len(given), "tensor")
    ordered = {key: tensor.contiguous() for key, tensor in given.items()}
    return "; ".join([f"weights of {name}: {count} of {source}", *notes]), used, ordered


def without_tied(missing: Tensors, wanted: Tensors, given: Tensors) -> list[str]:
    """Return the names of what is `missing`, except for tensors that layers share with one that is given."""
    shared = {rows_of(tensor).data_ptr() for key, tensor in wanted.items() if key in given}
    return [key for key, tensor in missing.items() if rows_of(tensor).data_ptr() not in shared]


def check_fit(name: str, source: str, given: Tensors, wanted: Tensors, fresh: Sequence[str]) -> None:
    """Raise a UserError if the tensors `given` from `source` are not those `wanted` by the part `name`, of which those
    in `fresh` are not given.
    """
    missing = [key for key in fresh if not key.endswith("num_batches_tracked")]  # old files of torch lack it
    left_over = [key for key in given if key not in wanted]
    other = [key for key in wanted if key in given and form(given[key]) != form(wanted[key])]
    if given and not (missing or left_over or other):
        return
    alike = len(given) - len(left_over) - len(other)
    needed = len(wanted) - (len(fresh) - len(missing))
    lines = [f"--weights {source} does not fit {name!r}: they have {alike} of the {needed} tensors that it needs"]
    lines += [f"missing ({len(missing)}): {listed(missing)}"] if missing else []
    lines += [f"left over ({len(left_over)}): {listed(left_over)}"] if left_over else []
    shapes = [f"{key} {form(given[key])} instead of {form(wanted[key])}" for key in other[:SHOWN]]
    shapes += [f"{len(other) - SHOWN} more"] if len(other) > SHOWN else []
    lines += [f"of another shape ({len(other)}): {', '.join(shapes)}"] if other else []
    parts = list(dict.fromkeys(key.rpartition(".")[0] or key for key in [*missing, *left_over, *other]))
    few = " ".join(parts) if len(parts) <= SHOWN else "PART..."
    hint = f"is it the same network, with the same options? --weights-except {few} leaves out what is named"
    raise UserError("\n".join(lines), hint)
