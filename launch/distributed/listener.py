"""A thread that hears signals, also while the main thread is held up: it tells the other processes, and ends this one
where the main thread does not obey."""

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import active_children
from typing import TYPE_CHECKING

from launchbay.launch import errors, others

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from launchbay.launch.distributed.signals import Stop

LOGGER = logging.getLogger("launchbay")
LOOK = 1.0
"""Seconds between two looks at the main thread, and at what the others were told."""
TO_START, TO_OBEY, TO_END = 5, 15, 600
"""Seconds that the main thread has: to give up before training has begun, when there is nothing to save; to notice the
signal, beside two of its longest steps; and to save and to end, which may take long and be right."""
LONG_END = 20
"""Seconds of saving and ending after which a word is said."""
TO_SPEAK = 5
"""Seconds that a terminal may take to show a panel."""
OF_ONE, OF_A_LAUNCHER = 0.2, 2.0
"""Seconds within which a signal that comes again is the same one: a terminal sends it to all processes, and then a
launcher hands it on."""


class Listener:
    """Hears the signals in `handlers`, for `stop`. Python's own handlers run in the main thread, once that comes back
    from what it is in.
    """

    def __init__(self, stop: "Stop", handlers: Mapping[signal.Signals, object]):
        self.stop, self.handlers = stop, handlers
        self.told, self.when, self.waited, self.said = 0, 0.0, 0.0, False
        self.store: TCPStore | None = None
        launched = others.process_count() > 1 or "ACCELERATE_MIXED_PRECISION" in os.environ
        self.same = OF_A_LAUNCHER if launched else OF_ONE
        self.ours, self.theirs = socket.socketpair()
        for end in (self.ours, self.theirs):
            end.setblocking(False)
        self.before = signal.set_wakeup_fd(self.theirs.fileno(), warn_on_full_buffer=False)
        self.thread = threading.Thread(target=self.listen, name="signals", daemon=True)
        self.thread.start()

    def close(self) -> None:
        signal.set_wakeup_fd(self.before)
        self.theirs.send(b"\0")
        self.thread.join(TO_SPEAK)
        if not self.thread.is_alive():  # it may wait for what is gone
            self.ours.close()
            self.theirs.close()

    def listen(self) -> None:
        while True:
            since = time.monotonic()
            select.select([self.ours], [], [], LOOK)
            heard = b""
            with suppress(BlockingIOError):
                heard = self.ours.recv(64)
            if 0 in heard:
                return
            for number in heard:
                if number in self.handlers:
                    self.hear(number)
            if self.told:
                self.waited += min(time.monotonic() - since, 2 * LOOK)  # not the time that a frozen process was frozen
                self.look()
            elif self.stop.interrupts:
                self.ask_others()

    def hear(self, number: int) -> None:
        """Tell the others of the first signal; end at once after the same again, or a Ctrl-C after any other."""
        now, name = time.monotonic(), signal.Signals(number).name
        if not self.told:
            self.told, self.when = number, now
            self.tell_others()
        elif now - self.when > self.same and number in (self.told, signal.SIGINT):
            again = "again" if number == self.told else f"after {signal.Signals(self.told).name}"
            self.end(f"{name} {again}", ["ended at once, without another checkpoint"], errors.ENDED_BY + number)

    def look(self) -> None:
        """Say so where the end takes long, and end the process where the main thread does not."""
        stop, name = self.stop, signal.Signals(self.told).name
        obey = TO_START if stop.watch is None else TO_OBEY + 2 * stop.watch.longest
        if self.waited > (TO_END if stop.ending else obey):
            said = f"not obeyed for {self.waited:.0f} s: this process is held up"
            if stop.folder is None:
                said = "ended before training began"
            goes_on = stop.folder is None or errors.newest_step(stop.folder)
            self.end(name, [said, *self.places()], errors.STOPPED if goes_on else errors.ENDED_BY + self.told)
        elif stop.ending and self.waited > LONG_END and not self.said and others.process_rank() == 0:
            self.said = True
            said = f"saving and ending takes more than {LONG_END} s"
            errors.panel(name, [said, *self.places()], f"a second {name} ends it at once", "yellow")

    def places(self) -> list[str]:
        """Return where the main thread is; its whole stack goes to the log."""
        frames = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
        LOGGER.info("held up\n%s", "".join(traceback.format_list(frames)))
        return errors.places(frames)

    def end(self, title: str, lines: list[str], code: int) -> None:
        """End this process, with a word. The code says whether there is a checkpoint to go on from."""
        last = threading.Timer(TO_SPEAK, os._exit, [code])
        last.daemon = True
        last.start()
        LOGGER.info("%s: %s", title, lines[0])
        if others.is_first_to_fail():
            errors.panel(title + others.which_process(), lines, errors.to_continue(self.stop.folder), "red")
            sys.stdout.flush()
        for child in active_children():  # loader workers, which are deaf to other signals
            child.kill()
        os._exit(code)

    def tell_others(self) -> None:
        if others.knows_others():
            with suppress(Exception):  # the process that kept the store is gone
                others.store().set(key(), str(self.told))

    def ask_others(self) -> None:
        """Pass a signal of another process on to the main thread of this one."""
        if others.knows_others():
            with suppress(Exception):
                self.store = self.store or others.store()
                if self.store.check([key()]):
                    signal.pthread_kill(threading.main_thread().ident or 0, int(self.store.get(key())))


def key() -> str:
    return f"launchbay/stop/{others.attempt()}"
