"""Take the pictures of what a person sees: terminal, report, MLflow, Prefect, as PNG beside this file.

Run it in a checkout whose pipeline has run (for the comparison, twice, with two budgets):

    .venv/bin/python docs/images/screenshots.py                  # all of them
    .venv/bin/python docs/images/screenshots.py report prefect   # some

It needs chromium, and tmux for the terminal. The servers run on free ports, and end with it.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from websockets.sync.client import ClientConnection, connect

from eyas.operations.tracking.run_pages import MODEL_TRAINING

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE_SECONDS = 300.0
MAX_BYTES = 300_000
COLUMNS, ROWS = 112, 60
SWITCHES = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
"""What a reader of MLflow's pages has switched: model training, and no assistant beside it."""


class Browser:
    """One page of headless Chromium, driven by its DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number, self.session = connection, 0, ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        settings = f"try {{ Object.assign(localStorage, {json.dumps(SWITCHES)}) }} catch {{}}"
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=settings)

    def show(self, address: str, width: int, height: int, ready: str) -> None:
        """Open an address and wait until a JavaScript expression holds."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)
        self.wait(ready)

    def wait(self, ready: str) -> None:
        """Wait until a JavaScript expression holds, and for what still moves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.ask(f"Boolean({ready})"):
            if time.monotonic() > deadline:
                raise SystemExit(f"the page never came to show {ready}: {self.ask('location.href')}")
            time.sleep(0.5)
        time.sleep(3)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self._call("Runtime.evaluate", expression=expression)["result"].get("value")

    def save(self, name: str, *, whole: bool = False) -> None:
        """Write what is shown, or the whole page, as a PNG of at most :data:`MAX_BYTES`."""
        options = {"captureBeyondViewport": True} if whole else {}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        content = b64decode(self._call("Page.captureScreenshot", format="png", **options)["data"])
        path = HERE / f"{name}.png"
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        for colors in (256, 128, 64, 32):
            picture.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size <= MAX_BYTES:
                break
        sys.stdout.write(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB\n")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.connection.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(self.connection.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium with a profile of its own, which goes with it."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise SystemExit("chromium was not found: install it (apt-get install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-port=0")
        with process([program, *options, f"--user-data-dir={profile}", "about:blank"]):
            port = Path(profile, "DevToolsActivePort")
            until(lambda: port.exists() and len(port.read_text().split()) == 2, "chromium")
            number, place = port.read_text().split()
            with connect(f"ws://127.0.0.1:{number}{place}", max_size=None) as connection:
                yield Browser(connection)


@contextlib.contextmanager
def process(command: list[str], **environment: str) -> Iterator[None]:
    """A process in a group of its own, which ends with this."""
    variables = {**os.environ, **environment}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True, **quiet) as started:  # type: ignore[call-overload]
        try:
            yield
        finally:
            os.killpg(started.pid, signal.SIGTERM)


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come up")
        time.sleep(0.3)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(address: str) -> bool:
    """Whether a server is up."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(address, timeout=5).status_code == httpx.codes.OK
    return False


@contextlib.contextmanager
def pages() -> Iterator[tuple[str, str]]:
    """``eyas ui`` on free ports: MLflow's address and Prefect's."""
    ports = free_ports(2)
    mlflow, prefect = (f"http://127.0.0.1:{port}" for port in ports)
    options = ("--mlflow-port", str(ports[0]), "--prefect-port", str(ports[1]))
    # Links on Prefect's pages lead to the port that `make ui` has: only the pictures have another one.
    with process([sys.executable, "-m", "eyas.cli", "ui", *options]):
        until(lambda: answers(f"{mlflow}/health") and answers(f"{prefect}/api/health"), "eyas ui")
        yield mlflow, prefect


