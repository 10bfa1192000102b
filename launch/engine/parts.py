"""Parts of networks, as options name them and messages list them."""

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase


def selects(pattern: str, *names: str) -> bool:
    """Return whether `pattern` means the tensor or module that has these `names`, or a part that it is in: "encoder" is
    all of encoder.*; * stands for anything.
    """
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for name in names)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return `names` of tensors by the modules that have them, of which `most` are shown: "head (weight, bias)"."""
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        module, _, own = name.rpartition(".")
        modules[module].append(own)
    shown = [
        f"{module} ({', '.join(own)})" if module else ", ".join(own) for module, own in list(modules.items())[:most]
    ]
    rest = sum(len(own) for own in list(modules.values())[most:])
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
