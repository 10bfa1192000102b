"""launchbay trains image models: `launch` runs `tasks`, which use `models` and `data`. Here is what all four share."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from launchbay.launch.commands.in_python import Run
    from launchbay.tasks.base import AnyTask

__all__ = ["API_VERSION", "Run", "UserError", "__version__", "load", "train"]

__version__ = "0.1.0"

API_VERSION = 2
"""Version of what a plugin may rely on: what `launchbay.tasks`, `launchbay.data`, `launchbay.models` and
`launchbay.testing` export, with its public members; tests/public.txt lists them. Raised when something goes or changes,
not when something comes. A package says which version it is written for in its `__init__.py`: `LAUNCHBAY_API = 2`."""
OLDEST_API_VERSION = 1
"""The oldest version that still holds: what was named otherwise then has both names."""


MOST_SHOWN = 10_000
"""Characters of one message."""


def printable(text: object, most: int = MOST_SHOWN) -> str:
    """Return `text`, which may be a stranger's, as a terminal can show it: control characters but for the ends of lines
    as escapes, and no more than `most` characters.
    """
    whole = str(text)
    cut = whole if len(whole) <= most else f"{whole[:most]}... ({len(whole) - most:,} more characters)"
    return "".join(c if c.isprintable() or c == "\n" else escaped(c) for c in cut)


def number_of(count: int, what: str) -> str:
    """Return "1 picture", "1,800 pictures", "2 processes": `what` is the word for one."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what}{'es' if what.endswith('s') else 's'}"


def escaped(character: str) -> str:
    r"""Return a character as Python writes it, such as \x1b; also a byte of a name that is no UTF-8."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one panel without a traceback, exit code 2.

    `message` names the value and the reason; `hint` says what to do next. Any code may raise it, a plugin's too.
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message, self.hint = message, hint

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # it has to come out of loader workers whole
        return type(self), (self.message, self.hint)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: what is wrong and what to do, not where it was found."""
        hint = f"→ {self.hint}" if self.hint else ""
        notes = [note for note in getattr(self, "__notes__", []) if note != hint]
        return [printable(line) for line in (f"UserError: {self.message}", *notes, hint) if line]


def train(task: "str | type[AnyTask]", *, config: str | Path | None = None, **options: object) -> "Run":
    """Train in this process, and return the run. A notebook shows a bar meanwhile, and then the run itself.

    Under `accelerate.notebook_launcher`, or in a script that `accelerate launch` has started, all processes have to
    call it. Signals, accelerate's state and random numbers are as before when it returns.

    Args:
        task: the name of a task, as `launchbay tasks` lists them, or a class of your own.
        config: a YAML file of options, such as the config.yaml of a run.
        options: as on the command line, with underscores: `steps=200, batch_size=32, data="my/pictures"`.

    Raises:
        UserError: it cannot be trained so: what is wrong, and what to do.
        KeyboardInterrupt: it was interrupted; the same call with `run="NAME"` goes on.
    """
    from launchbay.launch.commands import in_python

    return in_python.train(task, config, options)


def load(
    run: str | Path,
    *,
    checkpoint: Literal["best", "last"] = "best",
    task: "str | type[AnyTask] | None" = None,
    **options: object,
) -> "Run":
    """Return a run that was trained before, from its folder or by its name in runs/.

    Args:
        checkpoint: whose figures and network are wanted.
        task: the class of its task, or "module:Class", where that is not installed: a run folder may be a stranger's,
            and cannot name code itself.
        options: those of its task that only its use depends on, such as `tta=True` of superres.

    Raises:
        UserError: this is no run.
    """
    from launchbay.launch.commands import in_python

    return in_python.load(run, checkpoint, task, options)


def __getattr__(name: str) -> object:
    """Import `Run` when it is asked for."""
    if name == "Run":
        from launchbay.launch.commands.in_python import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
