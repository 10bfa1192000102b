"""The file calls of a process, as its kernel sees them: of Python, of libraries in C and Rust, of each thread and
child.

Each call is held until it is decided what becomes of it. By seccomp(2) with SECCOMP_RET_USER_NOTIF, on Linux from 5.9;
constants from linux/seccomp.h, linux/filter.h and asm/unistd_64.h.
"""

import ctypes
import fcntl
import os
import platform
import select
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path

NUMBERS = {
    "open": 2, "creat": 85, "openat": 257, "write": 1, "pwrite64": 18, "writev": 20, "ftruncate": 77, "fallocate": 285,
    "fsync": 74, "fdatasync": 75, "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263,
    "mkdir": 83, "mkdirat": 258, "rmdir": 84, "link": 86, "linkat": 265, "symlink": 88, "symlinkat": 266, "chmod": 90,
    "fchmod": 91, "fchmodat": 268, "getdents64": 217,
}  # fmt: skip
"""Of x86-64."""
NAMES = {number: name for name, number in NUMBERS.items()}
BY_DESCRIPTOR = {"write", "pwrite64", "writev", "ftruncate", "fallocate", "fsync", "fdatasync", "fchmod", "getdents64"}
PATHS = {
    **dict.fromkeys(("open", "creat", "unlink", "mkdir", "rmdir", "chmod"), ((None, 0),)),
    **dict.fromkeys(("openat", "unlinkat", "mkdirat", "fchmodat"), ((0, 1),)),
    **dict.fromkeys(("rename", "link"), ((None, 0), (None, 1))),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), ((0, 1), (2, 3))),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
}
"""Which arguments are a folder's descriptor and a path below it."""
HERE = 0xFFFFFF9C  # AT_FDCWD
PR_SET_NO_NEW_PRIVS, SECCOMP, SET_MODE_FILTER, NEW_LISTENER = 38, 317, 1, 8
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
USER_NOTIF, ALLOW = 0x7FC00000, 0x7FFF0000
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1


@dataclass(frozen=True)
class Call:
    """One call of thread `thread`, before it happens; `paths` are the files that it is about."""

    thread: int
    name: str
    arguments: tuple[int, ...]
    paths: tuple[str, ...]

    def written(self) -> bytes:
        """What a `write` is to write."""
        return memory(self.thread, self.arguments[1], self.arguments[2])


def can_hold_calls() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64" and kernel() >= (5, 9)


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split(".")[:2])


def listen() -> int:
    """Hold the file calls of this thread, and of all that it starts from now on, for whoever reads the descriptor that
    is returned."""
    checks = [struct.pack("HBBI", EQUAL, len(NAMES) - place, 0, number) for place, number in enumerate(NAMES)]
    ends = [struct.pack("HBBI", RETURN, 0, 0, end) for end in (ALLOW, USER_NOTIF)]
    program = ctypes.create_string_buffer(b"".join([struct.pack("HBBI", LOAD, 0, 0, 0), *checks, *ends]))
    described = struct.pack("H6xQ", 1 + len(checks) + len(ends), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    descriptor = libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.create_string_buffer(described))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return descriptor


def hold(listener: int, decide: Callable[[Call], int], seconds: float = 300) -> None:
    """Ask `decide` about each call, until nobody is left who makes any: the number of the error it fails with, or 0."""
    poll, end = select.poll(), time.monotonic() + seconds
    poll.register(listener, select.POLLIN)
    while True:
        left = end - time.monotonic()
        assert left > 0, "there is somebody left"
        for _, event in poll.poll(1000 * left):
            if event & select.POLLHUP and not event & select.POLLIN:
                return
            answer_one(listener, decide)


def answer_one(listener: int, decide: Callable[[Call], int]) -> None:
    notice = bytearray(80)
    with suppress(FileNotFoundError):  # it has been killed meanwhile
        fcntl.ioctl(listener, RECEIVE, notice)
        identity, thread, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", notice)
        error = 0
        with suppress(ProcessLookupError):
            if (found := read_call(thread, NAMES[number], arguments)) is not None:
                error = decide(found)
        fcntl.ioctl(listener, SEND, bytearray(struct.pack("QqiI", identity, 0, -error, 0 if error else CONTINUE)))


def read_call(thread: int, name: str, arguments: list[int]) -> Call | None:
    """None: it is about no file, but a pipe or a socket."""
    try:
        if name in BY_DESCRIPTOR:
            paths = (folder_of(thread, arguments[0]),)
        else:
            paths = tuple(path_of(thread, arguments, *where) for where in PATHS[name])
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return None
    return Call(thread, name, tuple(arguments), paths) if all(path.startswith("/") for path in paths) else None


def path_of(thread: int, arguments: list[int], folder: int | None, place: int) -> str:
    path = os.fsdecode(b"".join(text_at(thread, arguments[place])))
    if not path.startswith("/"):
        path = f"{folder_of(thread, HERE if folder is None else arguments[folder])}/{path}"
    return os.path.normpath(path)


def folder_of(thread: int, descriptor: int) -> str:
    where = "cwd" if descriptor & 0xFFFFFFFF == HERE else f"fd/{descriptor & 0xFFFFFFFF}"
    return str(Path(f"/proc/{thread}/{where}").readlink()).removesuffix(" (deleted)")


def text_at(thread: int, address: int) -> Iterator[bytes]:
    """The bytes up to a zero, read up to the end of each page: the next may not be there."""
    while True:
        part, end, _ = memory(thread, address, 4096 - address % 4096).partition(b"\0")
        yield part
        if end:
            return
        address += len(part)


def memory(thread: int, address: int, size: int) -> bytes:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as file:
        file.seek(address)
        return file.read(size)
