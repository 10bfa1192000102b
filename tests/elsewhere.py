"""Train as on Windows, as far as this machine can: `python elsewhere.py [options of a training]`.

What Python lacks there is taken away once torch is imported, locks are those of `msvcrt` (a stand-in, on top of ours),
a file that is not open for writing cannot be flushed, and loader workers are spawned.
"""

import errno
import fcntl
import importlib
import multiprocessing
import os
import select
import shutil
import signal
import sys
import types
from pathlib import Path

from torch.utils.data._utils import signal_handling

for library in ("accelerate", "filelock", "fsspec", "psutil", "torchvision"):  # find their system before it goes away
    importlib.import_module(library)

GONE = {
    os: (
        "pread",
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "sched_getaffinity",
        "geteuid",
        "getuid",
        "fork",
        "killpg",
    ),
    select: ("PIPE_BUF", "poll", "epoll"),
    signal: ("SIGHUP", "SIGUSR1", "SIGCHLD", "setitimer"),
}


def take_away() -> None:
    """Leave Python as it is on Windows."""
    locked, opened, flush = fcntl.lockf, os.open, os.fsync

    def locking(descriptor: int, mode: int, size: int) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, size, place)
        except OSError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error

    def open_file(path: str, flags: int, *rest: int, **more: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *rest, **more)

    def flush_file(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flush(descriptor)

    os.open, os.fsync, shutil._use_fd_functions = open_file, flush_file, False  # type: ignore[attr-defined]
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking  # type: ignore[attr-defined]
    signal_handling.IS_WINDOWS = True  # type: ignore[attr-defined]
    sys.modules |= {"msvcrt": msvcrt, "fcntl": None, "pwd": None, "grp": None}  # type: ignore[dict-item]
    for module, names in GONE.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)


if __name__ in ("__main__", "__mp_main__"):  # also in the workers
    take_away()
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    from launchbay.launch.train import main

    sys.exit(main(sys.argv[1:]))
