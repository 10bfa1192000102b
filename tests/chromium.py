"""A headless Chromium for tests of pages, spoken to in its own protocol over a pipe."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
)  # fmt: skip
BEGIN = """import fcntl, os, sys
theirs, ours = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(theirs, 3)
os.dup2(ours, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
"""Puts the pipes where a browser looks for them."""
SEEN = ("Network.requestWillBeSent", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


def found() -> str | None:
    """Where a Chromium is installed, if one is."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A browser, which answers calls in the order they are made."""

    def __init__(self, folder: Path):
        path = found()
        assert path
        (theirs, self.out), (self.input, ours) = os.pipe(), os.pipe()
        command = [path, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        begin = [sys.executable, "-c", BEGIN, str(theirs), str(ours), *command]
        self.process = subprocess.Popen(begin, pass_fds=(theirs, ours), stderr=subprocess.DEVNULL)
        for descriptor in (theirs, ours):
            os.close(descriptor)
        self.numbers, self.rest, self.events = count(1), b"", list[dict[str, Any]]()

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.input, 1 << 16)
            assert part, "chromium has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        asked = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.out, json.dumps(asked).encode() + b"\0")
        while (answer := self.receive()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.input)


class Page:
    """A page in it. `seen` is what it asked the network for, apart from its own file, and what its console said."""

    def __init__(self, browser: Chromium, width: int, *, dark: bool):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Page.bringToFront")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def wait_for_load(self) -> None:
        while True:
            fired = [event for event in self.browser.events if event.get("method") == "Page.loadEventFired"]
            if fired:
                self.browser.events.remove(fired[0])
                return
            self.browser.events.append(self.browser.receive())

    def open(self, file: Path) -> None:
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait_for_load()

    def __call__(self, script: str) -> Any:
        """The value of some JavaScript."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    @property
    def seen(self) -> list[Any]:
        events = [event for event in self.browser.events if event.get("method") in SEEN]
        asked = [event["params"].get("request", {}).get("url", "") for event in events]
        return [event for event, url in zip(events, asked, strict=True) if not url.startswith(("file:", "data:"))]


KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Escape": 27}


@contextmanager
def opened(folder: Path) -> Generator[Chromium]:
    browser = Chromium(folder)
    try:
        yield browser
    finally:
        browser.close()
