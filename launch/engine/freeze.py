"""--freeze: parts of networks that do not learn, for a while or for the whole training."""

from collections.abc import Mapping

from torch import nn

from launchbay import UserError, number_of
from launchbay.launch.config.options import StartOptions
from launchbay.launch.engine.parts import selects
from launchbay.launch.errors import did_you_mean


class Freeze:
    """The parts of `networks` that `options` freeze in a training of so many `steps`. Whether they are frozen
    is a function of the step alone.

    For the whole training a frozen parameter needs no gradient, and its share of the backward pass is left out. For a
    while it does need one, since what wraps a network for several processes is told once which parameters do; its
    gradient is dropped, so that the optimizer neither moves it, nor lets it decay, nor begins a state for it.

    Raises:
        UserError: a name means nothing, or nothing of a network is left to train.
    """

    def __init__(self, networks: Mapping[str, nn.Module], options: StartOptions, steps: int):
        self.options = options
        if options.freeze_for and not options.freeze:
            raise UserError(f"--freeze-for {options.freeze_for} changes nothing without --freeze", "say what to freeze")
        inside = networks.items()
        modules = [pair for network, module in inside for pair in module.named_modules(prefix=network)]
        parameters = [
            pair for network, module in inside for pair in module.named_parameters(network, remove_duplicate=False)
        ]
        for pattern in options.freeze:
            if not any(selects(pattern, *names_of(name)) for name, _ in [*modules, *parameters]):
                known = [name for full, _ in modules for name in names_of(full)]
                raise UserError(
                    f"--freeze {pattern}: no network has a part of that name" + did_you_mean(pattern, known),
                    f"name one of {', '.join(networks)}, or a part such as {modules[-1][0]}",
                )
        frozen = {id(parameter): parameter for name, parameter in parameters if self.means(name)}
        self.parameters = list(frozen.values())
        chosen = {
            name: module
            for name, module in modules
            if self.means(name) or ((own := list(module.parameters())) and all(id(one) in frozen for one in own))
        }
        self.modules = [module for name, module in chosen.items() if name.rpartition(".")[0] not in chosen]
        self.total = len({id(parameter) for _, parameter in parameters})
        if options.freeze_for is None:
            for parameter in self.parameters:
                parameter.requires_grad_(False)
        to_the_end = options.freeze_for is None or options.freeze_for >= steps
        for network, module in inside:
            learning = [one for one in module.parameters() if one.requires_grad and id(one) not in frozen]
            if to_the_end and not learning:
                raise UserError(
                    f"--freeze {' '.join(options.freeze)} leaves nothing of {network!r} to train "
                    f"in {number_of(steps, 'step')}",
                    "freeze parts of it, or all of it for a while: --freeze-for STEPS",
                )

    def means(self, name: str) -> bool:
        """Return whether the options freeze what has that `name`, or a part that it is in."""
        return any(selects(pattern, *names_of(name)) for pattern in self.options.freeze)

    def holds(self, step: int) -> bool:
        """Return whether the parts are frozen in step `step`, from 1."""
        return bool(self.options.freeze) and (self.options.freeze_for is None or step <= self.options.freeze_for)

    def set_modes(self, step: int, task: nn.Module) -> None:
        """Bring `task`, in training mode, to that of step `step`: what is frozen is in evaluation mode."""
        if self.holds(step):
            for module in self.modules:
                module.eval()
        elif self.holds(step - 1):
            set_mode(task, training=True)

    def drop_gradients(self, step: int) -> None:
        """Leave out of step `step`, after its backward pass, what is frozen in it."""
        if self.holds(step):
            for parameter in self.parameters:
                parameter.grad = None

    def describe(self) -> list[str]:
        """Return a line on what is frozen and for how long, if anything is."""
        steps = self.options.freeze_for
        time = "for the whole training" if steps is None else f"for the first {number_of(steps, 'step')}"
        what = f"{', '.join(self.options.freeze)} ({len(self.parameters)} of {self.total} tensors that are trained)"
        return [f"frozen {time}: {what}"] if self.options.freeze else []


def names_of(name: str) -> tuple[str, str]:
    """Return the names of a part: with its network's and without."""
    return name, name.partition(".")[2]


def set_mode(task: nn.Module, training: bool) -> None:
    """Set training or evaluation mode; a module whose parameters are all frozen stays in evaluation mode."""
    task.train(training)
    for module in task.modules():
        if (parameters := [*module.parameters()]) and not any(p.requires_grad for p in parameters):
            module.eval()  # or the statistics of a frozen BatchNorm would drift, and Dropout blur a teacher
