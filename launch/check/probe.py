"""What a fresh process notices of a task: what its import brings in, what it touches while it is built.
One of the questions of fresh.py.
"""

import sys
import traceback
from functools import partial

from launchbay.launch.check.fresh import asked

HEAVY = ("wandb", "tyro", "accelerate", "matplotlib", "skimage", "timm", "torchmetrics")
"""What takes long to import. Not torchvision: a task that changes pictures needs it."""
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")


def main() -> None:
    question = asked()
    task_type = question.task_type()
    heavy = [name for name in HEAVY if name in sys.modules]
    config = question.config()
    touched: list[tuple[str, str, int, str]] = []
    sys.addaudithook(partial(notice, touched))
    try:
        task_type(config.options)
    except Exception as error:  # another check says so
        print(f"not built: {error}")
    question.answer({"heavy": heavy, "touched": list(touched)})


def notice(touched: list[tuple[str, str, int, str]], event: str, arguments: tuple[object, ...]) -> None:
    """Note files that are opened, imports aside; keep what is to be had from a network from being fetched."""
    if event == "open" and is_own(*arguments[:2]) and not importing():
        touched.append((f"opens {arguments[0]}", *where()))
    elif event in NETWORK:
        touched.append((f"connects to {arguments[-1]}", *where()))
        raise OSError("a task connects to nothing while it is built")


def is_own(path: object, mode: object) -> bool:
    """Return whether a file is the author's matter: none that comes with Python or a package, unless it is written."""
    file = str(path)
    if not isinstance(path, str | bytes) or file.endswith((".py", ".pyc", ".so")) or "__pycache__" in file:
        return False
    written = isinstance(mode, str) and bool(set(mode) & set("wax+"))
    return written or not file.startswith((sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev"))


def importing() -> bool:
    """Return whether a library is being imported, which may look for what it needs."""
    return any(frame.filename == "<frozen importlib._bootstrap>" for frame in traceback.extract_stack())


def where() -> tuple[str, int, str]:
    """Return file, line and function of the innermost line that is in no installed package; empty if there is none."""
    frames = [f for f in traceback.extract_stack()[:-2] if "site-packages" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith((sys.base_prefix, "<")) and f.filename != __file__]
    return (frames[-1].filename, frames[-1].lineno or 0, frames[-1].name) if frames else ("", 0, "")


if __name__ == "__main__":
    main()
