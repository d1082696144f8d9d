"""Chromium without a screen, for tests of pages: WebDriver (w3.org/TR/webdriver2) over plain HTTP, as much of it as they need."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from tests.waiting import until

MISSING: Final = ", ".join(name for name in ("chromium", "chromedriver") if shutil.which(name) is None)
"""Programs that are not installed."""

KEYS: Final = {"Enter": "\ue007", "Escape": "\ue00c", "Down": "\ue015", "Right": "\ue014", "Tab": "\ue004"}
_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--no-zygote",
)
Inside = Callable[[], AbstractContextManager[None]]
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""Under which name elements are sent (WebDriver, section 12)."""


class Browser:
    """One window. What goes wrong raises AssertionError with the browser's words.

    port: of the driver. inside: enters the network namespace that this is in.
    """

    def __init__(self, port: int, inside: Inside = nullcontext) -> None:
        self._port, self._inside = port, inside
        options = [*_OPTIONS, "--window-size=1440,900"]
        chrome = {"args": options, "binary": shutil.which("chromium")}
        logs = {"browser": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": chrome, "goog:loggingPrefs": logs}
        found = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{found['sessionId']}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            with self._inside():
                connection.connect()
            connection.request(method, path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(value, dict) and "error" in value), f"{value['error']}: {value['message']}"
        return value

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what a function body gives."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": arguments})

    def find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self._call("POST", f"{self._session}/element/{self.find(selector)}/click", {})

    def type(self, *words: str) -> None:
        """Press keys, wherever the focus is: text, and keys by name."""
        pressed = [key for word in words for key in ([KEYS[word]] if word in KEYS else word)]
        actions = [{"type": kind, "value": key} for key in pressed for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def prefer(self, scheme: str) -> None:
        """Show pages light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self._call("POST", f"{self._session}/goog/cdp/execute", command)

    def text(self, selector: str) -> str:
        """Return what a person reads there, "" where there is no such thing."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def complaints(self) -> list[str]:
        """Return what the page, or the browser about it, said on its console since the last time."""
        return [entry["message"] for entry in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def picture(self, file: Path) -> None:
        file.write_bytes(b64decode(self._call("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        self._call("DELETE", self._session)


@contextmanager
def driver(before: Sequence[str] = ()) -> Iterator[int]:
    """Run a driver, and give its port. before: a command that runs it, as in another network namespace."""
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+b") as log:
        program = subprocess.Popen(
            [*before, "chromedriver", "--port=0"],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": folder, "TMPDIR": folder},
        )
        try:
            yield until(lambda: _port(Path(folder, "log")))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def _port(log: Path) -> int:
    """Return 0 as long as it says none."""
    said = log.read_text(errors="replace").partition("was started successfully on port ")[2]
    return int(said.partition(".")[0]) if "." in said else 0


@contextmanager
def browser(before: Sequence[str] = (), inside: Inside = nullcontext) -> Iterator[Browser]:
    """Open a window of a browser of its own. before, inside: in which network namespace that is, as of `driver` and `Browser`."""
    with driver(before) as port:
        opened = Browser(port, inside)
        try:
            yield opened
        finally:
            opened.close()
