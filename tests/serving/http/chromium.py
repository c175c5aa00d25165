"""A real Chromium without a window, driven by its DevTools protocol over a pipe: no driver and no port is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_WAIT_SECONDS = 20.0
_OWN = ("http://127.0.0.1:", "about:")
_KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Page:
    """One page. ``problems`` are errors in its console, refused loads and failed requests."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self.problems: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return dict(found["result"])
            self._note(found)

    def look(self, width: int, height: int, *, dark: bool = False, touch: bool = False, still: bool = True) -> None:
        """Be a screen of this size and kind."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.ask("Page.navigate", url=url)
        self.until("document.documentElement?.dataset.loaded === 'true'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is worth."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (expression, found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds."""
        wait_for(lambda: self.value(f"Boolean({condition})"), condition)

    def press(self, key: str, times: int = 1, *, shift: bool = False) -> None:
        """Press a key as a person does; a character is typed."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0])), "modifiers": 8 if shift else 0}
        text = {"Enter": "\r"}.get(key, "" if key in _KEYS else key)
        for _ in range(times):
            self.ask(
                "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **({"text": text} if text else {})
            )
            self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path) -> None:
        """Save what is seen."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _WAIT_SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._back, 1 << 20) if ready else b""
            assert part, f"Chromium said nothing for {_WAIT_SECONDS:.0f} s, or ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(told["exceptionDetails"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.problems.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.loadingFailed":
                self.problems.append(told["errorText"])
            case "Network.requestWillBeSent":
                url = told["request"]["url"]
                self.problems += [] if url.startswith(_OWN) else [f"asked another host: {url}"]


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A page in a new Chromium, whose profile lies in ``folder``."""
    assert PROGRAM is not None
    ours, theirs = os.pipe(), os.pipe()  # Chromium reads commands from file 3, and writes answers to file 4
    command = [
        PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-GB", f"--user-data-dir={folder}",
    ]  # fmt: skip

    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    files = [(os.POSIX_SPAWN_DUP2, ours[0], 3), (os.POSIX_SPAWN_DUP2, theirs[1], 4), *silent]
    process = os.posix_spawn(PROGRAM, command, os.environ, file_actions=files)
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Page(ours[1], theirs[0])
    finally:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        os.close(ours[1])
        os.close(theirs[0])


def wait_for(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)