def terminal(page: Browser) -> None:
    """``eyas run`` in tmux, as it stands when it has ended."""
    tmux = ("tmux", "-L", f"eyas-{os.getpid()}", "-f", os.devnull)
    command = f"{sys.executable} -m eyas.cli run"
    size = ("-x", str(COLUMNS), "-y", str(ROWS))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    started = [*tmux, "new-session", "-d", *size, f"{command}; sleep 0.5; tmux wait-for -S done; sleep 600"]
    subprocess.run(started, cwd=ROOT, env=environment, check=True)
    try:
        subprocess.run([*tmux, "wait-for", "done"], check=True, timeout=1800)
        shown = subprocess.run([*tmux, "capture-pane", "-p", "-e"], check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ ", style="bold green") + Text("eyas run"))
    console.print(Text.from_ansi(shown.rstrip()))
    with tempfile.TemporaryDirectory() as folder:
        drawing = Path(folder, "terminal.html")
        svg = console.export_svg(title="eyas run", theme=MONOKAI)
        drawing.write_text(f"<body style='margin:0'>{svg}</body>")
        page.show(drawing.as_uri(), 1000, 100, "document.querySelector('svg')")
        page.save("terminal", whole=True)


def report(page: Browser) -> None:
    """The report of the checkout's own profile, its first screen."""
    path = ROOT / "artifacts" / "report" / "report.html"
    page.show(path.as_uri(), 1400, 1000, "document.readyState === 'complete'")
    page.save("report")


def mlflow(page: Browser, address: str) -> None:
    """The newest run of the pipeline."""
    experiment, runs = pipeline_runs(address)
    page.show(f"{address}/#/experiments/{experiment}/runs/{runs[0]}{MODEL_TRAINING}", 1400, 1200, has("test_accuracy"))
    page.save("mlflow-run")


def compare(page: Browser, address: str) -> None:
    """The two newest runs side by side, with what differs."""
    experiment, runs = pipeline_runs(address)
    if len(runs) < 2:
        raise SystemExit("one run alone compares with nothing: run another budget first")
    names, experiments = (json.dumps(value) for value in (runs[:2], [experiment]))
    place = f"{address}/#/compare-runs?runs={names}&experiments={experiments}"
    page.show(place.replace('"', "%22").replace(" ", ""), 1400, 1000, has("% MACs"))
    page.ask(f"{FIND}('[class*=collapse-header]', 'Visualizations')?.click()")
    page.ask("document.querySelectorAll('[role=switch]').forEach(one => one.click())")
    page.wait(has("test_accuracy"))
    page.save("mlflow-compare")


def prefect(page: Browser, address: str) -> None:
    """The newest flow run."""
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}, "name": {"like_": "run "}}
    query = {"sort": "START_TIME_DESC", "limit": 1, "flow_runs": completed}
    runs = httpx.post(f"{address}/api/flow_runs/filter", json=query).json()
    page.show(f"{address}/runs/flow-run/{runs[0]['id']}", 1400, 1000, has("Beginning flow run"))
    time.sleep(10)  # the graph is drawn on a canvas, which tells nothing
    page.save("prefect-run")


FIND = "((places, text) => [...document.querySelectorAll(places)].find(one => one.innerText.includes(text)))"


def has(text: str) -> str:
    """JavaScript: whether the page shows a text."""
    return f"document.body && document.body.innerText.includes({json.dumps(text)})"


def pipeline_runs(address: str) -> tuple[str, list[str]]:
    """The experiment, and finished runs of the pipeline in it, newest first."""
    api = f"{address}/api/2.0/mlflow"
    known = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "eyas"}).json()
    experiment = known["experiment"]["experiment_id"]
    kind = "tags.`eyas.kind` = 'pipeline' and attributes.status = 'FINISHED'"
    query = {"experiment_ids": [experiment], "filter": kind, "order_by": ["attributes.start_time DESC"]}
    entries = httpx.post(f"{api}/runs/search", json=query).json().get("runs", [])
    newest: dict[str, str] = {}
    for entry in entries:
        newest.setdefault(entry["info"]["run_name"], entry["info"]["run_id"])
    if not newest:
        raise SystemExit("no run of the pipeline has finished here: `eyas run` first")
    return experiment, list(newest.values())


PICTURES: dict[str, Callable[..., None]] = {
    "terminal": terminal,
    "report": report,
    "mlflow": mlflow,
    "compare": compare,
    "prefect": prefect,
}


def main() -> None:
    """Take the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("pictures", nargs="*", choices=[*PICTURES, []], metavar="|".join(PICTURES))
    chosen = parser.parse_args().pictures or list(PICTURES)
    with browser() as page:
        for name in ("terminal", "report"):
            if name in chosen:
                PICTURES[name](page)
        served = [name for name in chosen if name in ("mlflow", "compare", "prefect")]
        if served:
            with pages() as (of_mlflow, of_prefect):
                for name in served:
                    PICTURES[name](page, of_prefect if name == "prefect" else of_mlflow)


if __name__ == "__main__":
    main()
