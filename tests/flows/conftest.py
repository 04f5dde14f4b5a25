"""A receiver of notices, workspaces of a small checkout, and one Prefect server for the tests that need one."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.workspace import Workspace, open_workspace

Notices = list[dict[str, str]]


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notices]:
    """What came to the address in ``EYAS_NOTIFY_URL``."""
    received: Notices = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("EYAS_NOTIFY_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_workspace(tmp_path: Path) -> Callable[..., Workspace]:
    """Write a checkout with the given sections and open it."""

    def make(**sections: Any) -> Workspace:
        root = tmp_path / "checkout"
        (root / "tasks").mkdir(parents=True, exist_ok=True)
        (root / "tasks" / "one.py").write_text("code")
        (root / "data").mkdir(exist_ok=True)
        (root / "data" / "a.png").write_text("image")
        stages = {"one": {"cmd": "x", "deps": ["tasks"], "params": ["fetch"], "outs": ["artifacts/one/x"]}}
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
        content = {"fetch": {"train": "data"}, "register": {"model": "net"}, **sections}
        (root / "params.yaml").write_text(yaml.safe_dump(content))
        return open_workspace(root)

    return make


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prefect's own test server, its state in a temporary folder."""
    from prefect.settings import PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_HOME: home}):
        patch.setenv("PREFECT_HOME", str(home))
        with prefect_test_harness(server_startup_timeout=120):
            yield
