"""A page in headless Chromium, looked at through its debugging protocol."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LISTENS = re.compile(r"DevTools listening on ws://(127\.0\.0\.1:\d+)/")


class Browser:
    """One tab; ``complaints`` and ``requests`` are what the console and the network heard of the page."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.calls = socket, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Its answer; whatever happens before that is kept."""
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": params}))
        return self._until(lambda message: message.get("id") == self.calls).get("result", {})

    def open(self, page: Path, *, width: int = 1400, dark: bool = False) -> None:
        """Show a page, and wait until it stands."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def hover(self, selector: str) -> None:
        """Move the mouse onto the first such element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center'}})")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        box = f"(b => [b.left + b.width / 2, b.top + b.height / 2])({element}.getBoundingClientRect())"
        x, y = self.evaluate(box)
        for away in (1, 0):
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + away, y=y + away)

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _until(self, wanted: Any) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=60))
            match message.get("method"):
                case "Network.requestWillBeSent":
                    self.requests.append(message["params"]["request"]["url"])
                case "Runtime.exceptionThrown" | "Log.entryAdded" | "Runtime.consoleAPICalled":
                    self.complaints.append(json.dumps(message["params"]))
                case _:
                    pass
            if wanted(message):
                return message


@contextmanager
def headless_browser() -> Iterator[Browser]:
    """A browser with an empty profile; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed: looked for {', '.join(NAMES)}")
    client = pytest.importorskip("websockets.sync.client", reason="websockets speaks to the browser")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command = [program, *options, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                place = next(filter(None, map(LISTENS.search, process.stderr)))[1]
                with urlopen(f"http://{place}/json", timeout=60) as answer:
                    (tab,) = (tab for tab in json.load(answer) if tab["type"] == "page")
                with client.connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                    yield Browser(socket)
            finally:
                process.terminate()
