"""A file from a server to the disk: bounded in time, whatever the server does, and checked."""

from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from threading import Thread
from urllib.error import URLError
from urllib.request import Request, urlopen

from launchbay.data.progress import bytes_bar

TICK = 10
"""Seconds between two looks at whether enough comes."""
LOOKS = 50
"""At how far it has come, in that time."""
MOST_SLOW_TICKS = 3
LEAST = 10_000
"""Bytes that a tick brings if it is not slow."""


class Transfer(Thread):
    """Reads `address` to the file `target`. A thread of its own, since some of it (a name server that does not answer,
    a header that comes byte by byte) cannot be given a time-out.
    """

    def __init__(self, address: str, target: Path):
        super().__init__(daemon=True)
        self.address, self.target = address, target
        self.got, self.whole = 0, 0
        self.error: Exception | None = None
        self.over = False

    def run(self) -> None:
        try:
            request = Request(self.address, headers={"User-Agent": "launchbay"})
            with urlopen(request, timeout=TICK * (MOST_SLOW_TICKS + 1)) as response, self.target.open("wb") as file:
                self.whole = response.length or 0
                while not self.over and (part := response.read1(2**16)):
                    file.write(part)
                    self.got += len(part)
            if self.got < self.whole:
                raise ConnectionError(f"it has ended after {self.got} of {self.whole} bytes")
        except Exception as error:
            self.error = error

    def progress(self) -> str:
        return f"{self.got / 1e6:.1f}" + f" of {self.whole / 1e6:.1f}" * bool(self.whole) + " MB"


@contextmanager
def for_torchvision() -> Generator[None]:
    """Let torchvision fetch its files by `attempt`, within the block; it checks their MD5.

    Raises:
        RuntimeError: one cannot be had, or is another one; names its address.
    """
    from torchvision.datasets import utils

    asked = [""]

    def fetch(path: str, address: str) -> None:
        asked.append(address)
        try:
            attempt(address, Path(path))
        except (URLError, SSLError, HTTPException, ConnectionError, TimeoutError) as error:  # others are the disk's
            raise RuntimeError(f"{address}: {error or type(error).__name__}") from error

    ours = {"_is_remote_location_available": lambda: True, "_download_file_from_remote_location": fetch}
    theirs = {name: getattr(utils, name) for name in ours}
    for name, value in ours.items():
        setattr(utils, name, value)
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(str(error) if asked[-1] in str(error) else f"{error} ({asked[-1]})") from error
    finally:
        for name, value in theirs.items():
            setattr(utils, name, value)


def attempt(address: str, target: Path) -> None:
    """Read `address` to `target`, and say now and then how far it is.

    Raises:
        TimeoutError: that takes too long.
    """
    thread = Transfer(address, target)
    thread.start()
    before, slow, looks = 0, 0, 0
    try:
        with bytes_bar(f"  {target.name}") as come:
            while thread.join(TICK / LOOKS) or thread.is_alive():
                is_shown, looks = come(thread.got, thread.whole), looks + 1
                if looks % LOOKS:
                    continue
                slow = slow + 1 if thread.got - before < LEAST else 0
                before = thread.got
                if slow == MOST_SLOW_TICKS:
                    raise TimeoutError(f"hardly anything has come for {slow * TICK:g} s ({thread.progress()})")
                if not is_shown:
                    print(f"  {target.name}: {thread.progress()}", flush=True)
    finally:
        thread.over = True
    if thread.error is not None:
        raise thread.error
