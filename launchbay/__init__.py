"""launchbay trains image models: `launch` runs `tasks`, which use `models` and `data`. Here is what all four share."""

__all__ = ["API_VERSION", "UserError", "__version__"]

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
